"""The key store on a real Postgres: one key an owner, rotation that survives its end, destruction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from headrace_classifier.adapters.master_keys import EnvironmentMasterKeys, FileMasterKeys
from headrace_classifier.adapters.postgres_keys import PostgresKeys
from headrace_classifier.keys import MasterKeys, Wrapped
from headrace_database import Database
from headrace_privacy import Keyring, Owner
from headrace_runtime.errors import Conflict, Unavailable

pytestmark = pytest.mark.real

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
ANNA = Owner.subject("acme", "anna.smith@example.org")
OTHERS = [
    Owner.subject("globex", "anna.smith@example.org"),
    Owner.document("acme", "contracts", "anna.smith@example.org"),
    Owner.anonymous("acme", NOW),
    Owner.index("acme"),
]
Make = Callable[..., PostgresKeys]


@pytest.fixture
async def make(opened: Database, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes one more instance on the same store and the same keyring; the store is emptied afterwards."""

    def instance(masters: MasterKeys | None = None) -> PostgresKeys:
        return PostgresKeys(opened, masters or FileMasterKeys(tmp_path / "master.json"), now=lambda: NOW, new_id=uuid4)

    yield instance
    async with opened.transaction(tenant="*") as connection:
        await connection.execute("DELETE FROM data_keys")
        await connection.execute("DELETE FROM master_keys")


@pytest.fixture
async def keys(make: Make) -> PostgresKeys:
    store = make()
    await store.prepare()
    return store


async def rows(database: Database) -> list[dict[str, object]]:
    async with database.transaction(tenant="*") as connection:
        return [dict(row) for row in await connection.fetch("SELECT * FROM data_keys ORDER BY key_id")]


async def test_an_owner_has_one_key_and_another_owner_another(keys: PostgresKeys) -> None:
    keyring: Keyring = keys
    mine = await keyring.issue(ANNA)
    assert await keyring.issue(ANNA) == mine
    assert len({(await keyring.issue(owner)).secret for owner in (ANNA, *OTHERS)}) == 5
    opened = await keyring.open([mine.key_id, str(uuid4())])
    assert opened == {mine.key_id: mine}


async def test_the_table_names_nobody_and_holds_no_key_in_the_clear(keys: PostgresKeys, opened: Database) -> None:
    secrets = [(await keys.issue(owner)).secret for owner in (ANNA, *OTHERS)]
    shown = repr(await rows(opened))
    assert "anna" not in shown
    assert "contracts" not in shown
    assert not [secret for secret in secrets if repr(secret)[2:-1] in shown]
    hashes = [row["owner"] for row in await rows(opened) if row["kind"] == 1]
    assert len(set(hashes)) == 2, "the same name at two tenants must not look the same"


async def test_two_instances_that_ask_at_once_get_one_key(make: Make) -> None:
    instances = [make() for _ in range(2)]
    for instance in instances:
        await instance.prepare()
    for number in range(20):
        owner = Owner.subject("acme", f"user-{number}")
        issued = await asyncio.gather(*(instance.issue(owner) for instance in instances * 4))
        assert len(set(issued)) == 1


async def test_a_destroyed_key_is_gone_with_its_transaction(keys: PostgresKeys, opened: Database) -> None:
    mine, theirs = await keys.issue(ANNA), await keys.issue(OTHERS[0])
    with pytest.raises(ZeroDivisionError):
        async with opened.transaction(tenant="acme") as connection:
            assert await keys.destroy(connection, ANNA) == 1
            raise ZeroDivisionError
    assert mine.key_id in await keys.open([mine.key_id])
    async with opened.transaction(tenant="acme") as connection:
        assert await keys.knows(connection, ANNA)
        assert await keys.destroy(connection, ANNA, Owner.subject("acme", "nobody")) == 1
        assert not await keys.knows(connection, ANNA)
    assert set(await keys.open([mine.key_id, theirs.key_id])) == {theirs.key_id}
    assert (await keys.issue(ANNA)).key_id != mine.key_id


async def test_an_instance_that_never_saw_the_tenant_destroys_too(
    keys: PostgresKeys, make: Make, opened: Database
) -> None:
    await keys.issue(ANNA)
    async with opened.transaction(tenant="*") as connection:
        assert await make().destroy(connection, ANNA) == 1
        assert await make().destroy(connection, Owner.subject("never-seen", "x")) == 0


async def test_all_documents_of_a_source_go_together(keys: PostgresKeys, opened: Database) -> None:
    documents = [Owner.document("acme", source, name) for source in ("contracts", "wiki") for name in ("a", "b")]
    ids = [(await keys.issue(owner)).key_id for owner in (*documents, ANNA)]
    async with opened.transaction(tenant="acme") as connection:
        assert await keys.destroy_source(connection, "acme", "contracts") == 2
        assert await keys.destroy_source(connection, "globex", "contracts") == 0
    assert set(await keys.open(ids)) == set(ids[2:])


async def test_rotation_wraps_all_anew_and_destroys_the_old(keys: PostgresKeys, make: Make, opened: Database) -> None:
    issued = [await keys.issue(owner) for owner in (ANNA, *OTHERS)]
    before = {row["key_id"]: row["wrapped"] for row in await rows(opened)}
    old = await keys.masters.current()
    rotation = await keys.rotate()
    assert (rotation.keys, rotation.destroyed, rotation.rotated_at) == (len(before), True, NOW)
    assert await keys.masters.versions() == {rotation.version}
    assert old != rotation.version
    after = {row["key_id"]: row["wrapped"] for row in await rows(opened)}
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    for instance in (keys, make()):
        assert await instance.open([key.key_id for key in issued]) == {key.key_id: key for key in issued}
    assert await make().issue(ANNA) == issued[0]


