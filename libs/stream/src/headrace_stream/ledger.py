"""Exactly-once effect: the event's id, its effect and what it causes are committed in one transaction.

The inbox remembers which events took effect. The outbox holds what is to be published; the relay, one for each service
at a time, publishes it in order and deletes it. It reads what is there, never "id above the last seen": a sequence
number that commits late would be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import structlog
from headrace_database import Connection, Database
from headrace_runtime.errors import Unavailable
from headrace_telemetry.tracing import describe, inject
from opentelemetry import trace

from headrace_stream.envelope import Delivery, Event, M, check_size

log = structlog.get_logger()

ROWS_A_ROUND = 200
# The relay looks by itself so often, in case nobody woke it.
LOOK_SECONDS = 1.0
# What an inbox remembers: longer than any topic keeps its records, or an old record replayed would take effect twice.
INBOX_DAYS = 30


class RawPublisher(Protocol):
    """What takes encoded records to the bus."""

    async def send_raw(self, records: Sequence[tuple[str, bytes, bytes, Mapping[str, str]]]) -> None:
        """Returns once the bus has all records, in order; raises Unavailable("kafka")."""


@dataclass(slots=True)
class Unit:
    """One transaction: do the effect on `connection`, and `emit` what it causes."""

    connection: Connection
    events: list[Event[Any]] = field(default_factory=list)
    #: Of events that belong to another trace than the transaction's: its W3C headers, by the event's id.
    carried: dict[UUID, Mapping[str, str]] = field(default_factory=dict)

    def emit(self, *events: Event[Any]) -> None:
        """Has events published if, and only if, the transaction commits. They carry the trace that it commits in."""
        self.events.extend(events)

    def emit_here(self, event: Event[Any]) -> None:
        """As emit, but the event carries the span that is open now: one transaction may tell of several traces."""
        self.carried[event.event_id] = inject()
        self.events.append(event)


class Ledger:
    """Inbox and outbox of a service's schema, and the relay between outbox and bus."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wake = asyncio.Event()
        self._leads = False

    @asynccontextmanager
    async def once(self, delivery: Delivery[M], *, tenant: str = "") -> AsyncIterator[Unit | None]:
        """Opens the transaction in which a delivery takes effect; None when it did so before."""
        async with self._database.transaction(tenant=tenant) as connection:
            is_new = await connection.fetchval(
                "INSERT INTO inbox (topic, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
                delivery.arrival.topic,
                delivery.event_id,
            )
            if is_new:
                unit = Unit(connection)
                yield unit
                await self._store(unit)
            else:
                describe(trace.get_current_span(), {"headrace.duplicate": True})
                yield None
        self._wake.set()

    @asynccontextmanager
    async def together(
        self, deliveries: Sequence[Delivery[Any]], *, tenant: str = ""
    ) -> AsyncIterator[tuple[Unit, Sequence[Delivery[Any]]]]:
        """Opens one transaction in which many deliveries take effect: those of them that did not before, in order.

        For what is cheap to do and dear to commit. Of two with one id the first takes effect. Whoever rolls it back
        rolls all of them back.
        """
        async with self._database.transaction(tenant=tenant) as connection:
            unit = Unit(connection)
            yield unit, await _fresh(connection, deliveries)
            await self._store(unit)
        self._wake.set()

    @asynccontextmanager
    async def unit(self, *, tenant: str = "") -> AsyncIterator[Unit]:
        """Opens a transaction for an effect that no event caused, a gRPC call's."""
        async with self._database.transaction(tenant=tenant) as connection:
            unit = Unit(connection)
            yield unit
            await self._store(unit)
        self._wake.set()

    async def has_received(self, delivery: Delivery[M]) -> bool:
        """Says whether a delivery took effect before: worth asking before slow work, no promise after it."""
        async with self._database.transaction() as connection:
            found = await connection.fetchval(
                "SELECT true FROM inbox WHERE event_id = $1 AND topic = $2", delivery.event_id, delivery.arrival.topic
            )
        return bool(found)

    async def _store(self, unit: Unit) -> None:
        if not unit.events:
            return
        now = datetime.now(UTC)
        rows = [_row(event, now, unit.carried.get(event.event_id)) for event in unit.events]
        await unit.connection.executemany(
            "INSERT INTO outbox (topic, key, headers, value) VALUES ($1, $2, $3, $4)", rows
        )
        if not self._leads:
            await unit.connection.execute("SELECT pg_notify($1, '')", self._channel)

    @property
    def _channel(self) -> str:
        return f"outbox_{self._database.schema}"

    @asynccontextmanager
    async def relaying(self, publisher: RawPublisher) -> AsyncIterator[None]:
        """Publishes the outbox while the context is open; of several instances, one at a time does.

        A relay that dies of a bug ends the context, and with it the service: rows that nobody publishes are lost time.
        """
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._relay_for_ever(publisher))
            try:
                yield
            finally:
                task.cancel()

    async def _relay_for_ever(self, publisher: RawPublisher) -> None:
        while True:
            try:
                async with self._database.dedicated() as connection:
                    await self._lead(connection, publisher)
            except (Unavailable, asyncpg.PostgresError) as error:
                log.warning("relay waits", error=type(error).__name__)
                await asyncio.sleep(0.5)
            finally:
                self._leads = False

    async def _lead(self, connection: asyncpg.Connection[asyncpg.Record], publisher: RawPublisher) -> None:
        """Waits to be the service's one relay, then publishes until the connection, and the lock with it, is lost."""
        # The lock is the server's: nobody here can signal that it is free.
        while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", self._channel):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        # Losing a deletion in a crash only publishes those rows again, with the same ids: no need to wait for the disk.
        await connection.execute("SET synchronous_commit = off")
        await connection.add_listener(self._channel, lambda *_: self._wake.set())
        self._leads = True
        await connection.execute("DELETE FROM inbox WHERE received_at < now() - make_interval(days => $1)", INBOX_DAYS)
        while True:
            self._wake.clear()
            while await self._publish_some(connection, publisher):
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _publish_some(self, connection: asyncpg.Connection[asyncpg.Record], publisher: RawPublisher) -> bool:
        """Publishes the oldest rows in order and deletes them; a crash in between publishes them again, same ids."""
        rows = await connection.fetch(
            "SELECT id, topic, key, headers, value FROM outbox ORDER BY id LIMIT $1", ROWS_A_ROUND
        )
        if rows:
            await publisher.send_raw([_record(row) for row in rows])
            await connection.execute("DELETE FROM outbox WHERE id = ANY($1)", [row["id"] for row in rows])
        return len(rows) == ROWS_A_ROUND


