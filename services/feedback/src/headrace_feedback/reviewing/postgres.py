"""The queue and the rubrics in the schema `feedback`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import Tier

from headrace_feedback.interaction import Versioned
from headrace_feedback.reviewing.criteria import Rubric
from headrace_feedback.reviewing.queue import Counted, Item, Labelling, Standing
from headrace_feedback.reviewing.rubric_files import built_in
from headrace_feedback.reviewing.sampling import Reason, Sampling, Vocabulary
from headrace_feedback.reviewing.translate import content_of, digest_of, rubric_of, sampling_of, to_sampling_bytes

_LEARN = """
    WITH new AS (
        INSERT INTO vocabulary (tenant, word) SELECT $1, unnest($2::bytea[]) ON CONFLICT DO NOTHING RETURNING 1
    ), known AS (
        SELECT count(*) AS words FROM (SELECT FROM vocabulary WHERE tenant = $1 LIMIT 10000) AS counted
    )
    SELECT (SELECT words FROM known), (SELECT count(*) FROM new)
"""
_ADD = """
    INSERT INTO review_items (
        tenant, item_id, query_id, reasons, tier, kind, rubric, rubric_version, reviewers, created_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (tenant, query_id) DO UPDATE SET reasons = ARRAY(
        SELECT DISTINCT reason FROM unnest(review_items.reasons || EXCLUDED.reasons) AS reason ORDER BY reason
    )
"""
# Whoever labelled it has had it; a place is taken by a label, or by a claim that still holds.
_OPEN = """
    FROM review_items i
    LEFT JOIN review_claims mine ON mine.tenant = i.tenant AND mine.item_id = i.item_id AND mine.reviewer = $2
        AND mine.claimed_until > $3
    WHERE i.tenant = $1
        AND NOT EXISTS (
            SELECT FROM review_labels l WHERE l.tenant = i.tenant AND l.item_id = i.item_id AND l.reviewer = $2
        )
        AND i.reviewers > (
            SELECT count(*) FROM (
                SELECT reviewer FROM review_labels l WHERE l.tenant = i.tenant AND l.item_id = i.item_id
                UNION
                SELECT reviewer FROM review_claims c WHERE c.tenant = i.tenant AND c.item_id = i.item_id
                    AND c.reviewer <> $2 AND c.claimed_until > $3
            ) AS places
        )
"""
_OPEN_FOR = f"""
    SELECT i.* {_OPEN} AND ($4::uuid IS NULL OR i.query_id = $4)
    ORDER BY mine.item_id IS NULL, i.created_at, i.item_id LIMIT $5
"""
_CLAIM = """
    INSERT INTO review_claims (tenant, item_id, reviewer, claimed_until) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant, item_id, reviewer) DO UPDATE SET claimed_until = EXCLUDED.claimed_until
"""
_HELD = """
    SELECT i.* FROM review_items i WHERE i.tenant = $1 AND i.item_id = $2 AND (
        EXISTS (SELECT FROM review_claims c WHERE c.tenant = $1 AND c.item_id = $2 AND c.reviewer = $3
            AND c.claimed_until > $4)
        OR EXISTS (SELECT FROM review_labels l WHERE l.tenant = $1 AND l.item_id = $2 AND l.reviewer = $3)
    )
