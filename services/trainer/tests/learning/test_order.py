"""Which rows make which step."""

from __future__ import annotations

from collections import Counter

import pytest
from headrace_trainer.learning.order import Sample, deal, pack, steps
from headrace_trainer.learning.schedule import rate
from hypothesis import given
from hypothesis import strategies as st


def sample(number: int, length: int, *, shared: int = 3) -> Sample:
    ids = (*range(shared), *(1000 * (number + 1) + i for i in range(length)))
    return Sample(ids, shared, shared + 1)


some = st.lists(st.integers(2, 60), min_size=1, max_size=30).map(lambda ns: [sample(i, n) for i, n in enumerate(ns)])


@given(some, st.integers(8, 100))
def test_packs_hold_every_sample_once_and_no_more_than_fits(samples: list[Sample], context: int) -> None:
    packs = pack(samples, context=context)
    assert Counter(s for p in packs for s in p.samples) == Counter(samples)
    assert all(p.computed <= context or len(p.samples) == 1 for p in packs)


def test_only_samples_that_begin_alike_share_a_pack() -> None:
    others = [sample(0, 5), Sample((7, 8, 9, 10, 11), 3, 4)]
    assert len(pack(others, context=100)) == 2


def test_what_is_shared_is_computed_once() -> None:
    (packed,) = pack([sample(0, 10), sample(1, 20)], context=100)
    assert (packed.computed, packed.tokens, packed.learned) == (33, 36, 28)


@given(some, st.sampled_from([1.0, 2.0, 3.0]), st.integers(0, 3))
def test_each_epoch_has_every_sample_once(samples: list[Sample], epochs: float, seed: int) -> None:
    plan = steps(samples, epochs=epochs, tokens_a_step=50, context=100, seed=seed)
    assert Counter(s for step in plan for p in step for s in p.samples) == Counter(samples * int(epochs))
    assert plan == steps(samples, epochs=epochs, tokens_a_step=50, context=100, seed=seed)


@given(some, st.integers(8, 100), st.integers(1, 5))
def test_what_is_dealt_out_counts_each_sample_once_and_keeps_everybody_in_step(
    samples: list[Sample], context: int, processes: int
) -> None:
    hands = deal(pack(samples, context=context), hands=processes, context=context)
    assert len({len(hand) for hand in hands}) == 1
    counted = Counter(s for hand in hands for p, counts in hand if counts for s in p.samples)
    assert counted == Counter(samples)
    assert {counts for hand in hands for _, counts in hand} <= {0.0, 1.0}
    assert all(p.computed <= context or len(p.samples) == 1 for hand in hands for p, _ in hand)


def test_nobody_computes_much_more_than_the_others() -> None:
    """Three packs of 97, 97 and 23 tokens for two: as they stand, one would compute two, and so would the other."""
    packs = pack([sample(n, length) for n, length in enumerate([47, 47, 47, 47, 20])], context=100)
    assert [p.computed for p in packs] == [97, 97, 23]
    first, second = (sum(p.computed for p, _ in hand) for hand in deal(packs, hands=2, context=120))
    assert (first, second) == (117, 97)


def test_packs_of_several_rounds_go_back_and_forth() -> None:
    packs = pack([sample(n, length) for n, length in enumerate([80, 60, 40, 20])], context=83)
    hands = deal(packs, hands=2, context=83)
    assert [[p.computed for p, _ in hand] for hand in hands] == [[83, 23], [63, 43]]


def test_who_gets_no_sample_computes_one_for_nothing() -> None:
    (only,) = pack([sample(0, 10)], context=100)
    assert deal([only], hands=3, context=100) == [[(only, 1.0)], [(only, 0.0)], [(only, 0.0)]]


def test_of_nothing_everybody_gets_nothing() -> None:
    assert deal([], hands=2, context=100) == [[], []]


def test_samples_that_begin_otherwise_are_dealt_out_as_they_are_packed() -> None:
    """More beginnings than packs for each process: they cannot be packed anew, and one is computed for nothing."""
    others = [Sample((n, n, n, 5, 6 + n), 3, 4) for n in range(3)]
    packs = pack(others, context=100)
    hands = deal(packs, hands=2, context=100)
    assert sum(counts for hand in hands for _, counts in hand) == 3
    assert [len(hand) for hand in hands] == [2, 2]


def test_a_part_of_an_epoch_has_that_part_of_the_samples() -> None:
    plan = steps([sample(i, 10) for i in range(8)], epochs=1.5, tokens_a_step=26, context=100, seed=0)
    counted = Counter(s for step in plan for p in step for s in p.samples)
    assert len(plan) == 6
    assert sorted(counted.values()) == [1] * 4 + [2] * 4


def test_another_seed_is_another_order() -> None:
    samples = [sample(i, 10) for i in range(20)]
    first, second = (steps(samples, epochs=1, tokens_a_step=30, context=99, seed=seed) for seed in (1, 2))
    assert first != second


def test_the_rate_rises_then_falls_towards_nothing() -> None:
    rates = [rate(step, of=40, peak=1.0) for step in range(40)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.01
