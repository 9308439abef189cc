"""The books in Postgres; migrations/*.sql say what each column holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import Tier
from headrace_stream import Delivery, Ledger, Unit
from headrace_stream.erasing import Kind, enter

from headrace_drift.baselines import Baseline, State
from headrace_drift.measuring import Lexicon, Sketch
from headrace_drift.ports import AlertRecord, LookRecord, Mark
from headrace_drift.traffic import Cell, Place, Sample, Seen

#: Parts of one place that are put together when there are more. Putting them together takes some milliseconds whatever
#: was added, adding one less than one.
MOST_PARTS = 32
_LEADER = "drift looks"

_ADD_SKETCH = """
    INSERT INTO sketches (tenant, bucket, product, kind, tier, queries, sketch) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_ADD_SAMPLE = """
    INSERT INTO examples (tenant, bucket, product, kind, query_id, subject, tier, asked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
"""
# A number of parts for each place that has too many.
_CROWDED = """
    SELECT s.bucket, s.product, s.kind FROM sketches s
    JOIN unnest($2::timestamptz[], $3::text[], $4::text[]) AS p (bucket, product, kind) USING (bucket, product, kind)
    WHERE s.tenant = $1 GROUP BY s.bucket, s.product, s.kind HAVING count(*) > $5
"""
# What others add meanwhile stays: only what is deleted here is put together.
_TAKE_PARTS = """
    DELETE FROM sketches WHERE tenant = $1 AND bucket = $2 AND product = $3 AND kind = $4 RETURNING sketch
"""
_DROP_SAMPLES = """
    DELETE FROM examples WHERE tenant = $1 AND bucket = $2 AND product = $3 AND kind = $4 AND query_id = ANY($5)
"""
_ERASED = """
    SELECT n.query_id FROM unnest($2::text[], $3::bytea[], $4::timestamptz[]) AS n (query_id, name, at)
    JOIN tombstones t ON t.tenant = $1 AND t.kind = $5 AND t.name = n.name AND t.erased_until >= n.at
"""
_ADD_BASELINE = """
    INSERT INTO baselines (tenant, baseline_id, dataset_id, begins, ends, samples, set_by, set_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
"""
_ADD_BASELINE_SKETCH = """
    INSERT INTO baseline_sketches (tenant, baseline_id, product, kind, tier, sketch) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
"""
_PUT_STATE = """
    UPDATE states SET closed_until = $2, looked_until = $3, standing = $4, baseline_id = $5 WHERE tenant = $1
"""
_ADD_ALERT = """
    INSERT INTO alerts (tenant, alert_id, state, opened_at, closed_at, baseline_id, tier, record)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING true
"""
_ADD_ALERT_SAMPLE = """
    INSERT INTO alert_examples (tenant, alert_id, place, query_id, subject, tier, asked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_NOTE = """
    INSERT INTO progress AS p (topic, partition, at, seen_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (topic, partition) DO UPDATE
        SET at = greatest(p.at, excluded.at), seen_at = greatest(p.seen_at, excluded.seen_at)
"""


class PostgresBooks:
    """See ports.Books: on one connection, inside a transaction of one tenant's."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant

    # Counting

    async def enter(self) -> None:
        """See Books. Makes the tenant's rows, where they are not there."""
        await enter(self._connection, self._tenant)
        known = await self._connection.fetchval("SELECT true FROM states WHERE tenant = $1", self._tenant)
        if not known:
            await self._connection.execute(
                "INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING", self._tenant
            )
            await self._connection.execute(
                "INSERT INTO states (tenant) VALUES ($1) ON CONFLICT DO NOTHING", self._tenant
            )

    async def erased(self, asked: Mapping[str, tuple[bytes, datetime]]) -> frozenset[str]:
        if not asked:
            return frozenset()
        rows = await self._connection.fetch(
            _ERASED,
            self._tenant,
            list(asked),
            [subject for subject, _ in asked.values()],
            [at for _, at in asked.values()],
            int(Kind.SUBJECT),
        )
        return frozenset(row["query_id"] for row in rows)

    async def closed_until(self) -> datetime | None:
        found: datetime | None = await self._connection.fetchval(
            "SELECT closed_until FROM states WHERE tenant = $1", self._tenant
        )
        return found

    async def add_sketches(self, sketches: Mapping[Place, Sketch]) -> None:
        encoded = await asyncio.to_thread(_encoded, sketches)
        rows = [
            (self._tenant, place.bucket, place.cell.product, place.cell.kind, _tier(sketch), sketch.queries, data)
            for place, sketch, data in encoded
        ]
        with statement("INSERT sketches", operation="INSERT", collection="sketches"):
            await self._connection.executemany(_ADD_SKETCH, rows)
            crowded = await self._connection.fetch(_CROWDED, *self._columns(sketches), MOST_PARTS)
        for row in crowded:
            await self._unite(Place(row["bucket"], Cell(row["product"], row["kind"])))

    async def add_samples(self, samples: Mapping[Place, Sequence[Sample]]) -> None:
        rows = [
            (self._tenant, place.bucket, place.cell.product, place.cell.kind, *_sample_row(sample))
            for place, found in samples.items()
            for sample in found
        ]
        if rows:
            await self._connection.executemany(_ADD_SAMPLE, rows)

    async def add_words(self, week: date, seen: Sequence[Seen]) -> None:
        key = f"{self._tenant} {week.isoformat()}"
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('drift words'), hashtext($1))", key)
        before = await self._connection.fetchval(
            "SELECT lexicon FROM lexicons WHERE tenant = $1 AND week = $2", self._tenant, week
        )
        data = await asyncio.to_thread(_more_words, before, seen)
        await self._connection.execute(
            "INSERT INTO lexicons (tenant, week, lexicon) VALUES ($1, $2, $3)"
            " ON CONFLICT (tenant, week) DO UPDATE SET lexicon = excluded.lexicon",
            self._tenant,
            week,
            data,
        )

    async def add_late(self, counts: Mapping[datetime, int]) -> None:
        await self._connection.executemany(
            "INSERT INTO late_events AS l (tenant, bucket, events) VALUES ($1, $2, $3)"
            " ON CONFLICT (tenant, bucket) DO UPDATE SET events = l.events + excluded.events",
            [(self._tenant, bucket, events) for bucket, events in sorted(counts.items())],
        )

    async def note(self, marks: Sequence[Mark], *, now: datetime) -> None:
        await self._connection.executemany(
            _NOTE, [(mark.topic, mark.partition, mark.at, now) for mark in sorted(marks, key=_position)]
        )

    # Looking

    async def close(self, until: datetime) -> State:
        """See Books. Whoever counts holds the same lock, shared: see headrace_stream.erasing.enter."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext(current_schema()), hashtext($1))", self._tenant
        )
        await self._connection.execute(
            "UPDATE states SET closed_until = greatest(closed_until, $2) WHERE tenant = $1", self._tenant, until
        )
        return await self.state()

    async def state(self) -> State:
        row = await self._connection.fetchrow("SELECT * FROM states WHERE tenant = $1 FOR UPDATE", self._tenant)
        if row is None:
            return State()
        return State(row["closed_until"], row["looked_until"], row["standing"], row["baseline_id"])

    async def put_state(self, state: State) -> None:
        await self._connection.execute(
            _PUT_STATE, self._tenant, state.closed_until, state.looked_until, state.standing, state.baseline_id
        )

    async def first_bucket(self) -> datetime | None:
        found: datetime | None = await self._connection.fetchval(
            "SELECT min(bucket) FROM sketches WHERE tenant = $1", self._tenant
        )
        return found

    async def counts(self, begins: datetime, ends: datetime) -> Mapping[datetime, int]:
        rows = await self._connection.fetch(
            "SELECT bucket, sum(queries)::bigint AS queries FROM sketches"
            " WHERE tenant = $1 AND bucket >= $2 AND bucket < $3 GROUP BY bucket",
            self._tenant,
            begins,
            ends,
        )
        return {row["bucket"]: row["queries"] for row in rows}

    async def cells(self, begins: datetime, ends: datetime) -> Mapping[Cell, Sketch]:
        """See Books. One cell at a time is read and put together: what is held is one sketch a cell."""
        names = await self._connection.fetch(
            "SELECT DISTINCT product, kind FROM sketches WHERE tenant = $1 AND bucket >= $2 AND bucket < $3",
            self._tenant,
            begins,
            ends,
        )
        found: dict[Cell, Sketch] = {}
        for name in names:
            rows = await self._connection.fetch(
                "SELECT sketch FROM sketches"
                " WHERE tenant = $1 AND bucket >= $2 AND bucket < $3 AND product = $4 AND kind = $5",
                self._tenant,
                begins,
                ends,
                name["product"],
                name["kind"],
            )
            found[Cell(name["product"], name["kind"])] = await asyncio.to_thread(_united, rows)
        return found

    async def tidy(self, until: datetime) -> None:
        rows = await self._connection.fetch(
            "SELECT bucket, product, kind FROM sketches WHERE tenant = $1 AND bucket < $2"
            " GROUP BY bucket, product, kind HAVING count(*) > 1",
            self._tenant,
            until,
        )
        for row in rows:
            await self._unite(Place(row["bucket"], Cell(row["product"], row["kind"])))

    async def samples(self, query_ids: Collection[str], begins: datetime, ends: datetime) -> Mapping[str, Sample]:
        rows = await self._connection.fetch(
            "SELECT query_id, subject, tier, asked_at FROM examples"
            " WHERE tenant = $1 AND bucket >= $2 AND bucket < $3 AND query_id = ANY($4)",
            self._tenant,
            begins,
            ends,
            list(query_ids),
        )
        return {row["query_id"]: _sample(row) for row in rows}

    async def lexicon(self, since: date) -> Lexicon:
        rows = await self._connection.fetch(
            "SELECT lexicon FROM lexicons WHERE tenant = $1 AND week >= $2", self._tenant, since
        )
        return await asyncio.to_thread(_all_words, [row["lexicon"] for row in rows])

    async def late(self) -> int:
        found = await self._connection.fetchval(
            "SELECT coalesce(sum(events), 0)::bigint FROM late_events WHERE tenant = $1", self._tenant
        )
        return int(found)

    async def prune(self, before: datetime) -> None:
        for table in ("sketches", "examples", "late_events"):
            await self._connection.execute(
                f"DELETE FROM {table} WHERE tenant = $1 AND bucket < $2",  # noqa: S608 - our own words
                self._tenant,
                before,
            )
        await self._connection.execute(
            "DELETE FROM lexicons WHERE tenant = $1 AND week < $2", self._tenant, before.date()
        )
        await self._connection.execute("DELETE FROM looks WHERE tenant = $1 AND ends < $2", self._tenant, before)

    # What came of it

    async def add_baseline(self, baseline: Baseline, cells: Mapping[Cell, Sketch]) -> None:
        await self._connection.execute(
            _ADD_BASELINE,
            self._tenant,
            baseline.baseline_id,
            baseline.dataset_id,
            baseline.begins,
            baseline.ends,
            baseline.samples,
            baseline.set_by,
            baseline.set_at,
        )
        await self._connection.execute("DELETE FROM baseline_sketches WHERE tenant = $1", self._tenant)
        await self._connection.executemany(
            _ADD_BASELINE_SKETCH,
            [
                (self._tenant, baseline.baseline_id, cell.product, cell.kind, _tier(sketch), sketch.to_bytes())
                for cell, sketch in cells.items()
            ],
        )

    async def baseline(self, baseline_id: UUID) -> Baseline | None:
        row = await self._connection.fetchrow(
            "SELECT * FROM baselines WHERE tenant = $1 AND baseline_id = $2", self._tenant, baseline_id
        )
        if row is None:
            return None
        return Baseline(
            row["baseline_id"],
            row["tenant"],
            row["dataset_id"],
            row["begins"],
            row["ends"],
            row["samples"],
            row["set_by"],
            row["set_at"],
        )

    async def baseline_cells(self, baseline_id: UUID) -> Mapping[Cell, Sketch]:
        rows = await self._connection.fetch(
            "SELECT product, kind, sketch FROM baseline_sketches WHERE tenant = $1 AND baseline_id = $2",
            self._tenant,
            baseline_id,
        )
        return await asyncio.to_thread(_decoded, rows)

    async def add_look(self, look: LookRecord) -> None:
        await self._connection.execute(
            "INSERT INTO looks (tenant, ends, begins, baseline_id, record) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT DO NOTHING",
            self._tenant,
            look.ends,
            look.begins,
            look.baseline_id,
            look.record,
        )

    async def looks(self, until: datetime, *, most: int) -> Sequence[LookRecord]:
        rows = await self._connection.fetch(
            "SELECT begins, ends, baseline_id, record FROM looks WHERE tenant = $1 AND ends <= $2"
            " ORDER BY ends DESC LIMIT $3",
            self._tenant,
            until,
            most,
        )
        return [LookRecord(row["begins"], row["ends"], row["baseline_id"], row["record"]) for row in rows]

    async def add_alert(self, alert: AlertRecord) -> None:
        is_new = await self._connection.fetchval(
            _ADD_ALERT,
            self._tenant,
            alert.alert_id,
            "open" if alert.closed_at is None else "closed",
            alert.opened_at,
            alert.closed_at,
            alert.baseline_id,
            int(alert.tier),
            alert.record,
        )
        if is_new:
            await self._connection.executemany(
                _ADD_ALERT_SAMPLE,
                [
                    (self._tenant, alert.alert_id, place, *_sample_row(sample))
                    for place, sample in enumerate(alert.samples)
                ],
            )

    async def close_alert(self, alert_id: UUID, at: datetime) -> AlertRecord | None:
        status = await self._connection.execute(
            "UPDATE alerts SET state = 'closed', closed_at = $3 WHERE tenant = $1 AND alert_id = $2 AND state = 'open'",
            self._tenant,
            alert_id,
            at,
        )
        return await self.alert(alert_id) if status == "UPDATE 1" else None

    async def alerts(self, *, most: int) -> Sequence[AlertRecord]:
        return await self._alerts("ORDER BY opened_at DESC, alert_id LIMIT $2", most)

    async def open_alerts(self) -> Sequence[AlertRecord]:
        return await self._alerts("AND state = 'open' ORDER BY opened_at DESC, alert_id")

    async def alert(self, alert_id: UUID) -> AlertRecord | None:
        found = await self._alerts("AND alert_id = $2", alert_id)
        return found[0] if found else None

    async def _alerts(self, which: str, *values: object) -> list[AlertRecord]:
        rows = await self._connection.fetch(
            f"SELECT * FROM alerts WHERE tenant = $1 {which}",  # noqa: S608 - our own words
            self._tenant,
            *values,
        )
        samples: dict[UUID, list[Sample]] = {row["alert_id"]: [] for row in rows}
        found = await self._connection.fetch(
            "SELECT * FROM alert_examples WHERE tenant = $1 AND alert_id = ANY($2) ORDER BY alert_id, place",
            self._tenant,
            list(samples),
        )
        for row in found:
            samples[row["alert_id"]].append(_sample(row))
        return [_alert(row, samples[row["alert_id"]]) for row in rows]

    async def _unite(self, place: Place) -> None:
        """Puts a place's parts together, and drops the rows of samples that the sketch does not keep."""
        where = self._tenant, place.bucket, place.cell.product, place.cell.kind
        rows = await self._connection.fetch(_TAKE_PARTS, *where)
        if not rows:
            return
        parts = await asyncio.to_thread(_parts, rows)
        sketch = await asyncio.to_thread(Sketch.merged, parts)
        ((_, _, data),) = await asyncio.to_thread(_encoded, {place: sketch})
        await self._connection.execute(_ADD_SKETCH, *where, _tier(sketch), sketch.queries, data)
        # Only what was dropped here: another instance may have added a part by now, with samples of its own.
        dropped = _sampled(*parts) - _sampled(sketch)
        await self._connection.execute(_DROP_SAMPLES, *where, list(dropped))

    def _columns(self, places: Iterable[Place]) -> tuple[str, list[datetime], list[str], list[str]]:
        ordered = list(places)
        return (
            self._tenant,
            [place.bucket for place in ordered],
            [place.cell.product for place in ordered],
            [place.cell.kind for place in ordered],
        )


