"""The schema `inference`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_runtime.errors import Conflict

from headrace_inference.adapters.catalogue import Catalogue, Entry
from headrace_inference.domain import Answer, Versioned
from headrace_inference.routing import BY_DEFAULT, Chosen

_ADD = """
INSERT INTO answers (
    tenant, query_id, event_id, tier, grounding, variant, variant_version, completed_at,
    kind, route, route_version, backend, cost_micro_usd, trial
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING RETURNING true
"""


class PostgresAnswers:
    """See ports.Answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(
        self,
        tenant: str,
        query_id: UUID,
        answer: Answer,
        *,
        event_id: UUID,
        variant: Versioned,
        at: datetime,
        chosen: Chosen = BY_DEFAULT,
        trial: bool = False,
    ) -> bool:
        """See ports.Answers.add."""
        row = (tenant, query_id, event_id, int(answer.tier), answer.grounding.value, variant.name, variant.version, at)
        how = (chosen.kind, chosen.route, chosen.route_version, chosen.backend, answer.spent.cost_micro_usd, trial)
        with statement("INSERT answers", operation="INSERT", collection="answers"):
            return bool(await self._connection.fetchval(_ADD, *row, *how))


class PostgresAnswerIndex:
    """See ports.AnswerIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_answered(self, tenant: str, query_id: UUID) -> bool:
        """See ports.AnswerIndex.is_answered."""
        async with self._database.transaction(tenant=tenant) as connection:
            found = await connection.fetchval(
                "SELECT true FROM answers WHERE tenant = $1 AND query_id = $2", tenant, query_id
            )
        return bool(found)


async def seed(database: Database, catalogue: Catalogue) -> None:
    """Store the versions that are not there yet. Raises Conflict when one has another content than it had before."""
    async with database.transaction() as connection:
        for entry in sorted(catalogue.entries, key=lambda e: e.kind):  # prompts before the variants that use them
            await _seed(connection, entry)


async def _seed(connection: Connection, entry: Entry) -> None:
    table = {"prompt": "prompts", "variant": "variants"}[entry.kind]
    key = (entry.key.name, entry.key.version)
    await connection.execute(
        f"INSERT INTO {table} (name, version, content, sha256) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",  # noqa: S608 - one of two names
        *key,
        entry.content,
        entry.sha256,
    )
    stored = await connection.fetchval(f"SELECT sha256 FROM {table} WHERE name = $1 AND version = $2", *key)  # noqa: S608 - one of two names
    if stored != entry.sha256:
        raise Conflict(f"{entry.kind} {entry.key.name} {entry.key.version} changed after it was used: number it anew")
