"""Near-duplicates, groups and sides: pure, and held against checkers that catch seeded bugs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from headrace_feedback.datasets.manifest import contents_of, id_of, manifest_of
from headrace_feedback.datasets.selecting import select
from headrace_feedback.datasets.similarity import (
    FOUND,
    Hashes,
    Vocabulary,
    bands_for,
    jaccard,
    signatures,
    without_near_duplicates,
    words_of,
)
from headrace_feedback.datasets.snapshots import Row, Split, Wanted
from headrace_feedback.datasets.splitting import grouped, split, straddling
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose

MOMENT = datetime(2026, 11, 21, tzinfo=UTC)
WORDS = [
    "weir",
    "sluice",
    "gate",
    "mill",
    "wheel",
    "race",
    "tail",
    "head",
    "water",
    "stream",
    "dam",
    "pond",
    "leat",
    "penstock",
    "paddle",
    "flume",
]


def row(n: int, *, conversation: bytes = b"", cited: Sequence[str] = (), kind: str = "other", **more: object) -> Row:
    made = Row(f"row-{n}", kind, Tier.TIER_1, bytes([n % 256]), MOMENT, MOMENT)
    return replace(made, conversation=conversation, cited=tuple(cited), **more)  # type: ignore[arg-type]


def shingles(texts: Sequence[str]) -> list[Hashes]:
    vocabulary = Vocabulary()
    return [vocabulary.trigrams(vocabulary.numbers(words_of(text))) for text in texts]


def named(root: str) -> str:
    return f"g-{root}"


def chosen(rows: Sequence[Row], texts: Sequence[str], **wanted: object) -> tuple[list[Row], list[tuple[str, str]]]:
    left: list[tuple[str, str]] = []
    kept = select(
        rows,
        shingles(texts),
        Wanted(Purpose.TRAIN, **wanted),  # type: ignore[arg-type]
        seed=1,
        name=named,
        leave_out=lambda reason, one: left.append((reason, one.row_id)),
    )
    return kept, left


def some_rows(seed: int) -> list[Row]:
    draw = random.Random(seed)
    return [
        row(
            n,
            conversation=f"talk-{draw.randrange(60)}".encode() if draw.random() < 0.7 else b"",
            cited=[f"handbook/{draw.randrange(80)}" for _ in range(draw.randrange(3))],
        )
        for n in range(200)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_straddles_and_the_share_is_kept(seed: int) -> None:
    rows = split(grouped(some_rows(seed), name=named), test_share=0.2, seed=seed)
    assert straddling(rows) == {}
    assert sum(one.split is Split.TEST for one in rows) <= 40


def test_a_split_that_forgets_documents_is_caught() -> None:
    def by_conversation_alone(rows: Sequence[Row]) -> list[Row]:
        return [replace(one, group=one.conversation.hex() or one.row_id) for one in rows]

    wrong = split(by_conversation_alone(some_rows(1)), test_share=0.3, seed=1)
    assert straddling(wrong)


def test_sides_that_are_stated_take_their_group_along() -> None:
    rows = [row(1, cited=["a/1"], split=Split.TEST), row(2, cited=["a/1", "a/2"]), row(3, cited=["a/2"]), row(4)]
    sides = [one.split for one in split(grouped(rows, name=named), test_share=0.0, seed=0)]
    assert sides == [Split.TEST, Split.TEST, Split.TEST, Split.TRAIN]


def test_groups_are_the_same_in_whichever_order() -> None:
    rows = some_rows(3)
    one = {each.row_id: each.group for each in grouped(rows, name=named)}
    other = {each.row_id: each.group for each in grouped(rows[::-1], name=named)}
    assert one == other


def test_jaccard_of_word_trigrams() -> None:
    one, same, near, far = shingles(["a b c d e", "A, b: c d e!", "a b c d f", "v w x y z"])
    assert (jaccard(one, same), jaccard(one, near), jaccard(one, far)) == (1.0, 0.5, 0.0)
    two, reversed_two, empty = shingles(["mill wheel", "wheel mill", ""])
    assert (len(two), len(empty)) == (1, 0)
    assert jaccard(two, reversed_two) == 0.0


def test_signatures_estimate_jaccard() -> None:
    draw = random.Random(5)
    words = [draw.choice(WORDS) + str(draw.randrange(50)) for _ in range(400)]
    one, other = shingles([" ".join(words[:300]), " ".join(words[60:])])
    first, second = signatures([one, other], seed=7)
    assert abs(float(np.mean(first == second)) - jaccard(one, other)) < 0.2


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_bands_find_what_is_at_the_threshold(threshold: float) -> None:
    bands, rows = bands_for(threshold)
    assert 1 - (1 - threshold**rows) ** bands >= FOUND


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_what_stays_is_what_comparing_all_pairs_leaves(threshold: float) -> None:
    draw = random.Random(11)
    texts = [" ".join(draw.choices(WORDS, k=draw.randrange(4, 12))) for _ in range(150)]
    texts += [f"{text} {draw.choice(WORDS)}" for text in texts[:80]]
    sets, order = shingles(texts), list(range(len(texts)))
    kept = without_near_duplicates(sets, order=order, threshold=threshold, seed=3)
    by_hand: list[int] = []
    for place in order:
        if all(jaccard(sets[place], sets[other]) < threshold for other in by_hand):
            by_hand.append(place)
    assert kept == set(by_hand)
    assert len(kept) < len(texts)


def test_of_two_that_are_one_the_corrected_stays_else_the_newest() -> None:
    texts = ["how does a weir work now"] * 3 + ["what is a mill race there"] * 2
    rows = [row(0), row(1, corrected=True), row(2), row(3), row(4)]
    kept, left = chosen(rows, texts, near_duplicates=0.8)
    assert [one.row_id for one in kept] == ["row-1", "row-4"]
    assert left == [("near_duplicate", f"row-{n}") for n in (0, 2, 3)]


def test_kinds_are_balanced_and_a_smaller_snapshot_is_part_of_a_larger() -> None:
    rows = [row(n, kind="rare" if n % 5 == 0 else "common") for n in range(50)]
    texts = [f"question {n} about part {n * 3} of {n * 7}" for n in range(50)]
    some, left = chosen(rows, texts, near_duplicates=2.0, most_a_kind=8)
    assert [one.kind for one in some].count("common") == [one.kind for one in some].count("rare") == 8
    assert {reason for reason, _ in left} == {"over_limit"}
    fewer, _ = chosen(rows, texts, near_duplicates=2.0, most_a_kind=8, limit=10)
    assert {one.row_id for one in fewer} < {one.row_id for one in some}


def test_the_id_is_of_what_is_in_it() -> None:
    rows = [row(1), row(2)]
    one = manifest_of(rows, tenant="acme", name="support", purpose=Purpose.TRAIN)
    assert id_of(one) == id_of(manifest_of(list(rows), tenant="acme", name="support", purpose=Purpose.TRAIN))
    for changed in (rows[::-1], rows[:1], [rows[0], replace(rows[1], grant_id="g")]):
        assert id_of(manifest_of(changed, tenant="acme", name="support", purpose=Purpose.TRAIN)) != id_of(one)
    assert contents_of(one) == {"row-1": "01", "row-2": "02"}