async def test_an_instance_that_missed_the_rotation_goes_on(keys: PostgresKeys, make: Make) -> None:
    stale = make()
    await stale.prepare()
    mine = await stale.issue(ANNA)  # it has the keyring and the names in memory now
    rotation = await keys.rotate()
    new = await stale.issue(Owner.subject("acme", "later"))
    assert await keys.open([mine.key_id, new.key_id]) == {mine.key_id: mine, new.key_id: new}
    assert {row["master_version"] for row in await rows(keys.database)} == {rotation.version}


async def test_no_key_is_lost_while_others_issue_and_rotate(keys: PostgresKeys, make: Make) -> None:
    other = make()
    await other.prepare()

    async def issue(number: int) -> str:
        await asyncio.sleep(number / 200)
        return (await (keys, other)[number % 2].issue(Owner.subject("acme", f"user-{number}"))).key_id

    async def rotate() -> None:
        for instance in (keys, make(), other):
            await instance.rotate()

    *ids, _ = await asyncio.gather(*(issue(number) for number in range(60)), rotate())
    assert set(await make().open([key_id for key_id in ids if key_id])) == set(ids)


class Dying:
    """A keyring whose process ends at the n-th change: what it did before stays done."""

    def __init__(self, inner: MasterKeys, steps: int) -> None:
        self.inner, self.left = inner, steps
        self.exist, self.create, self.current, self.versions = inner.exist, inner.create, inner.current, inner.versions
        self.unwrap = inner.unwrap

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt

    async def wrap(self, secret: bytes, *, context: bytes) -> Wrapped:
        self._step()
        return await self.inner.wrap(secret, context=context)

    async def renew(self) -> str:
        self._step()
        version = await self.inner.renew()
        self._step()
        return version

    async def destroy(self, version: str) -> bool:
        self._step()
        return await self.inner.destroy(version)


@pytest.mark.parametrize("steps", range(8))
async def test_a_rotation_that_was_killed_is_finished_by_the_next(keys: PostgresKeys, make: Make, steps: int) -> None:
    issued = {key.key_id: key for key in [await keys.issue(owner) for owner in (ANNA, *OTHERS[:2])]}
    old = await keys.masters.current()
    task = asyncio.ensure_future(_until_killed(make(Dying(keys.masters, steps))))
    assert await task
    between = make()
    assert await between.open(issued) == issued
    late = await between.issue(Owner.subject("acme", f"late-{steps}"))
    rotation = await make().rotate()
    assert rotation.version != old
    assert await make().masters.versions() == {rotation.version}
    assert await make().open([*issued, late.key_id]) == {**issued, late.key_id: late}
    assert {row["master_version"] for row in await rows(keys.database)} == {rotation.version}


async def _until_killed(store: PostgresKeys) -> bool:
    try:
        await store.rotate()
    except KeyboardInterrupt:
        return True
    return False


async def test_the_environment_rotates_and_says_that_nothing_was_destroyed(make: Make) -> None:
    old, new = b"o" * 32, b"n" * 32
    before = make(EnvironmentMasterKeys([old]))
    await before.prepare()
    key = await before.issue(ANNA)
    with pytest.raises(Conflict, match="NEW,OLD"):
        await before.rotate()
    both = make(EnvironmentMasterKeys([new, old]))
    await both.prepare()
    rotation = await both.rotate()
    assert (rotation.keys, rotation.destroyed) == (2, False)
    after = make(EnvironmentMasterKeys([new]))
    await after.prepare()
    assert await after.open([key.key_id]) == {key.key_id: key}


async def test_the_wrong_keyring_is_no_erasure(keys: PostgresKeys, make: Make, tmp_path: Path) -> None:
    key = await keys.issue(ANNA)
    other = FileMasterKeys(tmp_path / "other.json")
    await other.create()
    wrong = make(other)
    for use in (lambda: wrong.open([key.key_id]), lambda: wrong.issue(ANNA)):
        with pytest.raises(Unavailable):
            await use()
    (tmp_path / "master.json").unlink()
    with pytest.raises(Conflict, match="gone"):
        await make().prepare()


async def test_keys_of_an_old_backup_are_erased_with_their_master(keys: PostgresKeys, opened: Database) -> None:
    mine = await keys.issue(ANNA)
    old, backup = await keys.masters.current(), await rows(opened)
    await keys.rotate()
    async with opened.transaction(tenant="*") as connection:  # the backup is put back
        await connection.execute("INSERT INTO master_keys (version) VALUES ($1)", old)
        for row in backup:
            await connection.execute(
                "UPDATE data_keys SET wrapped = $2, master_version = $3 WHERE key_id = $1",
                row["key_id"],
                row["wrapped"],
                row["master_version"],
            )
    assert await keys.open([mine.key_id]) == {}
    assert (await keys.issue(ANNA)).key_id != mine.key_id


async def test_a_key_moved_to_another_row_does_not_open(keys: PostgresKeys, opened: Database) -> None:
    mine, theirs = await keys.issue(ANNA), await keys.issue(OTHERS[0])
    async with opened.transaction(tenant="*") as connection:
        await connection.execute(
            "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE key_id = $2::uuid)"
            " WHERE key_id = $1::uuid",
            mine.key_id,
            theirs.key_id,
        )
    with pytest.raises(Conflict, match="was changed"):
        await keys.open([mine.key_id])
