"""The key store in Postgres; migrations/0002_data_keys.sql says what each column holds.

What keeps a key from being lost in a rotation: a version of the master key is noted in the database before it wraps,
each data key refers to its version, and a version is taken off there before it is destroyed. An instance that missed a
rotation is stopped by that reference, reads the keyring anew, and wraps again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

import asyncpg
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import DataKey, Owner, OwnerKind
from headrace_runtime.errors import Conflict, Unavailable

from headrace_classifier.keys import (
    NAMES_KIND,
    NO_NAME,
    DestroyedMaster,
    MasterKeys,
    Names,
    NewKey,
    NewSecret,
    Rotation,
    StoredKey,
    UnknownMaster,
    Wrapped,
    context_of,
    new_secret,
)

EVERYBODY = "*"
#: Keys wrapped anew in one transaction.
ROTATED_AT_ONCE = 500
#: A key is lost to another instance, or to a rotation, at most so often in a row.
ATTEMPTS = 5
#: Tenants whose names' key is held. It never changes, and erases nobody.
TENANTS_HELD = 10_000

_ISSUE = """
WITH made AS (
    INSERT INTO data_keys (tenant, key_id, kind, owner, source, wrapped, master_version, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (tenant, kind, owner) DO NOTHING RETURNING tenant, key_id, wrapped, master_version
)
SELECT * FROM made
UNION ALL
SELECT tenant, key_id, wrapped, master_version FROM data_keys WHERE tenant = $1 AND kind = $3 AND owner = $4
"""
_OPEN = "SELECT tenant, key_id, wrapped, master_version FROM data_keys WHERE key_id = ANY($1)"
_STALE = (
    "SELECT tenant, key_id, wrapped, master_version FROM data_keys WHERE master_version <> $1"
    " ORDER BY key_id LIMIT $2 FOR UPDATE"
)
_REWRAP = """
UPDATE data_keys k SET wrapped = n.wrapped, master_version = $1
FROM unnest($2::uuid[], $3::bytea[]) AS n (key_id, wrapped) WHERE k.key_id = n.key_id
"""


_MASTER_MISSING = "the master key that wraps a data key"


class Closed(Enum):
    """Why a wrapped key does not open."""

    DESTROYED = auto()
    UNKNOWN = auto()


@dataclass(slots=True)
class PostgresKeys:
    """The key store, and the classifier's own keyring (headrace_privacy.Keyring)."""

    database: Database
    masters: MasterKeys
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]
    secret: NewSecret = new_secret
    _names: dict[str, Names] = field(default_factory=dict, repr=False)

    async def prepare(self) -> None:
        """Notes the current master key's version, and makes the first; to be called before anything else.

        Raises Conflict when keys are wrapped and the master keys are gone: making new ones would hide the loss.
        """
        async with _changing(self.database) as connection:
            if not await self.masters.exist():
                if noted := await connection.fetchval("SELECT version FROM master_keys LIMIT 1"):
                    raise Conflict(f"the master keys are gone, {noted} among them: put their file back")
                await self.masters.create()
            await _note(connection, await self.masters.current())

    async def issue(self, owner: Owner) -> DataKey:
        """As Keyring.issue. One key for an owner, however many ask at once."""
        names = await self._names_of(owner.tenant)
        found = await self._issue(owner.tenant, int(owner.kind), names.owner(owner), names.source_of(owner))
        if found is None:
            raise Unavailable("the key store")
        return found

    async def open(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        """As Keyring.open. Raises Unavailable when a master key is missing that nobody destroyed."""
        opened: dict[str, DataKey] = {}
        wanted = {UUID(key_id) for key_id in key_ids}
        for _ in range(2):  # a key can be wrapped anew between reading its row and opening it
            read = [(row, await self._opened(row)) for row in await self._rows(wanted)]
            opened |= {found.key_id: found for _, found in read if isinstance(found, DataKey)}
            wanted = {row.key_id for row, found in read if not isinstance(found, DataKey)}
            if not wanted:
                return opened
        if any(found is Closed.UNKNOWN for _, found in read):
            raise Unavailable(_MASTER_MISSING)
        return opened

    async def destroy(self, connection: Connection, *owners: Owner) -> int:
        """Destroys owners' keys in the caller's transaction; returns how many there were. The transaction must see the
        owners' tenant. What is held elsewhere is forgotten by erasure.requested."""
        destroyed = 0
        for owner in owners:
            names = await self._names_on(connection, owner.tenant)
            if names is not None:
                destroyed += await _delete(
                    connection,
                    "DELETE FROM data_keys WHERE tenant = $1 AND kind = $2 AND owner = $3",
                    owner.tenant,
                    int(owner.kind),
                    names.owner(owner),
                )
        return destroyed

    async def destroy_source(self, connection: Connection, tenant: str, source: str) -> int:
        """As destroy, for all documents of a source."""
        names = await self._names_on(connection, tenant)
        if names is None:
            return 0
        delete = "DELETE FROM data_keys WHERE tenant = $1 AND source = $2"
        return await _delete(connection, delete, tenant, names.source(source))

    async def knows(self, connection: Connection, owner: Owner) -> bool:
        """Whether an owner has a key: somebody whose data was never sealed has none."""
        names = await self._names_on(connection, owner.tenant)
        if names is None:
            return False
        found = await connection.fetchval(
            "SELECT true FROM data_keys WHERE tenant = $1 AND kind = $2 AND owner = $3",
            owner.tenant,
            int(owner.kind),
            names.owner(owner),
        )
        return bool(found)

    async def count(self, connection: Connection, owner: Owner, *, until: datetime) -> int:
        """How many keys an owner has that were made up to a moment: one, or none."""
        names = await self._names_on(connection, owner.tenant)
        if names is None:
            return 0
        select = "SELECT count(*) FROM data_keys WHERE tenant = $1 AND kind = $2 AND owner = $3 AND created_at <= $4"
        return int(await connection.fetchval(select, owner.tenant, int(owner.kind), names.owner(owner), until))

    async def count_source(self, connection: Connection, tenant: str, source: str, *, until: datetime) -> int:
        """As count, over all documents of a source."""
        names = await self._names_on(connection, tenant)
        if names is None:
            return 0
        select = "SELECT count(*) FROM data_keys WHERE tenant = $1 AND source = $2 AND created_at <= $3"
        return int(await connection.fetchval(select, tenant, names.source(source), until))

    async def count_anonymous(self, connection: Connection, tenant: str, *, before: datetime) -> int:
        """How many keys of the anonymous were made before a moment."""
        select = "SELECT count(*) FROM data_keys WHERE tenant = $1 AND kind = $2 AND created_at < $3"
        return int(await connection.fetchval(select, tenant, int(OwnerKind.ANONYMOUS), before))

    async def destroy_anonymous(self, connection: Connection, tenant: str, *, before: datetime) -> int:
        """As destroy, for all days of the anonymous whose keys were made before a moment."""
        delete = "DELETE FROM data_keys WHERE tenant = $1 AND kind = $2 AND created_at < $3"
        return await _delete(connection, delete, tenant, int(OwnerKind.ANONYMOUS), before)

    async def tenants_before(self, connection: Connection, before: datetime) -> list[str]:
        """The tenants that may have questions and answers from before a moment: whose oldest key for them is older."""
        select = "SELECT DISTINCT tenant FROM data_keys WHERE kind = ANY($1) AND created_at < $2 ORDER BY tenant"
        kinds = [int(OwnerKind.SUBJECT), int(OwnerKind.ANONYMOUS)]
        return [row["tenant"] for row in await connection.fetch(select, kinds, before)]

    async def rotate(self) -> Rotation:
        """Wraps every key under a fresh master key, and destroys those before it where that is in our hands.

        One that was interrupted is finished instead: called again until it returns, it is done. Raises Conflict.
        """
        async with self.database.dedicated() as lock:
            await lock.execute("SELECT pg_advisory_lock(hashtext('headrace key rotation'))")
            version = await self._renewed()
            keys, destroyed = 0, True
            while True:
                keys += await self._rewrap_all(version)
                if await self._take_off_others(version):
                    break
            for old in await self.masters.versions() - {version}:
                destroyed &= await self.masters.destroy(old)
        return Rotation(keys, version, destroyed, self.now())

    async def _issue(self, tenant: str, kind: int, owner: bytes, source: bytes | None) -> DataKey | None:
        for _ in range(ATTEMPTS):
            new = await self._new_key(tenant, kind, owner, source)
            try:
                row = await self._insert_or_find(new)
            except asyncpg.ForeignKeyViolationError:  # wrapped under a version that a rotation took off meanwhile
                await self.prepare()
                continue
            if row is None:  # another instance has made it, and committed after we had looked
                continue
            found = await self._opened(row)
            if isinstance(found, DataKey):
                return found
            if found is Closed.DESTROYED:
                await self._clear_away(row)
        return None

    async def _clear_away(self, row: StoredKey) -> None:
        """Removes a key of a restored backup, whose master key was destroyed, unless it was wrapped anew meanwhile."""
        async with self.database.transaction(tenant=row.tenant) as connection:
            await connection.execute(
                "DELETE FROM data_keys WHERE key_id = $1 AND master_version = $2", row.key_id, row.wrapped.version
            )

    async def _new_key(self, tenant: str, kind: int, owner: bytes, source: bytes | None) -> NewKey:
        key_id = self.new_id()
        wrapped = await self.masters.wrap(self.secret(), context=context_of(tenant, key_id))
        return NewKey(StoredKey(tenant, key_id, wrapped), kind, owner, source, self.now())

    async def _insert_or_find(self, new: NewKey) -> StoredKey | None:
        stored = new.stored
        async with self.database.transaction(tenant=stored.tenant) as connection:
            with statement("INSERT data_keys", operation="INSERT", collection="data_keys"):
                found = await connection.fetchrow(
                    _ISSUE,
                    stored.tenant,
                    stored.key_id,
                    new.kind,
                    new.owner,
                    new.source,
                    stored.wrapped.content,
                    stored.wrapped.version,
                    new.created_at,
                )
        return _stored(found) if found else None

    async def _rows(self, key_ids: Iterable[UUID]) -> list[StoredKey]:
        async with self.database.transaction(tenant=EVERYBODY) as connection:
            with statement("SELECT data_keys", operation="SELECT", collection="data_keys"):
                return [_stored(row) for row in await connection.fetch(_OPEN, list(key_ids))]

    async def _opened(self, row: StoredKey) -> DataKey | Closed:
        """The row's key, or why there is none: then it must be read again, as it may have been wrapped anew."""
        try:
            secret = await self.masters.unwrap(row.wrapped, context=context_of(row.tenant, row.key_id))
        except DestroyedMaster:
            return Closed.DESTROYED
        except UnknownMaster:
            return Closed.UNKNOWN
        return DataKey(str(row.key_id), secret)

    async def _names_of(self, tenant: str) -> Names:
        if tenant not in self._names:
            key = await self._issue(tenant, NAMES_KIND, NO_NAME, None)
            if key is None:
                raise Unavailable("the key store")
            self._hold(tenant, Names(key.secret))
        return self._names[tenant]

    async def _names_on(self, connection: Connection, tenant: str) -> Names | None:
        """The names of a tenant within a transaction; None for a tenant that has no key at all."""
        if tenant not in self._names:
            found = await connection.fetchrow(
                "SELECT tenant, key_id, wrapped, master_version FROM data_keys WHERE tenant = $1 AND kind = $2",
                tenant,
                NAMES_KIND,
            )
            if found is None:
                return None
            key = await self._opened(_stored(found))
            if not isinstance(key, DataKey):
                raise Unavailable(_MASTER_MISSING)
            self._hold(tenant, Names(key.secret))
        return self._names[tenant]

    def _hold(self, tenant: str, names: Names) -> None:
        if len(self._names) >= TENANTS_HELD:
            self._names.clear()
        self._names[tenant] = names

    async def _renewed(self) -> str:
        """The version to wrap under: a fresh one, or the current one where a rotation to it was never finished."""
        async with _changing(self.database) as connection:
            noted = {row["version"] for row in await connection.fetch("SELECT version FROM master_keys")}
            others = (noted | await self.masters.versions()) - {await self.masters.current()}
            version = await (self.masters.current() if others else self.masters.renew())
            await _note(connection, version)
        return version

    async def _rewrap_all(self, version: str) -> int:
        keys = 0
        while done := await self._rewrap_some(version):
            keys += done
        return keys

    async def _rewrap_some(self, version: str) -> int:
        async with self.database.transaction(tenant=EVERYBODY) as connection:
            rows = [_stored(row) for row in await connection.fetch(_STALE, version, ROTATED_AT_ONCE)]
            if rows:
                wrapped = await self._rewrapped(connection, rows, version)
                await connection.execute(_REWRAP, version, list(wrapped), list(wrapped.values()))
        return len(rows)

    async def _rewrapped(self, connection: Connection, rows: list[StoredKey], version: str) -> dict[UUID, bytes]:
        """The rows' keys under a version. What a destroyed master key wrapped, from a backup, is taken away."""
        wrapped: dict[UUID, bytes] = {}
        for row in rows:
            context = context_of(row.tenant, row.key_id)
            try:
                anew = await self.masters.wrap(await self.masters.unwrap(row.wrapped, context=context), context=context)
            except DestroyedMaster:
                await connection.execute("DELETE FROM data_keys WHERE key_id = $1", row.key_id)
                continue
            except UnknownMaster:
                raise Conflict(f"master key {row.wrapped.version} is missing: put it back, and rotate again") from None
            if anew.version != version:
                raise Conflict("the master key changed during its rotation: rotate again")
            wrapped[row.key_id] = anew.content
        return wrapped

    async def _take_off_others(self, version: str) -> bool:
        """Takes off the versions that wrap nothing; False when one of them does again."""
        try:
            async with self.database.transaction() as connection:
                await connection.execute("DELETE FROM master_keys WHERE version <> $1", version)
        except asyncpg.ForeignKeyViolationError:
            return False
        return True


@asynccontextmanager
async def _changing(database: Database) -> AsyncIterator[Connection]:
    """A transaction in which the current version of the master key stays as it is."""
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('headrace master keys'))")
        yield connection


async def _note(connection: Connection, version: str) -> None:
    await connection.execute("INSERT INTO master_keys (version) VALUES ($1) ON CONFLICT DO NOTHING", version)


async def _delete(connection: Connection, delete: str, *values: object) -> int:
    status = await connection.execute(delete, *values)
    return int(status.rpartition(" ")[2])


def _stored(row: asyncpg.Record) -> StoredKey:
    return StoredKey(row["tenant"], row["key_id"], Wrapped(row["master_version"], row["wrapped"]))