async def _fresh(connection: Connection, deliveries: Sequence[Delivery[Any]]) -> Sequence[Delivery[Any]]:
    """Enters deliveries into the inbox, and returns those that were not there. In the order of their ids, so that two
    instances that have some in common wait for one another instead of each for the other."""
    first: dict[tuple[UUID, str], Delivery[Any]] = {}
    for delivery in deliveries:
        first.setdefault((delivery.event_id, delivery.arrival.topic), delivery)
    identities = sorted(first)
    rows = await connection.fetch(
        "INSERT INTO inbox (event_id, topic) SELECT * FROM unnest($1::uuid[], $2::text[])"
        " ON CONFLICT DO NOTHING RETURNING event_id, topic",
        [event_id for event_id, _ in identities],
        [topic for _, topic in identities],
    )
    # asyncpg's own UUIDs are equal to the standard library's, and hash as they do.
    new = {(row["event_id"], row["topic"]) for row in rows}
    return [delivery for identity, delivery in first.items() if identity in new]


def _row(event: Event[Any], now: datetime, carried: Mapping[str, str] | None) -> tuple[str, str, str, bytes]:
    """Encodes an event for the outbox. One that Kafka cannot take is rejected here: there it would block the relay."""
    value = event.message.SerializeToString()
    check_size(event.topic, len(value))
    trace_context = inject() if carried is None else carried
    return event.topic.name, event.key, json.dumps({**event.headers(now), **trace_context}), value


def _record(row: asyncpg.Record) -> tuple[str, bytes, bytes, Mapping[str, str]]:
    return row["topic"], row["key"].encode(), row["value"], json.loads(row["headers"])
