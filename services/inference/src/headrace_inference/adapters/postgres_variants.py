"""Prompts, labels and variants in Postgres; migrations/0005_prompts_and_variants.sql says what each column holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from headrace.inference.v1 import prompts_pb2, variants_pb2
from headrace_database import Connection
from headrace_database.connection import statement
from headrace_stream import Ledger, Unit

from headrace_inference import variant_translate as translate
from headrace_inference.variant_ports import Labels
from headrace_inference.variant_records import LabelMove, PromptRecord, VariantRecord, sha256_of

_PROMPT = "SELECT content FROM tenant_prompts WHERE tenant = $1 AND name = $2 AND version = $3"
_PROMPTS = "SELECT content FROM tenant_prompts WHERE tenant = $1 AND name = $2 ORDER BY version DESC"
_NEWEST_PROMPTS = "SELECT DISTINCT ON (name) content FROM tenant_prompts WHERE tenant = $1 ORDER BY name, version DESC"
_ADD_PROMPT = """
INSERT INTO tenant_prompts (tenant, name, version, content, sha256, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_LABELS = """
SELECT DISTINCT ON (name, label) name, label, version FROM prompt_labels WHERE tenant = $1
ORDER BY name, label, move DESC
"""
_MOVE = """
INSERT INTO prompt_labels (tenant, name, label, move, version, reason, moved_by, moved_at)
SELECT $1, $2, $3, 1 + coalesce(max(move), 0), $4, $5, $6, $7
FROM prompt_labels WHERE tenant = $1 AND name = $2 AND label = $3
"""
_VARIANT = "SELECT content FROM tenant_variants WHERE tenant = $1 AND name = $2 AND version = $3"
_VARIANTS = "SELECT content FROM tenant_variants WHERE tenant = $1 AND name = $2 ORDER BY version DESC"
_NEWEST_VARIANTS = (
    "SELECT DISTINCT ON (name) content FROM tenant_variants WHERE tenant = $1 ORDER BY name, version DESC"
)
_ADD_VARIANT = """
INSERT INTO tenant_variants (tenant, name, version, content, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6)
"""


@dataclass(frozen=True, slots=True)
class PostgresVariantBooks:
    """See variant_ports.VariantBooks."""

    ledger: Ledger

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[PostgresVariantBook]:
        """See variant_ports.VariantBooks.open."""
        async with self.ledger.unit(tenant=tenant) as unit:
            yield PostgresVariantBook(unit, tenant)


@dataclass(frozen=True, slots=True)
class PostgresVariantBook:
    """See variant_ports.VariantBook."""

    unit: Unit
    tenant: str

    @property
    def _connection(self) -> Connection:
        return self.unit.connection

    async def hold(self) -> None:
        """See variant_ports.VariantBook.hold."""
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('variants ' || $1))", self.tenant)

    async def prompt(self, name: str, version: int) -> PromptRecord | None:
        """See variant_ports.VariantBook.prompt."""
        return next(iter(await self._prompts(_PROMPT, name, version)), None)

    async def prompts(self, name: str) -> Sequence[PromptRecord]:
        """See variant_ports.VariantBook.prompts."""
        return await self._prompts(_PROMPTS, name)

    async def newest_prompts(self) -> Sequence[PromptRecord]:
        """See variant_ports.VariantBook.newest_prompts."""
        return await self._prompts(_NEWEST_PROMPTS)

    async def add_prompt(self, record: PromptRecord) -> None:
        """See variant_ports.VariantBook.add_prompt."""
        content, sha256 = translate.stored_prompt(record).SerializeToString(), sha256_of(record.prompt)
        row = (record.prompt.name, record.number, content, sha256, record.created_by, record.created_at)
        await self._connection.execute(_ADD_PROMPT, self.tenant, *row)

    async def labels(self) -> Labels:
        """See variant_ports.VariantBook.labels."""
        with statement("SELECT prompt_labels", operation="SELECT", collection="prompt_labels"):
            rows = await self._connection.fetch(_LABELS, self.tenant)
        return {(row["name"], row["label"]): row["version"] for row in rows if row["version"]}

    async def move_label(self, move: LabelMove) -> None:
        """See variant_ports.VariantBook.move_label."""
        row = (move.name, move.label, move.version, move.reason, move.moved_by, move.moved_at)
        await self._connection.execute(_MOVE, self.tenant, *row)

    async def variant(self, name: str, version: int) -> VariantRecord | None:
        """See variant_ports.VariantBook.variant."""
        return next(iter(await self._variants(_VARIANT, name, version)), None)

    async def variants(self, name: str) -> Sequence[VariantRecord]:
        """See variant_ports.VariantBook.variants."""
        return await self._variants(_VARIANTS, name)

    async def newest_variants(self) -> Sequence[VariantRecord]:
        """See variant_ports.VariantBook.newest_variants."""
        return await self._variants(_NEWEST_VARIANTS)

    async def add_variant(self, record: VariantRecord) -> None:
        """See variant_ports.VariantBook.add_variant."""
        content = translate.stored_variant(record).SerializeToString()
        row = (record.key.name, record.number, content, record.created_by, record.created_at)
        await self._connection.execute(_ADD_VARIANT, self.tenant, *row)

    def emit(self, event: Any) -> None:
        """See variant_ports.VariantBook.emit."""
        self.unit.emit(event)

    async def _prompts(self, query: str, *values: Any) -> list[PromptRecord]:
        with statement("SELECT tenant_prompts", operation="SELECT", collection="tenant_prompts"):
            rows = await self._connection.fetch(query, self.tenant, *values)
        return [translate.to_prompt_record(prompts_pb2.Prompt.FromString(row["content"])) for row in rows]

    async def _variants(self, query: str, *values: Any) -> list[VariantRecord]:
        with statement("SELECT tenant_variants", operation="SELECT", collection="tenant_variants"):
            rows = await self._connection.fetch(query, self.tenant, *values)
        return [translate.to_variant_record(variants_pb2.Variant.FromString(row["content"])) for row in rows]
