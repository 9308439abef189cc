"""Master keys in a file and from the environment."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from headrace_classifier.adapters.master_keys import (
    EnvironmentMasterKeys,
    FileMasterKeys,
    master_keys_of,
    parse_master_keys,
    version_of,
)
from headrace_classifier.keys import DestroyedMaster, UnknownMaster, Wrapped
from headrace_runtime.errors import Conflict

SECRET = bytes(range(32))
CONTEXT = b"a key of a tenant's"
OLD, NEW = b"o" * 32, b"n" * 32


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def write(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)


def listed(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "master.json"


async def test_a_file_is_made_for_its_owner_alone(path: Path) -> None:
    masters = FileMasterKeys(path)
    assert not await masters.exist()
    await masters.create()
    version = await masters.current()
    await FileMasterKeys(path).create()  # a second instance, at the same moment
    assert await masters.current() == version
    assert listed(path.parent) == {"master.json": 0o600}
    await masters.renew()
    assert set(listed(path.parent).values()) == {0o600}


async def test_what_is_wrapped_opens_in_its_own_row_alone(path: Path) -> None:
    masters = FileMasterKeys(path)
    await masters.create()
    wrapped = await masters.wrap(SECRET, context=CONTEXT)
    assert SECRET not in wrapped.content
    assert await FileMasterKeys(path).unwrap(wrapped, context=CONTEXT) == SECRET
    for moved in (b"another row", b""):
        with pytest.raises(Conflict, match="was changed"):
            await masters.unwrap(wrapped, context=moved)
    with pytest.raises(Conflict, match="was changed"):
        await masters.unwrap(Wrapped(wrapped.version, b"torn"), context=CONTEXT)


async def test_another_instance_notices_a_version_that_it_does_not_know(path: Path) -> None:
    first, second = FileMasterKeys(path), FileMasterKeys(path)
    await first.create()
    before = await second.wrap(SECRET, context=CONTEXT)
    version = await first.renew()
    after = await first.wrap(SECRET, context=CONTEXT)
    assert (after.version, before.version != version) == (version, True)
    assert await second.unwrap(after, context=CONTEXT) == SECRET
    assert await second.unwrap(before, context=CONTEXT) == SECRET
    assert await second.current() == version


async def test_a_destroyed_version_is_written_over_and_opens_nothing(path: Path) -> None:
    masters = FileMasterKeys(path)
    await masters.create()
    old, wrapped = await masters.current(), await masters.wrap(SECRET, context=CONTEXT)
    key = content(path)["keys"][old]
    await masters.renew()
    with path.open("rb") as before:  # the file as it lies on the disk, whatever its name
        assert await masters.destroy(old)
        left = before.read()
    assert key not in str(content(path))
    assert set(left) == {0}
    for instance in (masters, FileMasterKeys(path)):
        with pytest.raises(DestroyedMaster):
            await instance.unwrap(wrapped, context=CONTEXT)
    assert content(path)["destroyed"] == [old]


async def test_a_missing_version_is_not_taken_for_a_destroyed_one(path: Path, tmp_path: Path) -> None:
    masters, other = FileMasterKeys(path), FileMasterKeys(tmp_path / "other.json")
    await masters.create()
    await other.create()
    with pytest.raises(UnknownMaster):
        await other.unwrap(await masters.wrap(SECRET, context=CONTEXT), context=CONTEXT)


@pytest.mark.parametrize("text", ["", "{}", '{"current": "a", "keys": {}, "destroyed": []}', '{"current": 1}', "[]"])
async def test_a_file_that_is_no_keyring_is_named(path: Path, text: str) -> None:
    write(path, text)
    with pytest.raises(Conflict, match=r"master\.json"):
        await FileMasterKeys(path).current()


async def test_the_environment_takes_a_new_key_over_from_an_old_one() -> None:
    wrapped = await EnvironmentMasterKeys([OLD]).wrap(SECRET, context=CONTEXT)
    both = EnvironmentMasterKeys([NEW, OLD])
    assert await both.current() == version_of(NEW)
    assert await both.unwrap(wrapped, context=CONTEXT) == SECRET
    with pytest.raises(UnknownMaster):
        await EnvironmentMasterKeys([NEW]).unwrap(wrapped, context=CONTEXT)


async def test_the_environment_says_that_it_cannot_be_destroyed() -> None:
    masters = EnvironmentMasterKeys([NEW])
    assert not await masters.destroy(version_of(NEW))
    with pytest.raises(Conflict, match="NEW,OLD"):
        await masters.renew()


@pytest.mark.parametrize("value", ["", " , ", "no base64!", base64.b64encode(b"short").decode()])
def test_a_wrong_key_stops_the_start_and_is_not_shown(value: str) -> None:
    with pytest.raises(Conflict, match="openssl rand") as caught:
        parse_master_keys(value)
    assert "no base64!" not in str(caught.value)


def test_settings_name_a_file_or_keys(path: Path) -> None:
    value = ",".join(base64.b64encode(key).decode() for key in (NEW, OLD))
    assert parse_master_keys(value) == [NEW, OLD]
    assert isinstance(master_keys_of(path, ""), FileMasterKeys)
    assert isinstance(master_keys_of(None, value), EnvironmentMasterKeys)
    with pytest.raises(Conflict):
        master_keys_of(None, "")
