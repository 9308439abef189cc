"""A service's own schema, through a pool, with a tenant for each transaction."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from headrace_privacy import Tier
from headrace_runtime.errors import Unavailable
from headrace_telemetry.tracing import span
from opentelemetry.trace import Span, SpanKind

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection

# What says that the server, not the statement, is at fault. The statement may be tried again.
_DOWN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
    # What asyncpg says when the server goes away while it asks for the types of a statement's parameters.
    asyncpg.InternalClientError,
)

# asyncpg counts these among the above, but they are ours: a value that a column cannot hold will never heal by waiting.
_OURS = (asyncpg.DataError, *asyncpg.InterfaceError.__subclasses__())

ACQUIRE_SECONDS = 5.0
STATEMENT_SECONDS = 30.0
#: Rewriting a table of some gigabytes takes minutes.
MAINTENANCE_SECONDS = 600.0

#: How long a removal waits for older transactions to end.
PATIENCE_SECONDS = 10.0

# What VACUUM and VACUUM FULL say of rows that are dead and that somebody may still see.
_NOT_YET = re.compile(r"(\d+) (?:are dead but not yet removable|dead row versions cannot be removed yet)")

# One round trip for both. They last until the transaction ends, however it ends.
_AS_TENANT = "SELECT set_config('headrace.tenant', $1, true)"
_AS_TENANT_AND_ROLE = "SELECT set_config('headrace.tenant', $1, true), set_config('role', $2, true)"


def role_at(schema: str, clearance: Tier) -> str:
    """Returns the database role that sees a service's rows up to a tier. That of TIER_2 is the one it logs in as."""
    login = f"headrace_{schema}"
    return login if clearance is Tier.TIER_2 else f"{login}_{clearance.label}"


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Turns "the server cannot be reached", and "try again" conflicts, into Unavailable("postgres")."""
    try:
        yield
    except _OURS:
        raise
    except _DOWN as error:
        raise Unavailable("postgres") from error


@contextmanager
def statement(summary: str, *, operation: str, collection: str) -> Iterator[Span]:
    """Opens the span of a statement. `summary` names it without values, for example "SELECT chunks"."""
    attributes = {
        "db.system.name": "postgresql",
        "db.operation.name": operation,
        "db.collection.name": collection,
        "db.query.summary": summary,
    }
    with span(summary, kind=SpanKind.CLIENT, attributes=attributes) as current:  # type: ignore[arg-type]
        yield current


class Database:
    """A service's schema."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], *, schema: str, dsn: str) -> None:
        self._pool = pool
        self.schema = schema
        self._dsn = dsn

    @asynccontextmanager
    async def transaction(self, *, tenant: str = "", clearance: Tier = Tier.TIER_2) -> AsyncIterator[Connection]:
        """Opens a transaction that sees one tenant's rows, none when it names nobody, up to a tier.

        Below TIER_2 it runs as the role of that clearance, which reads what has a tier and writes nothing. Raises
        Unavailable("postgres") when the server cannot be reached, at any point of it.
        """
        with postgres_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection, connection.transaction():
                await self._name(connection, tenant, clearance)
                yield connection

    @asynccontextmanager
    async def snapshot(self, *, tenant: str = "", clearance: Tier = Tier.TIER_2) -> AsyncIterator[Connection]:
        """As transaction, for reading alone: all its statements see the same moment."""
        with postgres_errors():
            async with (
                self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                await self._name(connection, tenant, clearance)
                yield connection

    async def _name(self, connection: Connection, tenant: str, clearance: Tier) -> None:
        if clearance is not Tier.TIER_2:
            await connection.execute(_AS_TENANT_AND_ROLE, tenant, role_at(self.schema, clearance))
        elif tenant:
            await connection.execute(_AS_TENANT, tenant)

    async def vacuum(self, table: str, *more: str) -> int:
        """Removes deleted rows of the schema's tables from their pages and indexes, and from the planner's statistics.

        The bytes of a removed row may still lie in free space of a page: `rewrite` leaves none. What an older
        transaction may still see cannot be removed: such ones, the server's own among them, are waited for up to
        PATIENCE_SECONDS. Returns how many deleted rows are left then. Raises Unavailable("postgres").
        """
        return await self._maintain("VACUUM (ANALYZE, VERBOSE)", (table, *more))

    async def rewrite(self, table: str, *more: str) -> int:
        """Writes tables of the schema and their indexes anew without what was deleted. Nobody reads them meanwhile.

        For small tables: it takes as much disk again, and an HNSW graph is built anew. Waits, returns and raises as
        `vacuum` does.
        """
        return await self._maintain("VACUUM (FULL, ANALYZE, VERBOSE)", (table, *more))

    async def checkpoint(self) -> None:
        """Has the server remove the segments of its write-ahead log up to here: what was deleted lies in them too.

        For the role that closes erasures; another's raises asyncpg.InsufficientPrivilegeError. Raises
        Unavailable("postgres").
        """
        with postgres_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                # The segment that is being written is never removed, so another is begun first.
                await connection.execute("SELECT pg_switch_wal()")
                await connection.execute("CHECKPOINT", timeout=MAINTENANCE_SECONDS)

    async def _maintain(self, command: str, tables: tuple[str, ...]) -> int:
        names = ", ".join(f"{_quoted(self.schema)}.{_quoted(table)}" for table in tables)
        pause, waited = 0.1, 0.0
        # Ever more seldom, since each try of a rewrite holds up whoever uses the table.
        while (left := await self._count_left(f"{command} {names}")) and waited < PATIENCE_SECONDS:
            await asyncio.sleep(pause)
            pause, waited = 2 * pause, waited + pause
        return left

    async def _count_left(self, command: str) -> int:
        """Runs a verbose VACUUM, and returns how many dead rows it says that it could not remove."""
        said: list[str] = []

        def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
            said.append(f"{message.message} {message.detail or ''}")

        with postgres_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                connection.add_log_listener(listen)
                try:
                    await connection.execute(command, timeout=MAINTENANCE_SECONDS)
                finally:
                    connection.remove_log_listener(listen)
        return sum(int(number) for words in said for number in _NOT_YET.findall(words))

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Opens a connection outside the pool, for session-level locks and notifications."""
        with postgres_errors():
            connection = await asyncpg.connect(self._dsn, server_settings={"search_path": f"{self.schema},public"})
            try:
                yield connection
            finally:
                connection.terminate()


@asynccontextmanager
async def open_database(
    dsn: str,
    *,
    schema: str,
    connections: int = 10,
    prepare: Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[None]] | None = None,
    patience: float = 30.0,
) -> AsyncIterator[Database]:
    """Opens a pool on a schema, waiting up to `patience` seconds for the server to come up.

    `prepare` is run on each new connection, for type codecs. Raises Unavailable("postgres") when it does not come up.
    """
    pool = await _create_pool(dsn, schema=schema, connections=connections, prepare=prepare, patience=patience)
    try:
        yield Database(pool, schema=schema, dsn=dsn)
    finally:
        await _close(pool)


async def _create_pool(
    dsn: str,
    *,
    schema: str,
    connections: int,
    prepare: Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[None]] | None,
    patience: float,
) -> asyncpg.Pool[asyncpg.Record]:
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            with postgres_errors():
                return await asyncpg.create_pool(
                    dsn,
                    min_size=1,
                    max_size=connections,
                    command_timeout=STATEMENT_SECONDS,
                    server_settings={"search_path": f"{schema},public", "application_name": f"headrace-{schema}"},
                    init=prepare,
                    reset=_nothing,
                )
        except Unavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.2)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def _nothing(_: object) -> None:
    """Leaves a connection as it is when it goes back: all we set is local to a transaction, which has ended.

    asyncpg's own reset is a round trip, and every transaction would wait for it.
    """


async def _close(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    try:
        await asyncio.wait_for(pool.close(), 5.0)
    except (TimeoutError, *_DOWN):
        pool.terminate()
