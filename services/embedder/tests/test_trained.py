"""The tenants' own models: lent, kept while there is room, and let go of."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from headrace_embedder.adapters.engine import open_embedder, read_model
from headrace_embedder.adapters.trained import EngineLoading, KeptEmbedders, Loaded, LoadFailed, open_trained
from headrace_embedder.domain import Trained
from headrace_models.embedding import Limits, find_bundled
from headrace_runtime.errors import Conflict, Overloaded


def model(name: str = "own@aa", *, tenant: str = "acme", address: str = "/models/own@aa") -> Trained:
    return Trained(tenant, name, address, (("model.safetensors", "0" * 64),))


@dataclass
class Pretending:
    """Loads what only counts: which were loaded and closed. failures: by model. slow: waits before it is loaded."""

    loaded: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    failures: dict[str, Any] = field(default_factory=dict)
    slow: asyncio.Event | None = None

    async def __call__(self, wanted: Trained) -> Loaded:
        self.loaded.append(wanted.model)
        if self.slow is not None:
            await self.slow.wait()
        if wanted.model in self.failures:
            raise LoadFailed(self.failures[wanted.model])
        stack = AsyncExitStack()
        stack.callback(self.closed.append, wanted.model)
        return Loaded(cast(Any, Fake(wanted.model, self.forgotten)), stack)


@dataclass
class Fake:
    name: str
    forgotten: list[str]

    def forget(self) -> None:
        self.forgotten.append(self.name)


@pytest.fixture
def loading() -> Pretending:
    return Pretending()


@pytest.fixture
async def kept(loading: Pretending, tmp_path: Path) -> AsyncIterator[KeptEmbedders]:
    async with open_trained(loading, most=2, shelf=tmp_path) as opened:
        yield opened


async def use(kept: KeptEmbedders, *names: str) -> None:
    for name in names:
        async with kept.lend(model(name)) as embedder:
            assert cast(Any, embedder).name == name


async def test_a_model_is_loaded_once(kept: KeptEmbedders, loading: Pretending) -> None:
    await asyncio.gather(*(use(kept, "a@1", "a@1") for _ in range(3)))
    assert loading.loaded == ["a@1"]


async def test_what_was_unused_the_longest_makes_room(kept: KeptEmbedders, loading: Pretending) -> None:
    await use(kept, "a@1", "b@1", "a@1", "c@1", "a@1", "b@1")
    assert loading.loaded == ["a@1", "b@1", "c@1", "b@1"]
    assert loading.closed == ["b@1", "c@1"]


async def test_what_is_in_use_is_not_let_go_of(kept: KeptEmbedders, loading: Pretending) -> None:
    async with kept.lend(model("a@1")), kept.lend(model("b@1")):
        with pytest.raises(Overloaded):
            await use(kept, "c@1")
    assert loading.closed == []
    await use(kept, "c@1")


async def test_the_same_name_of_another_tenant_is_another_model(kept: KeptEmbedders, loading: Pretending) -> None:
    async with kept.lend(model()) as mine, kept.lend(model(tenant="other")) as theirs:
        assert mine is not theirs
    assert len(loading.loaded) == 2


async def test_weights_that_cannot_be_used_are_named_and_tried_again(kept: KeptEmbedders, loading: Pretending) -> None:
    loading.failures["a@1"] = "missing"
    with pytest.raises(Conflict, match=r"the weights of a@1 cannot be used: missing$"):
        await use(kept, "a@1")
    loading.failures.clear()
    await use(kept, "a@1")


async def test_who_does_not_wait_so_long_leaves_and_it_is_loaded_all_the_same(
    kept: KeptEmbedders, loading: Pretending
) -> None:
    loading.slow = asyncio.Event()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await use(kept, "a@1")
    loading.slow.set()
    await use(kept, "a@1")
    assert loading.loaded == ["a@1"]


async def test_a_model_that_is_over_goes_from_memory_and_disk(
    kept: KeptEmbedders, loading: Pretending, tmp_path: Path
) -> None:
    for tenant in ("acme", "other"):
        (tmp_path / tenant / "a@1").mkdir(parents=True)
    await use(kept, "a@1")
    await kept.forget("acme", "a@1")
    assert loading.closed == ["a@1"]
    assert not (tmp_path / "acme" / "a@1").exists()
    assert (tmp_path / "other" / "a@1").exists()
    await kept.forget("acme", "never@1")


async def test_calls_under_way_end_as_they_began(kept: KeptEmbedders, loading: Pretending) -> None:
    async with kept.lend(model("a@1")):
        await kept.forget("acme", "a@1")
        assert loading.closed == []
    assert loading.closed == ["a@1"]


async def test_what_nobody_waits_for_any_more_is_not_loaded_to_the_end(
    kept: KeptEmbedders, loading: Pretending
) -> None:
    loading.slow = asyncio.Event()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await use(kept, "a@1")
    await kept.forget("acme", "a@1")
    loading.slow.set()
    await asyncio.sleep(0)
    await use(kept, "b@1", "c@1")
    assert loading.closed == []


async def test_an_erasure_drops_the_vectors_of_all(kept: KeptEmbedders, loading: Pretending) -> None:
    await use(kept, "a@1", "b@1")
    kept.forget_vectors()
    assert sorted(loading.forgotten) == ["a@1", "b@1"]


# --- real weights -----------------------------------------------------------------------------------------------------


def hashes_of(folder: Path) -> tuple[tuple[str, str], ...]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return tuple((f.relative_to(folder).as_posix(), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The house's own model with other weights in its last layer, as if it had learned something."""
    from safetensors.numpy import load_file, save_file

    made = Path(shutil.copytree(find_bundled(), tmp_path_factory.mktemp("trained") / "own@aa"))
    weights = load_file(made / "model.safetensors")
    (last,) = (name for name in weights if name.endswith("layer.5.output.dense.weight"))
    weights[last] = weights[last] * np.float32(0.5)
    save_file(weights, made / "model.safetensors", metadata={"format": "pt"})
    return made


