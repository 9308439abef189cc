"""Making the database that the services share: a schema and roles for each, with no rights in another's.

    headrace_owner              owns schemas and tables; nobody logs in as it, migrations become it
    headrace_<service>          what the service logs in as: rows up to TIER_2
    headrace_<service>_tier_1   what it becomes for a reader who is cleared up to TIER_1: reads, never writes
    headrace_<service>_public   the same for PUBLIC

Everything here runs as the superuser, the one thing that does, and can run again on what exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
from headrace_database.connection import role_at
from headrace_privacy import Tier

from headrace_embedded.servers.postgres import PostgresServer

#: The services that keep something in Postgres.
SERVICES = ("ingest", "classifier", "embedder", "retriever", "inference", "feedback", "drift", "trainer")

#: What owns a schema: the services, and the receiver of traces.
TRACES = "traces"
SCHEMAS = (*SERVICES, TRACES)

#: The service that closes erasures, and so may have the write-ahead log's old segments removed.
CHECKPOINTER = "classifier"

DATABASE = "headrace"
OWNER = "headrace_owner"


def role_of(schema: str) -> str:
    """Returns the login role of a service."""
    return f"headrace_{schema}"


def tier_roles_of(schema: str) -> tuple[str, ...]:
    """Returns the roles that a service becomes for readers who are cleared for less than TIER_2."""
    return tuple(role_at(schema, tier) for tier in (Tier.TIER_1, Tier.PUBLIC))


def passwords_of(server: PostgresServer) -> dict[str, str]:
    """Returns the password of each service's role, made at the first call."""
    return {role_of(schema): server.password(role_of(schema)) for schema in SCHEMAS}


async def provision(superuser_dsn: str, *, database: str, passwords: Mapping[str, str]) -> str:
    """Makes the database with its roles and schemas, and returns the superuser's address of it.

    `superuser_dsn` names the database "postgres". `passwords` maps each role of `SCHEMAS` to its password.
    """
    server = await asyncpg.connect(superuser_dsn)
    try:
        await _make_roles(server, passwords)
        await _make_database(server, database)
    finally:
        await server.close()
    inside = with_database(superuser_dsn, database)
    connection = await asyncpg.connect(inside)
    try:
        await _make_schemas(connection, database)
    finally:
        await connection.close()
    return inside


def with_database(dsn: str, database: str) -> str:
    """Returns the same address with another database."""
    return f"{dsn.rsplit('/', 1)[0]}/{database}"


async def _make_roles(server: Any, passwords: Mapping[str, str]) -> None:
    roles = {row["rolname"] for row in await server.fetch("SELECT rolname FROM pg_roles")}
    if OWNER not in roles:
        await server.execute(f"CREATE ROLE {OWNER} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS")
    for schema in SCHEMAS:
        role = role_of(schema)
        verb = "ALTER" if role in roles else "CREATE"
        rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOINHERIT"
        # Passwords are our own token_urlsafe: no quote can be in one.
        await server.execute(f"{verb} ROLE {role} {rights} PASSWORD '{passwords[role]}'")
        for lower in tier_roles_of(schema):
            if lower not in roles:
                await server.execute(f"CREATE ROLE {lower} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS")
            # Without inheriting: with it, the policies of the lower role would bind the service at all times.
            await server.execute(f"GRANT {lower} TO {role} WITH INHERIT FALSE, SET TRUE, ADMIN FALSE")


async def _make_database(server: Any, database: str) -> None:
    if await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
        return
    await server.execute(f'CREATE DATABASE "{database}"')


async def _make_schemas(connection: Any, database: str) -> None:
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    # Behind row-level security only functions that are known to leak nothing may ask an index. The full-text match
    # leaks nothing, but is not marked so: without this, every search reads all of a tenant's text.
    await connection.execute("ALTER FUNCTION pg_catalog.ts_match_vq(tsvector, tsquery) LEAKPROOF")
    await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    # Types and operators of the extension live in public; nobody may make anything there.
    await connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
    await connection.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
    await connection.execute(f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {role_of(CHECKPOINTER)}")
    await connection.execute(f"GRANT pg_checkpoint TO {role_of(CHECKPOINTER)} WITH INHERIT TRUE, SET FALSE")
    for schema in SCHEMAS:
        role = role_of(schema)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {OWNER}")
        await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {', '.join((role, *tier_roles_of(schema)))}")
        await connection.execute(f'GRANT CONNECT ON DATABASE "{database}" TO {role}')
        await connection.execute(f'ALTER ROLE {role} IN DATABASE "{database}" SET search_path = {schema}, public')
