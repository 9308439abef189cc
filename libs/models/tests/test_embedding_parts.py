"""Packing and the cache."""

from __future__ import annotations

import numpy as np
from headrace_models.embedding.cache import Embedded, VectorCache, key_of
from headrace_models.embedding.packing import Group, pack, take_batch
from hypothesis import given
from hypothesis import strategies as st


def embedded(number: int) -> Embedded:
    return Embedded(np.array([number], dtype=np.float32), 1)


def test_packs_rows_of_one_length_into_a_group() -> None:
    packed = pack([[1, 2], [3, 4], [5, 6, 7]])
    assert packed.ids == [1, 2, 3, 4, 5, 6, 7]
    assert packed.positions == [0, 1, 0, 1, 0, 1, 2]
    assert packed.groups == (Group(0, 2, 2), Group(4, 1, 3))


@given(st.lists(st.integers(1, 30)), st.integers(1, 60))
def test_batches_fit_the_budget_and_lose_nothing(lengths: list[int], budget: int) -> None:
    waiting, batches = sorted(lengths), []
    while waiting:
        batches.append(take_batch(waiting, lambda length: length, budget=budget))
    assert sorted(length for batch in batches for length in batch) == sorted(lengths)
    assert all(len(batch) == 1 or sum(batch) <= budget for batch in batches)


def test_the_cache_forgets_what_was_longest_unused() -> None:
    cache = VectorCache(2)
    cache.put(b"a", embedded(1))
    cache.put(b"b", embedded(2))
    cache.get(b"a")
    cache.put(b"c", embedded(3))
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    assert len(cache) == 2


def test_a_cache_of_nothing_keeps_nothing() -> None:
    cache = VectorCache(0)
    cache.put(b"a", embedded(1))
    assert len(cache) == 0


def test_the_key_holds_no_text() -> None:
    assert len(key_of("a secret " * 100)) == 16
    assert key_of("a") != key_of("b")
