"""Weights on their way to this machine, and small real models made of them."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
from headrace_inference.adapters import trained_folder
from headrace_inference.adapters.backends import EngineHost, Opening
from headrace_inference.adapters.trained_folder import fetch, folder_of
from headrace_inference.adapters.trained_loader import EngineLoader
from headrace_inference.backend_file import EngineBackend
from headrace_inference.domain import Decoding
from headrace_inference.trained_ports import LoadFailed
from headrace_models.prompting import Turn
from headrace_privacy import Tier

from services.inference.tests.trained_folders import hashes_of, make_folder, record, record_of

TURNS = [Turn("user", "What is a sluice?")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as the trainer leaves it."""
    return make_folder(tmp_path_factory.mktemp("made") / "tuned@aa")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "tuned@aa"))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "shelf"


def loader(shelf: Path) -> EngineLoader:
    opening = Opening(cast(Any, None), {}, cache=shelf, slots=2, context=256, threads=2, waiting=4)
    return EngineLoader(EngineHost(EngineBackend(name="local", kind="engine"), opening), shelf)


@pytest.fixture
def remote(made: Path) -> Iterator[str]:
    """The same folder on a filesystem that is not this machine's."""
    memory = fsspec.filesystem("memory")
    for file in made.iterdir():
        memory.pipe_file(f"/models/tuned@aa/{file.name}", file.read_bytes())
    yield "memory://models/tuned@aa"
    memory.rm("/models", recursive=True)


@pytest.mark.parametrize("where", ["path", "file", "memory"])
def test_every_file_is_brought_and_checked(where: str, folder: Path, remote: str, shelf: Path) -> None:
    address = {"path": str(folder), "file": f"file://{folder}", "memory": remote}[where]
    found = fetch(record_of(folder, address=address), shelf)
    assert found == shelf / "demo" / "tuned@aa"
    assert hashes_of(found) == hashes_of(folder)
    assert [p.name for p in found.parent.iterdir()] == ["tuned@aa"], "nothing half is left"


def test_what_is_here_already_is_checked_and_not_brought_again(folder: Path, shelf: Path) -> None:
    asked = record_of(folder)
    found = fetch(asked, shelf)
    shutil.rmtree(folder)
    assert fetch(asked, shelf) == found


def test_what_was_damaged_here_is_brought_again(folder: Path, shelf: Path) -> None:
    asked = record_of(folder)
    weights = fetch(asked, shelf) / "model.safetensors"
    weights.write_bytes(b"?" + weights.read_bytes()[1:])
    assert hashes_of(fetch(asked, shelf)) == hashes_of(folder)


def refused(asked: Any, shelf: Path) -> str:
    with pytest.raises(LoadFailed) as refusal:
        fetch(asked, shelf)
    assert not folder_of(asked, shelf).exists(), "it appears whole or not at all"
    return str(refusal.value)


def test_one_changed_byte_is_corrupt(folder: Path, shelf: Path) -> None:
    asked = record_of(folder)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert refused(asked, shelf) == "corrupt"
        (folder / name).write_bytes(content)
    assert fetch(asked, shelf).exists()


def test_a_file_or_a_whole_folder_that_is_not_there_is_missing(folder: Path, shelf: Path) -> None:
    asked = record_of(folder)
    (folder / "tokenizer.json").unlink()
    assert refused(asked, shelf) == "missing"
    for address in ("/nowhere/tuned@aa", "memory://nowhere", "nosuch://bucket/tuned@aa"):
        assert refused(replace(asked, address=address), shelf) == "missing"


@pytest.mark.parametrize("name", ["../evil.json", "a/b.json", "/etc/x.json", ".hidden.json"])
def test_a_name_that_leaves_the_folder_is_unsupported(name: str, folder: Path, shelf: Path) -> None:
    assert refused(record_of(folder, files={**hashes_of(folder), name: "0" * 64}), shelf) == "unsupported"


def test_weights_that_can_run_code_are_not_even_fetched(folder: Path, shelf: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    found = fetch(record_of(folder), shelf)
    assert {"pytorch_model.bin", "modeling_evil.py"}.isdisjoint(p.name for p in found.iterdir())
    only = {name: sha for name, sha in hashes_of(folder).items() if not name.endswith(".safetensors")}
    assert refused(record("bb", address=str(folder), files=only), shelf) == "unsupported"


def test_only_what_is_wanted_is_kept(folder: Path, shelf: Path) -> None:
    asked = record_of(folder)
    kept = fetch(asked, shelf)
    (shelf / "other").mkdir()
    for name in ("demo/gone@bb", "demo/.writing-old", "other/theirs@cc", "demo/.writing-new", "demo/new@dd"):
        (shelf / name).mkdir()
        if "new" not in name:
            os.utime(shelf / name, (0, 0))
    os.utime(kept, (0, 0))
    trained_folder.keep_only([asked], shelf)
    assert sorted(p.name for p in shelf.glob("*/*")) == [".writing-new", "new@dd", "tuned@aa"]


# --- what becomes of them ---------------------------------------------------------------------------------------------


async def test_a_fetched_model_writes_with_its_own_name_and_tier(folder: Path, shelf: Path) -> None:
    async with loader(shelf).open(record_of(folder, tier=Tier.TIER_2)) as model:
        assert (model.identity.name, model.identity.version, model.tier) == ("tuned", "aa", Tier.TIER_2)
        assert model.is_alive
        async with model.write(TURNS, Decoding(8)) as writing:
            assert "".join([piece async for piece in writing.pieces()])
        assert writing.spent.output_tokens > 0
    assert not model.is_alive


async def test_two_that_are_loaded_at_once_are_both_whole(folder: Path, shelf: Path) -> None:
    async def load(version: str) -> None:
        for _ in range(3):
            async with loader(shelf).open(record_of(folder, version)):
                pass

    await asyncio.gather(load("aa"), load("bb"))


async def test_what_is_let_go_of_leaves_the_memory(folder: Path, shelf: Path) -> None:
    async with loader(shelf).open(record_of(folder)) as model:
        engine = weakref.ref(model.engine)
    del model
    gc.collect()
    assert engine() is None


async def failure(asked: Any, shelf: Path) -> str:
    with pytest.raises(LoadFailed) as refusal:
        async with asyncio.timeout(60), loader(shelf).open(asked):
            pass
    return str(refusal.value)


def _change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


DAMAGES: dict[str, Any] = {
    "half the weights": lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000]),
    "no weights at all": lambda f: (f / "model.safetensors").write_bytes(b""),
    "a layer too few": lambda f: _change_config(f, num_hidden_layers=3),
    "another shape": lambda f: _change_config(f, intermediate_size=64),
    "an unknown architecture": lambda f: _change_config(f, model_type="nobody", architectures=["Nobody"]),
    "a configuration in code": lambda f: _change_config(f, model_type="x", auto_map={"AutoConfig": "evil.Config"}),
    "no configuration": lambda f: (f / "config.json").write_text("{}"),
    "no JSON": lambda f: (f / "config.json").write_text("not json"),
    "no tokenizer": lambda f: (f / "tokenizer.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_no_model_says_so_and_harms_nothing(damage: str, folder: Path, shelf: Path) -> None:
    DAMAGES[damage](folder)
    assert await failure(record_of(folder), shelf) == "unsupported"
