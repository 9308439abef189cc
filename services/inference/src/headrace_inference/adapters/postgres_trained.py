"""Which trained models there are, in Postgres; migrations/0007_trained_models.sql says what each column holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.training.v1 import training_pb2
from headrace_database import Database
from headrace_database.connection import statement
from headrace_privacy import Tier
from headrace_stream import Unit

from headrace_inference.trained_records import Target, TrainedRecord
from headrace_inference.trained_translate import TARGETS

_NUMBERS: Mapping[Target, int] = {target: number for number, target in TARGETS.items()}

_TENANT = "INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING"
_PUT = """
INSERT INTO trained_models
    (tenant, name, version, target, tier, standing, address, files, trace_context, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (tenant, name, version) DO UPDATE SET
    tier = EXCLUDED.tier, standing = EXCLUDED.standing, address = EXCLUDED.address, files = EXCLUDED.files,
    trace_context = EXCLUDED.trace_context, changed_at = EXCLUDED.changed_at
WHERE trained_models.changed_at <= EXCLUDED.changed_at
"""
_OF = "SELECT * FROM trained_models WHERE tenant = $1 ORDER BY name, version"
_TENANTS = "SELECT tenant FROM tenants ORDER BY tenant"


@dataclass(frozen=True, slots=True)
class PostgresTrainedBooks:
    """See trained_ports.TrainedBooks."""

    database: Database

    async def put(self, unit: Unit, record: TrainedRecord) -> None:
        """See trained_ports.TrainedBooks.put."""
        await unit.connection.execute(_TENANT, record.tenant)
        named = (record.tenant, record.name, record.version, _NUMBERS[record.target])
        weights = (record.address, _packed(record.files), _packed(record.carrier))
        with statement("INSERT trained_models", operation="INSERT", collection="trained_models"):
            await unit.connection.execute(_PUT, *named, int(record.tier), record.standing, *weights, record.changed_at)

    async def of(self, tenant: str) -> Sequence[TrainedRecord]:
        """See trained_ports.TrainedBooks.of."""
        async with self.database.transaction(tenant=tenant) as connection:
            return [_record(row) for row in await connection.fetch(_OF, tenant)]

    async def every(self) -> Sequence[TrainedRecord]:
        """See trained_ports.TrainedBooks.every."""
        async with self.database.transaction() as connection:
            tenants = [row["tenant"] for row in await connection.fetch(_TENANTS)]
        return [record for tenant in tenants for record in await self.of(tenant)]


def _packed(words: Mapping[str, str]) -> bytes:
    return json.dumps(dict(words), sort_keys=True).encode()


def _record(row: Any) -> TrainedRecord:
    return TrainedRecord(
        tenant=row["tenant"],
        name=row["name"],
        version=row["version"],
        tier=Tier(row["tier"]),
        standing=row["standing"],
        changed_at=row["changed_at"],
        target=TARGETS[training_pb2.Target.ValueType(row["target"])],
        address=row["address"],
        files=json.loads(row["files"]),
        carrier=json.loads(row["trace_context"]),
    )
