"""Each measure: silent where nothing changed, right about what did, and absent where there is too little."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from headrace_drift.measuring import Measure, Observation, Rules, Score, Sketch, compare, missing
from headrace_drift.measuring.vocabulary import Known
from headrace_privacy import Tier

from services.drift.tests.measuring.house import ALL, readings_of, sketch_of
from services.drift.tests.measuring.questions import PYTHON, SQL, asked, at_length, observation
from services.drift.tests.measuring.traffic import READER

Change = Callable[[Observation], Observation]


def python(count: int, seed: int) -> list[Observation]:
    rng = random.Random(seed)
    found = [
        observation(asked(PYTHON, rng), rng, kind=rng.choice(["how-to", "error", "concept"])) for _ in range(count)
    ]
    return [
        replace(
            one,
            thumb_up=rng.random() < 0.7,
            scores=(Score("relevance", rng.betavariate(4, 2)),),
            answer=replace(one.answer, cost_micro_usd=rng.randrange(100, 300)),
        )
        for one in found
    ]


BEFORE = python(600, 1)


def answered(**changes: object) -> Change:
    return lambda one: replace(one, answer=replace(one.answer, **changes))


def slower(one: Observation) -> Observation:
    return replace(one, answer=replace(one.answer, seconds=2 * one.answer.seconds))


def dearer(one: Observation) -> Observation:
    return replace(one, answer=replace(one.answer, cost_micro_usd=2 * one.answer.cost_micro_usd))


def farther(one: Observation) -> Observation:
    return replace(one, answer=replace(one.answer, nearest=one.answer.nearest - 0.2))


def worse(one: Observation) -> Observation:
    return replace(one, scores=(Score("relevance", one.scores[0].value ** 3),))


def longer(one: Observation) -> Observation:
    return replace(one, question=READER.read(at_length(asked(PYTHON, random.Random(one.query_id)))))


def other(one: Observation) -> Observation:
    rng = random.Random(one.query_id)
    return replace(one, question=READER.read(asked(SQL, rng)), vector=observation(asked(SQL, rng), rng).vector)


CHANGES: dict[Measure, tuple[Change, int]] = {
    Measure.VOCABULARY: (other, 1),
    Measure.NGRAMS: (other, 1),
    Measure.EMBEDDINGS: (other, 1),
    Measure.SENTENCE_LENGTH: (longer, 1),
    Measure.QUERY_LENGTH: (longer, 1),
    Measure.KINDS: (lambda one: replace(one, kind="error" if one.kind == "concept" else one.kind), 1),
    Measure.TIERS: (lambda one: replace(one, tier=Tier.TIER_2 if one.kind == "error" else one.tier), 1),
    Measure.GROUNDED: (answered(is_grounded=False), -1),
    Measure.REFUSED: (answered(is_refused=True), 1),
    Measure.THUMBS: (lambda one: replace(one, thumb_up=False), -1),
    Measure.SCORES: (worse, -1),
    Measure.LATENCY: (slower, 1),
    Measure.COST: (dearer, 1),
    Measure.NEAREST_PASSAGE: (farther, -1),
}


@pytest.mark.parametrize("measure", CHANGES, ids=lambda measure: measure.name)
def test_a_change_is_read_by_its_own_measure(measure: Measure) -> None:
    change, sign = CHANGES[measure]
    after = python(200, 2)
    found = readings_of(BEFORE, [change(one) for one in after])[measure]
    assert found.p_value < 1e-6
    assert sign * found.effect >= Rules().least[found.effect_kind]
    calm = readings_of(BEFORE, after)
    if measure in calm:
        assert calm[measure].p_value > 1e-3
        assert abs(calm[measure].effect) < abs(found.effect) / 2


def test_every_measure_is_tested() -> None:
    assert set(CHANGES) == set(Measure)


def test_values_are_in_the_measures_own_units() -> None:
    before, after = python(400, 3), [slower(one) for one in python(400, 4)]
    found = readings_of(before, after)
    seconds = [[one.answer.seconds for one in side] for side in (before, after)]
    characters = np.median([one.question.characters for one in before])
    assert found[Measure.LATENCY].baseline == pytest.approx(np.median(seconds[0]), rel=0.1)
    assert found[Measure.LATENCY].window == pytest.approx(np.median(seconds[1]), rel=0.1)
    assert found[Measure.QUERY_LENGTH].baseline == pytest.approx(characters, rel=0.1)
    assert found[Measure.GROUNDED].baseline == np.mean([one.answer.is_grounded for one in before])
    assert found[Measure.SCORES].baseline == pytest.approx(np.mean([one.scores[0].value for one in before]), abs=0.01)
    assert found[Measure.SCORES].evaluator == "relevance"
    nearest = np.median([one.answer.nearest for one in before])
    assert found[Measure.NEAREST_PASSAGE].baseline == pytest.approx(nearest, abs=0.02)
    assert (found[Measure.GROUNDED].baseline_samples, found[Measure.GROUNDED].window_samples) == (400, 400)


def test_the_share_of_unknown_words_is_that_of_a_fresh_sample() -> None:
    """What the baseline says of itself, one group left out at a time, is what the next conversations bring."""
    rng = random.Random(7)

    def talk(count: int) -> list[Observation]:
        said = [" ".join(f"w{int(rng.paretovariate(0.7))}" for _ in range(12)) for _ in range(count)]
        return [observation(text, rng) for text in said]

    pairs = []
    for _ in range(6):
        known = Known.of(sketch_of(talk(300)).measured().words)
        fresh = sketch_of(talk(300)).measured().words
        said = 300 * 12
        pairs.append((known.left_out().sum() / said, known.unknown_of(fresh).sum() / said))
    own, new = np.mean(pairs, axis=0)
    assert 0.02 < new < 0.3
    assert own == pytest.approx(new, rel=0.15)


def test_a_vocabulary_that_fills_the_bins_keeps_its_commonest_words() -> None:
    rng = np.random.default_rng(1)
    sketch = Sketch()
    common = rng.integers(0, 2**64, 50, dtype=np.uint64)
    for n in range(300):
        words = np.concatenate([rng.integers(0, 2**64, 400, dtype=np.uint64), common])
        question = replace(READER.read("a"), words=words)
        conversation = int(rng.integers(0, 2**64, dtype=np.uint64))
        sketch.add(Observation(f"{n}", conversation, Tier.PUBLIC, question=question))
    known = Known.of(sketch.measured().words)
    assert known.floor > 1
    assert known.bins.size <= 1 << 15
    assert known.knows((common >> np.uint64(48)).astype(np.uint32)).all()


def test_queries_of_one_conversation_count_as_one_voice() -> None:
    """One person who asks sixty times moves nothing; sixty people who ask the same do."""
    rng = random.Random(9)
    sql = [observation(asked(SQL, rng), rng) for _ in range(60)]
    alone = [replace(one, conversation=42) for one in sql]
    calm = python(140, 5)
    of_many, of_one = readings_of(BEFORE, calm + sql), readings_of(BEFORE, calm + alone)
    assert of_many[Measure.VOCABULARY].p_value < 1e-4
    assert Measure.VOCABULARY not in of_one or of_one[Measure.VOCABULARY].p_value > 0.01


@pytest.mark.parametrize(
    "after",
    [
        python(40, 6),
        [replace(one, conversation=n % 5) for n, one in enumerate(python(200, 6))],
        [],
    ],
    ids=["few queries", "few conversations", "none"],
)
def test_too_little_is_not_read(after: list[Observation]) -> None:
    language = {Measure.VOCABULARY, Measure.NGRAMS, Measure.EMBEDDINGS, Measure.KINDS, Measure.TIERS}
    assert not language & readings_of(BEFORE, after).keys()
    assert not language & readings_of(after, BEFORE).keys()


def test_what_nobody_told_of_is_not_read() -> None:
    bare = [Observation(one.query_id, one.conversation, one.tier, question=one.question) for one in BEFORE]
    found = readings_of(bare, bare)
    assert found.keys() == {Measure.VOCABULARY, Measure.NGRAMS, Measure.SENTENCE_LENGTH, Measure.QUERY_LENGTH}
    assert compare(Sketch(), Sketch(), Rules(), slice_=ALL) == ()


def test_what_is_left_out_is_not_read() -> None:
    found = readings_of(BEFORE, BEFORE, Rules(without=frozenset({Measure.LATENCY})))
    assert Measure.LATENCY not in found
    assert Measure.COST in found


def test_nothing_differs_from_itself() -> None:
    for found in readings_of(BEFORE, BEFORE).values():
        assert found.p_value > 0.5
        # A vocabulary is held against what it does not know of itself, and so reads a little below.
        assert abs(found.effect) < 0.2 if found.measure is Measure.VOCABULARY else found.effect == pytest.approx(0)


def test_how_much_a_baseline_lacks() -> None:
    assert missing(sketch_of(BEFORE[:30]), Rules(minimum_queries=50)) == 20
    assert missing(sketch_of(BEFORE), Rules()) == 0