def of(folder: Path) -> Trained:
    return Trained("acme", "own@aa", str(folder), hashes_of(folder))


@pytest.fixture
async def real(folder: Path, tmp_path: Path) -> AsyncIterator[tuple[Any, KeptEmbedders]]:
    async with open_embedder(read_model(""), threads=2, limits=Limits()) as house:
        loading = EngineLoading(house.engine, str(folder.parent), tmp_path, Limits(), 2)
        async with open_trained(loading, most=1, shelf=tmp_path) as kept:
            yield house, kept


TEXTS = ["How do I bind a name in an enclosing scope?", "nonlocal", "word " * 150]


@pytest.mark.models
async def test_a_trained_model_embeds_beside_the_house(real: tuple[Any, KeptEmbedders], folder: Path) -> None:
    house, kept = real
    before = [vector.values for vector in await house.embed_soon(TEXTS)]
    async with kept.lend(of(folder)) as own:
        assert own.identity.name == "own@aa"
        assert own.identity.dimensions == 384
        assert own.identity.hash != house.identity.hash
        both = await asyncio.gather(house.embed_soon(TEXTS), own.embed_soon(TEXTS), own.embed_in_turn(TEXTS))
    again, mine, in_turn = ([vector.values for vector in vectors] for vectors in both)
    np.testing.assert_allclose(again, before, atol=1e-6)
    np.testing.assert_allclose(mine, in_turn, atol=1e-6)
    assert all(0.1 < float(a @ b) < 0.999 for a, b in zip(mine, before, strict=True))


async def refusal(kept: KeptEmbedders, wanted: Trained) -> str:
    with pytest.raises(Conflict) as refused:
        async with kept.lend(wanted):
            pass
    return str(refused.value).rpartition(": ")[2]


def damaged(files: Sequence[tuple[str, str]], name: str) -> tuple[tuple[str, str], ...]:
    return tuple((file, "0" * 64 if file == name else sha) for file, sha in files)


@pytest.mark.models
async def test_weights_are_refused_by_what_is_wrong_with_them(
    real: tuple[Any, KeptEmbedders], folder: Path, tmp_path: Path
) -> None:
    _, kept = real
    good = of(folder)
    assert await refusal(kept, replace(good, address=str(tmp_path / "own@aa"))) == "refused"
    assert await refusal(kept, replace(good, address=f"{folder.parent}/../elsewhere")) == "refused"
    assert await refusal(kept, replace(good, address=str(folder.parent / "gone@aa"))) == "missing"
    assert await refusal(kept, replace(good, files=damaged(good.files, "model.safetensors"))) == "corrupt"
    no_weights = tuple(file for file in good.files if not file[0].endswith(".safetensors"))
    assert await refusal(kept, replace(good, files=no_weights)) == "unsupported"
    no_pooling = tuple(file for file in good.files if "Pooling" not in file[0])
    assert await refusal(kept, replace(good, model="own@bb", files=no_pooling)) == "unsupported"
    async with kept.lend(good) as own:
        assert len(await own.embed_soon(TEXTS)) == 3


@pytest.mark.models
async def test_without_a_root_no_model_is_loaded(folder: Path, tmp_path: Path) -> None:
    async with open_embedder(read_model(""), threads=2, limits=Limits()) as house:
        loading = EngineLoading(house.engine, "", tmp_path, Limits(), 2)
        async with open_trained(loading, most=1, shelf=tmp_path) as kept:
            assert await refusal(kept, of(folder)) == "refused"
