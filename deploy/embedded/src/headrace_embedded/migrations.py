"""Bringing every schema to its newest state."""

from __future__ import annotations

import asyncpg
from headrace_database.migrations import Migration, migrate, migrations_of, read_migrations

from headrace_embedded.house import CHECKOUT, HOUSE
from headrace_embedded.servers.provision import SERVICES, TRACES


async def migrate_all(superuser_dsn: str) -> dict[str, list[str]]:
    """Applies what is missing in each schema and returns the names applied, by schema.

    Raises headrace_runtime.errors.Conflict when an applied file has changed since.
    """
    connection = await asyncpg.connect(superuser_dsn)
    try:
        return {
            schema: await migrate(connection, schema=schema, migrations=plan)
            for schema, plan in _plans().items()
            if plan
        }
    finally:
        await connection.close()


def _plans() -> dict[str, list[Migration]]:
    services = {service: migrations_of(service, root=CHECKOUT) for service in SERVICES}
    return {**services, TRACES: read_migrations(HOUSE / "migrations")}