class PostgresLeadership:
    """See ports.Leadership: an advisory lock of the session's."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], schema: str) -> None:
        self._connection = connection
        self._name = f"{_LEADER} {schema}"
        self._is_held = False

    async def holds(self) -> bool:
        """See Leadership. While it is held this asks the server too, since a lost connection has lost the lock."""
        if self._is_held:
            await self._connection.execute("SELECT 1")
        else:
            self._is_held = await self._connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", self._name)
        return self._is_held


class PostgresDesk:
    """See ports.Desk."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[tuple[Unit, PostgresBooks]]:
        """See Desk."""
        async with self._ledger.unit(tenant=tenant) as unit:
            yield unit, PostgresBooks(unit.connection, tenant)

    @asynccontextmanager
    async def together(
        self, tenant: str, deliveries: Sequence[Delivery[Any]]
    ) -> AsyncIterator[tuple[Unit, PostgresBooks, Sequence[Delivery[Any]]]]:
        """See Desk."""
        async with self._ledger.together(deliveries, tenant=tenant) as (unit, fresh):
            yield unit, PostgresBooks(unit.connection, tenant), fresh

    async def tenants(self) -> Sequence[str]:
        async with self._database.transaction() as connection:
            return [row["tenant"] for row in await connection.fetch("SELECT tenant FROM tenants ORDER BY tenant")]

    async def marks(self) -> Mapping[tuple[str, int], datetime]:
        async with self._database.transaction() as connection:
            rows = await connection.fetch("SELECT topic, partition, at FROM progress")
        return {(row["topic"], row["partition"]): row["at"] for row in rows}

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[PostgresLeadership]:
        """See Desk."""
        async with self._database.dedicated() as connection:
            yield PostgresLeadership(connection, self._database.schema)


