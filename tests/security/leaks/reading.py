"""Reads everything that a Headrace has written: tables, topics with their headers, and every file of its folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
from headrace_client.bus import open_reader
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres, provision
from headrace_embedded.servers.topics import every_topic

from tests.security.leaks.scanning import Written

#: A batch of rows that is scanned in one piece.
ROWS = 200
#: Index files and logs are made longer than what is in them.
_NOTHING = bytes(512)

_TABLES = """
SELECT schemaname AS schema, relname AS name FROM pg_stat_user_tables ORDER BY 1, 2
"""


async def tables(home: Path) -> AsyncIterator[Written]:
    """Every row of every table of every schema, as text, read as the superuser whom no policy holds."""
    port = int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[3])
    server = postgres.open_server(home / "postgres", port, lifetime=Lifetime.PARENTS)
    connection = await asyncpg.connect(server.dsn(provision.DATABASE))
    try:
        for table in await connection.fetch(_TABLES):
            async for written in _rows(connection, table["schema"], table["name"]):
                yield written
        settings = await connection.fetch("SELECT s::text FROM pg_stat_activity s")
        yield Written("pg_stat_activity", "\n".join(row[0] for row in settings).encode())
    finally:
        await connection.close()


async def _rows(connection: asyncpg.Connection, schema: str, table: str) -> AsyncIterator[Written]:
    rows = await connection.fetch(f'SELECT t::text FROM "{schema}"."{table}" t')
    for first in range(0, len(rows), ROWS):
        text = "\n".join(row[0] for row in rows[first : first + ROWS])
        yield Written(f"table {schema}.{table}", text.encode())


async def topics(bootstrap: str) -> AsyncIterator[Written]:
    """Every record of every topic and of its dead letters: key, headers and value."""
    async with open_reader(bootstrap) as reader:
        async for record in reader.until_now([topic.name for topic in every_topic()]):
            headers = b"\n".join(name.encode() + b": " + value for name, value in record.headers)
            data = b"\n".join((record.key or b"", headers, record.value or b""))
            yield Written(f"topic {record.topic}", data)


def files(home: Path, name: str = "") -> Iterator[Written]:
    """Every file below a folder, links followed: logs, the database's pages and write-ahead log, the broker's files."""
    for path in sorted(home.rglob("*")):
        if path.is_symlink() and path.is_dir():
            yield from files(path.resolve(), f"{name}{path.relative_to(home)}/")
        elif path.is_file():
            yield Written(f"file {name}{path.relative_to(home)}", _content(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes().replace(_NOTHING, b"")
    except FileNotFoundError:  # it went while we looked
        return b""
