"""Rows for any table, made from the catalog."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

_VALUES = {
    "smallint": "1",
    "integer": "1",
    "bigint": "1",
    "double precision": "0",
    "boolean": "true",
    "timestamp with time zone": "now()",
    "bytea": "decode(repeat('00', 32), 'hex')",
    "date": "current_date",
    "jsonb": "'{}'",
    "text[]": "'{}'",
    "bytea[]": "'{}'",
}

_COLUMNS = """
SELECT n.nspname || '.' || c.relname AS "table", a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS is_needed
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 1, a.attnum
"""

_counter = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalog has it: its columns' types, and which an INSERT must name."""

    name: str
    columns: dict[str, str]
    needed: frozenset[str]

    @property
    def schema(self) -> str:
        """The schema, and the service."""
        return self.name.partition(".")[0]

    @property
    def has_tenant(self) -> bool:
        """Whether its rows are a tenant's."""
        return "tenant" in self.columns

    @property
    def has_tier(self) -> bool:
        """Whether its rows have a tier."""
        return "tier" in self.columns

    def insert(self, tenant: str, tier: int, values: dict[str, str]) -> str:
        """Returns an INSERT of a row that no other has. `values` are SQL; "$next" counts, "$unique32" are 32 bytes."""
        names = [name for name in self.columns if name in self.needed or name in values or name in ("tenant", "tier")]
        row = {name: self._value(name, tenant, tier, values) for name in names}
        return f"INSERT INTO {self.name} ({', '.join(row)}) VALUES ({', '.join(row.values())})"

    def _value(self, name: str, tenant: str, tier: int, values: dict[str, str]) -> str:
        if name == "tenant":
            return f"'{tenant}'"
        if name == "tier":
            return str(tier)
        if name in values:
            return values[name].replace("$next", str(next(_counter))).replace("$unique32", _unique32())
        if self.columns[name] == "uuid":
            return f"'{uuid4()}'"
        if self.columns[name] == "text":
            return f"'{uuid4().hex}'"
        return f"{_VALUES[self.columns[name]]}::{self.columns[name]}"


def _unique32() -> str:
    return f"decode('{uuid4().hex}{uuid4().hex}', 'hex')"


async def read_tables(connection: Any, schemas: tuple[str, ...]) -> list[Table]:
    """Returns every table of these schemas."""
    rows = await connection.fetch(_COLUMNS, list(schemas))
    return [
        Table(name, {row["name"]: row["type"] for row in found}, frozenset(r["name"] for r in found if r["is_needed"]))
        for name, found in ((key, list(group)) for key, group in itertools.groupby(rows, key=lambda row: row["table"]))
    ]