def _encoded(sketches: Mapping[Place, Sketch]) -> list[tuple[Place, Sketch, bytes]]:
    return [(place, sketch, sketch.to_bytes()) for place, sketch in sorted(sketches.items(), key=lambda each: each[0])]


def _parts(rows: Sequence[asyncpg.Record]) -> list[Sketch]:
    return [Sketch.from_bytes(row["sketch"]) for row in rows]


def _united(rows: Sequence[asyncpg.Record]) -> Sketch:
    return Sketch.merged(_parts(rows))


def _sampled(*sketches: Sketch) -> set[str]:
    return {example.query_id for sketch in sketches for example in sketch.examples}


def _decoded(rows: Sequence[asyncpg.Record]) -> dict[Cell, Sketch]:
    return {Cell(row["product"], row["kind"]): Sketch.from_bytes(row["sketch"]) for row in rows}


def _more_words(before: bytes | None, seen: Sequence[Seen]) -> bytes:
    lexicon = Lexicon.from_bytes(before) if before else Lexicon()
    for one in seen:
        lexicon.add(one.words, tier=one.observation.tier, conversation=one.observation.conversation)
    data: bytes = lexicon.to_bytes()
    return data


def _all_words(found: Sequence[bytes]) -> Lexicon:
    return Lexicon.merged(Lexicon.from_bytes(data) for data in found)


def _tier(sketch: Sketch) -> int:
    """The strictest of the questions; of what holds none, as vectors alone, nobody can say."""
    return int(sketch.strictest or Tier.TIER_2)


def _position(mark: Mark) -> tuple[str, int]:
    return mark.topic, mark.partition


def _sample_row(sample: Sample) -> tuple[str, bytes | None, int, datetime]:
    return sample.query_id, sample.subject, int(sample.tier), sample.asked_at


def _sample(row: asyncpg.Record) -> Sample:
    return Sample(row["query_id"], row["subject"], Tier(row["tier"]), row["asked_at"])


def _alert(row: asyncpg.Record, samples: Sequence[Sample]) -> AlertRecord:
    return AlertRecord(
        row["alert_id"],
        row["opened_at"],
        row["closed_at"],
        row["baseline_id"],
        Tier(row["tier"]),
        row["record"],
        tuple(samples),
    )
