"""What the retriever does with each event and call, without servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from headrace_privacy import Text, Tier
from headrace_retriever import handlers
from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import Embedder, Found, Lookup, Question, Vector, chunk_id, require_same
from headrace_retriever.own import OwnVectors
from headrace_retriever.ports import Index, TextEmbedder
from headrace_retriever.testing import BLINDING, SMALL, FakeOwnEmbedder, document, question, towards
from headrace_runtime.errors import Conflict, Unavailable


@dataclass
class FakeIndex:
    """Remembers what it was asked."""

    asked: list[Question] = field(default_factory=list)

    async def search(self, question: Question, *, blinding: Blinding) -> Found:
        self.asked.append(question)
        return Found((), question.top_k, 40, 60, "exact")


class FakeEmbedder:
    """Always the same vector."""

    async def embed(self, text: Text) -> tuple[Vector, Embedder]:
        return towards(3), SMALL


class DownEmbedder:
    """Cannot be reached."""

    async def embed(self, text: Text) -> tuple[Vector, Embedder]:
        raise Unavailable("embedder")


def own() -> OwnVectors:
    return OwnVectors(FakeOwnEmbedder(), time.monotonic)


async def look_up(embedder: TextEmbedder, index: Index) -> Found:
    generations = cast(Any, None)  # no model is named
    return await handlers.search(
        LOOKUP, blinding=BLINDING, embedder=embedder, index=index, own=own(), generations=generations
    )


LOOKUP = Lookup("acme", Text("nonlocal", Tier.TIER_2), ("docs",), Tier.TIER_1, 3)


async def test_a_search_embeds_and_asks_as_a_query_does() -> None:
    index = FakeIndex()
    await look_up(FakeEmbedder(), index)
    (asked,) = index.asked
    assert (asked.tenant, asked.sources, asked.max_tier, asked.top_k) == ("acme", ("docs",), Tier.TIER_1, 3)
    assert np.array_equal(asked.vector, towards(3))
    assert asked.embedder == SMALL


async def test_a_search_says_that_the_embedder_is_down() -> None:
    with pytest.raises(Unavailable, match="embedder"):
        await look_up(DownEmbedder(), FakeIndex())


async def test_a_query_is_searched_as_it_is() -> None:
    index, asked = FakeIndex(), question("nonlocal", towards(0))
    found = await handlers.retrieve(asked, blinding=BLINDING, index=index, own=own())
    assert found.top_k == asked.top_k
    assert index.asked == [asked]


def test_another_embedder_is_refused_by_name() -> None:
    with pytest.raises(Conflict, match=r"small \(8 dimensions, 0123456789abcdef\).*large \(9 dimensions, no hash\)"):
        require_same(SMALL, Embedder("large", 9, ""))


@pytest.mark.parametrize(
    "change",
    [
        lambda: chunk_id(document("a", tenant="other"), 1),
        lambda: chunk_id(document("a", source="other"), 1),
        lambda: chunk_id(document("b"), 1),
        lambda: chunk_id(document("a", version=2), 1),
        lambda: chunk_id(document("a"), 2),
        lambda: chunk_id(document("1/a"), 1),
    ],
)
def test_a_chunk_id_depends_on_every_part(change: Callable[[], object]) -> None:
    assert change() != chunk_id(document("a"), 1)


def test_a_chunk_id_is_always_the_same() -> None:
    ids: Sequence[object] = [chunk_id(document("a"), 1) for _ in range(2)]
    assert len(set(ids)) == 1
