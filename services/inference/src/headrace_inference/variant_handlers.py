"""What is done when somebody stores a variant: a version that can answer, an event and a row of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace.inference.v1 import changes_pb2
from headrace_runtime.errors import Conflict, NotFound

from headrace_inference.changes import routing_changed
from headrace_inference.domain import Versioned
from headrace_inference.route_choosing import Broken, NotYet
from headrace_inference.route_handlers import Making
from headrace_inference.variant_catalogue import Catalogue, variants_in
from headrace_inference.variant_records import VariantRecord, Wiring


class Checks(Protocol):
    """What can answer on this instance."""

    async def check(self, tenant: str, record: VariantRecord) -> None:
        """Raises Broken for what cannot, stored or not; NotYet for what will be able to in some seconds."""


async def put_variant(
    tenant: str, name: str, wiring: Wiring, *, catalogue: Catalogue, checks: Checks, making: Making
) -> tuple[VariantRecord, bool]:
    """Stores a variant under its next version, or finds the one that says the same. Returns whether it is new.

    Raises Conflict, which says what is broken.
    """
    if catalogue.house.variants_of(name):
        raise Conflict(f"the variant {name} comes with Headrace and never changes: choose another name")
    await catalogue.refresh(tenant)  # a label that another instance has just moved
    await _check(tenant, VariantRecord(Versioned(name, "0"), wiring), checks)
    async with catalogue.books.open(tenant) as book:
        await book.hold()
        versions = await book.variants(name)
        if same := next((r for r in versions if r.wiring == wiring), None):
            return same, False
        previous = versions[0].number if versions else 0
        record = VariantRecord(Versioned(name, str(previous + 1)), wiring, making.by.subject, making.at)
        await book.add_variant(record)
        book.emit(
            routing_changed(
                changes_pb2.ROUTING_CHANGE_VARIANT,
                name,
                tenant=tenant,
                version=record.number,
                previous=previous,
                by=making.by,
                at=making.at,
                change_id=making.new_id(),
            )
        )
    return record, True


async def _check(tenant: str, record: VariantRecord, checks: Checks) -> None:
    try:
        await checks.check(tenant, record)
    except NotYet:  # until its model is loaded, others answer
        return
    except Broken as broken:
        raise Conflict(str(broken)) from None


async def get_variant(tenant: str, name: str, *, version: int, catalogue: Catalogue) -> VariantRecord:
    """One version; 0 is the newest. Raises NotFound."""
    async with catalogue.books.open(tenant) as book:
        found = await variants_in(book, catalogue.house, name)
    record = next((r for r in found if version in {0, r.number}), None)
    if record is None:
        raise NotFound("variant", f"{name} {version or ''}".strip())
    return record


async def list_variants(tenant: str, name: str, *, catalogue: Catalogue) -> Sequence[VariantRecord]:
    """All versions of a name, or the newest of each where it is empty."""
    async with catalogue.books.open(tenant) as book:
        return await variants_in(book, catalogue.house, name)


async def what_is_broken(tenant: str, record: VariantRecord, *, checks: Checks) -> str:
    """What is wrong with a variant on this instance, in fixed words; empty when it can answer."""
    try:
        await checks.check(tenant, record)
    except Broken as broken:
        return str(broken)
    return ""