"""
_LABEL = """
    INSERT INTO review_labels (
        tenant, label_id, item_id, query_id, reviewer, rubric, rubric_version, labels, tier, comment, labelled_at, kind
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
_LABELLERS = "SELECT count(DISTINCT reviewer) FROM review_labels WHERE tenant = $1 AND item_id = $2"
_STANDING = """
    SELECT
        count(*) FILTER (WHERE labellers >= reviewers) AS finished,
        count(*) FILTER (WHERE labellers < reviewers AND is_held) AS claimed,
        count(*) FILTER (WHERE labellers < reviewers AND NOT is_held) AS waiting
    FROM (
        SELECT i.reviewers,
            (SELECT count(DISTINCT l.reviewer) FROM review_labels l
                WHERE l.tenant = i.tenant AND l.item_id = i.item_id) AS labellers,
            EXISTS (SELECT FROM review_claims c
                WHERE c.tenant = i.tenant AND c.item_id = i.item_id AND c.claimed_until > $2) AS is_held
        FROM review_items i WHERE i.tenant = $1
    ) AS items
"""
_LABELS = """
    SELECT DISTINCT ON (item_id, reviewer) item_id, reviewer, labels FROM review_labels
    WHERE tenant = $1 AND rubric = $2 AND rubric_version = $3
    ORDER BY item_id, reviewer, labelled_at DESC, label_id DESC
"""


class PostgresRubrics:
    """See ports.Rubrics."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, tenant: str, rubric: Rubric, *, by: str, at: datetime) -> tuple[Rubric, bool]:
        """See Rubrics.put."""
        # Two who put the same name at the same moment would both take the next number.
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"rubric {tenant} {rubric.name}")
        rows = await self._connection.fetch(
            "SELECT * FROM rubrics WHERE tenant = $1 AND name = $2 ORDER BY version DESC", tenant, rubric.name
        )
        digest = digest_of(rubric)
        for row in rows:
            if row["sha256"] == digest:
                return _rubric(row), False
        version = rows[0]["version"] + 1 if rows else 1
        stored = await self._connection.fetchrow(
            "INSERT INTO rubrics (tenant, name, version, content, sha256, created_by, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *",
            tenant,
            rubric.name,
            version,
            content_of(rubric),
            digest,
            by,
            at,
        )
        return _rubric(stored), True

    async def get(self, tenant: str, name: str, version: int) -> Rubric | None:
        """See Rubrics.get."""
        versions = await self.all(tenant, name) if name else ()
        return next((one for one in versions if version in (0, one.version)), None)

    async def all(self, tenant: str, name: str) -> Sequence[Rubric]:
        """See Rubrics.all."""
        shipped = [rubric for rubric in built_in() if name in ("", rubric.name)]
        rows = await self._connection.fetch(
            "SELECT * FROM rubrics WHERE tenant = $1 AND ($2 = '' OR name = $2) ORDER BY name, version DESC",
            tenant,
            name,
        )
        found = sorted([*shipped, *map(_rubric, rows)], key=lambda rubric: (rubric.name, -rubric.version))
        if name:
            return found
        return list({rubric.name: rubric for rubric in reversed(found)}.values())[::-1]


class PostgresQueue:
    """See ports.Queue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def sampling(self, tenant: str) -> Sampling | None:
        """See Queue.sampling."""
        content = await self._connection.fetchval("SELECT content FROM sampling WHERE tenant = $1", tenant)
        return sampling_of(content) if content is not None else None

    async def put_sampling(self, tenant: str, sampling: Sampling, *, by: str, at: datetime) -> None:
        """See Queue.put_sampling."""
        await self._connection.execute(
            "INSERT INTO sampling (tenant, content, changed_by, changed_at) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (tenant) DO UPDATE SET content = EXCLUDED.content, changed_by = EXCLUDED.changed_by,"
            " changed_at = EXCLUDED.changed_at",
            tenant,
            to_sampling_bytes(tenant, sampling),
            by,
            at,
        )

    async def learn(self, tenant: str, words: Collection[bytes]) -> Vocabulary:
        """See Queue.learn. In one order, so that two answers with the same words do not wait for each other."""
        row = await self._connection.fetchrow(_LEARN, tenant, sorted(words))
        assert row is not None
        return Vocabulary(*row)

    async def taken_today(self, tenant: str, reason: Reason, *, now: datetime) -> int:
        """See Queue.taken_today."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return await self._count(
            "SELECT count(*) FROM review_items WHERE tenant = $1 AND $2 = ANY(reasons) AND created_at >= $3",
            tenant,
            int(reason),
            midnight,
        )

    async def add(self, item: Item) -> None:
        """See Queue.add."""
        with statement("INSERT review_items", operation="INSERT", collection="review_items"):
            await self._connection.execute(
                _ADD,
                item.tenant,
                item.item_id,
                item.query_id,
                [int(reason) for reason in item.reasons],
                item.tier.value,
                item.kind,
                item.rubric.name,
                int(item.rubric.version),
                item.reviewers,
                item.created_at,
            )

    async def kind_of(self, tenant: str, query_id: UUID) -> tuple[Tier, str] | None:
        """See Queue.kind_of."""
        row = await self._connection.fetchrow(
            "SELECT tier, kind FROM interactions WHERE tenant = $1 AND query_id = $2", tenant, query_id
        )
        return (Tier(row["tier"]), row["kind"]) if row else None

    async def open_for(
        self, tenant: str, reviewer: str, *, now: datetime, query_id: UUID | None, most: int
    ) -> list[Item]:
        """See Queue.open_for."""
        with statement("SELECT review_items", operation="SELECT", collection="review_items"):
            rows = await self._connection.fetch(_OPEN_FOR, tenant, reviewer, now, query_id, most)
        return [_item(row) for row in rows]

    async def count_open_for(self, tenant: str, reviewer: str, *, now: datetime) -> int:
        """See Queue.count_open_for."""
        return await self._count(f"SELECT count(*) {_OPEN}", tenant, reviewer, now)

    async def claim(self, item: Item, reviewer: str, *, now: datetime, until: datetime) -> bool:
        """See Queue.claim. The item's row is held, so that two who want its last place come one after the other."""
        await self._connection.fetchval(
            "SELECT 1 FROM review_items WHERE tenant = $1 AND item_id = $2 FOR UPDATE", item.tenant, item.item_id
        )
        if not await self.open_for(item.tenant, reviewer, now=now, query_id=item.query_id, most=1):
            return False
        await self._connection.execute(_CLAIM, item.tenant, item.item_id, reviewer, until)
        return True

    async def release(self, tenant: str, item_id: UUID, reviewer: str) -> bool:
        """See Queue.release."""
        status: str = await self._connection.execute(
            "DELETE FROM review_claims WHERE tenant = $1 AND item_id = $2 AND reviewer = $3", tenant, item_id, reviewer
        )
        return status != "DELETE 0"

    async def held(self, tenant: str, item_id: UUID, reviewer: str, *, now: datetime) -> Item | None:
        """See Queue.held."""
        row = await self._connection.fetchrow(_HELD, tenant, item_id, reviewer, now)
        return _item(row) if row else None

    async def label(self, labelling: Labelling) -> bool:
        """See Queue.label."""
        item = labelling.item
        with statement("INSERT review_labels", operation="INSERT", collection="review_labels"):
            await self._connection.execute(
                _LABEL,
                item.tenant,
                labelling.label_id,
                item.item_id,
                item.query_id,
                labelling.reviewer,
                item.rubric.name,
                int(item.rubric.version),
                json.dumps(dict(labelling.labels)),
                labelling.tier.value,
                labelling.comment,
                labelling.labelled_at,
                labelling.kind,
            )
        await self.release(item.tenant, item.item_id, labelling.reviewer)
        return await self._count(_LABELLERS, item.tenant, item.item_id) >= item.reviewers

    async def standing(self, tenant: str, *, now: datetime) -> Standing:
        """See Queue.standing."""
        row = await self._connection.fetchrow(_STANDING, tenant, now)
        by = await self._connection.fetch(
            "SELECT reviewer, count(DISTINCT item_id) AS items FROM review_labels WHERE tenant = $1"
            " GROUP BY reviewer ORDER BY reviewer",
            tenant,
        )
        reasons = await self._connection.fetch(
            "SELECT reason, count(*) AS items FROM review_items, unnest(reasons) AS reason WHERE tenant = $1"
            " GROUP BY reason ORDER BY reason",
            tenant,
        )
        assert row is not None
        return Standing(
            waiting=row["waiting"],
            claimed=row["claimed"],
            finished=row["finished"],
            labelled_by={one["reviewer"]: one["items"] for one in by},
            sampled_for={Reason(one["reason"]): one["items"] for one in reasons},
        )

    async def labels(self, tenant: str, rubric: str, version: int) -> Counted:
        """See Queue.labels."""
        by_item: defaultdict[UUID, dict[str, dict[str, str]]] = defaultdict(dict)
        for row in await self._connection.fetch(_LABELS, tenant, rubric, version):
            by_item[row["item_id"]][row["reviewer"]] = json.loads(row["labels"])
        return Counted(list(by_item.values()))

    async def _count(self, query: str, *values: object) -> int:
        found: int = await self._connection.fetchval(query, *values)
        return found


class PostgresBooks:
    """See ports.Books."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[tuple[PostgresQueue, PostgresRubrics]]:
        """See Books.open."""
        async with self._database.transaction(tenant=tenant) as connection:
            yield PostgresQueue(connection), PostgresRubrics(connection)


def _rubric(row: asyncpg.Record) -> Rubric:
    return rubric_of(row["content"], version=row["version"], created_by=row["created_by"], created_at=row["created_at"])


def _item(row: asyncpg.Record) -> Item:
    return Item(
        item_id=row["item_id"],
        tenant=row["tenant"],
        query_id=row["query_id"],
        reasons=tuple(Reason(reason) for reason in row["reasons"]),
        tier=Tier(row["tier"]),
        kind=row["kind"],
        rubric=Versioned(row["rubric"], str(row["rubric_version"])),
        reviewers=row["reviewers"],
        created_at=row["created_at"],
    )
