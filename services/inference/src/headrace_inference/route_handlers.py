"""What is done when somebody changes kinds or routes: each change is a version, an event and a row of the audit log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from headrace.inference.v1 import changes_pb2
from headrace_identity import Principal
from headrace_runtime.errors import Conflict, NotFound
from headrace_stream import Event

from headrace_inference.changes import routing_changed
from headrace_inference.domain import Versioned
from headrace_inference.kinds import Kind
from headrace_inference.route_ports import RouteBooks
from headrace_inference.route_records import KindSet, Learned, RouteRecord
from headrace_inference.route_tables import RouteTables, learned_from
from headrace_inference.routing import Route


class Variants(Protocol):
    """The variants of a tenant, and of the house."""

    async def newest(self, tenant: str, name: str) -> Versioned | None:
        """The newest version of a name; None when there is none."""

    async def broken(self, tenant: str, key: Versioned) -> str:
        """What is wrong with a version, in fixed words; empty when it can answer here."""


@dataclass(frozen=True, slots=True)
class Making:
    """Who changes something, and when."""

    by: Principal
    at: datetime
    new_id: Callable[[], UUID]


async def put_kinds(
    tenant: str, kinds: Sequence[Kind], *, books: RouteBooks, tables: RouteTables, making: Making
) -> tuple[int, Learned]:
    """Replaces a tenant's kinds. Returns the version and how well they are told apart.

    Raises Unavailable and Overloaded while the examples cannot be embedded: then nothing has changed.
    """
    vectors = await tables.embed(kinds)
    learned = await learned_from(kinds, vectors)
    async with books.open(tenant) as book:
        await book.hold()
        before = await book.newest_kinds()
        made = KindSet((before.version if before else 0) + 1, tuple(kinds))
        await book.add_kinds(made, by=making.by.subject, at=making.at)
        await book.add_vectors(made.version, vectors, at=making.at)
        what, previous = changes_pb2.ROUTING_CHANGE_KINDS, made.version - 1
        book.emit(_event(tenant, what, "", version=made.version, previous=previous, making=making))
    await tables.refresh(tenant)
    return made.version, learned


async def put_route(
    tenant: str,
    asked: Route,
    reason: str,
    *,
    books: RouteBooks,
    tables: RouteTables,
    variants: Variants,
    making: Making,
) -> RouteRecord:
    """Sends a kind of query to variants. Raises Conflict, which says which variant is broken, and how."""
    route = await settled(tenant, asked, variants)
    async with books.open(tenant) as book:
        await book.hold()
        versions = await book.versions_of(route.kind)
        version = versions[0].route.version + 1 if versions else 1
        record = RouteRecord(replace(route, version=version), making.by.subject, making.at, reason)
        await book.add_route(record)
        book.emit(_route_event(tenant, record, versions, making))
    await tables.refresh(tenant)
    return record


async def settled(tenant: str, route: Route, variants: Variants) -> Route:
    """The route with the newest versions written down. Raises Conflict for a variant that cannot answer."""
    keys = {key: await _settled_key(tenant, key, variants) for key in route.variants}
    return replace(
        route,
        arms=tuple(replace(arm, variant=keys[arm.variant]) for arm in route.arms),
        fallbacks=tuple(keys[key] for key in route.fallbacks),
        shadows=tuple(replace(shadow, variant=keys[shadow.variant]) for shadow in route.shadows),
    )


async def _settled_key(tenant: str, key: Versioned, variants: Variants) -> Versioned:
    found = await variants.newest(tenant, key.name) if key.version == "0" else key
    if found is None:
        raise Conflict(f"there is no variant {key.name}: put it first (headrace variants put)")
    if wrong := await variants.broken(tenant, found):
        raise Conflict(f"variant {found.name} {found.version} cannot answer: {wrong}")
    return found


async def delete_route(
    tenant: str, kind: str, reason: str, *, books: RouteBooks, tables: RouteTables, making: Making
) -> None:
    """Takes a kind's route away. Raises NotFound."""
    async with books.open(tenant) as book:
        await book.hold()
        versions = await book.versions_of(kind)
        if not versions or versions[0].deleted:
            raise NotFound("route", kind)
        last = versions[0].route
        record = RouteRecord(
            replace(last, version=last.version + 1), making.by.subject, making.at, reason, deleted=True
        )
        await book.add_route(record)
        book.emit(_route_event(tenant, record, versions, making))
    await tables.refresh(tenant)


def _route_event(tenant: str, record: RouteRecord, versions: Sequence[RouteRecord], making: Making) -> Event[Any]:
    return _event(
        tenant,
        changes_pb2.ROUTING_CHANGE_ROUTE,
        record.route.kind,
        version=0 if record.deleted else record.route.version,
        previous=versions[0].route.version if versions and not versions[0].deleted else 0,
        making=making,
    )


def _event(
    tenant: str, what: changes_pb2.RoutingChange.ValueType, name: str, *, version: int, previous: int, making: Making
) -> Event[Any]:
    return routing_changed(
        what,
        name,
        tenant=tenant,
        version=version,
        previous=previous,
        by=making.by,
        at=making.at,
        change_id=making.new_id(),
    )
