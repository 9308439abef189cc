"""What an alert says of itself: the words and kinds that moved, queries to look at, and the lever."""

import random
from dataclasses import replace

import pytest
from headrace_drift.measuring import (
    Explanation,
    Lever,
    Lexicon,
    Measure,
    Observation,
    Reading,
    Rules,
    compare,
    explain,
)
from headrace_drift.measuring.explaining import Evidence, choose
from headrace_privacy import Tier
from headrace_statistics import Proportion

from services.drift.tests.measuring.house import ALL, sketch_of
from services.drift.tests.measuring.questions import PYTHON, SQL, asked, observation
from services.drift.tests.measuring.traffic import HASHING, READER

RULES = Rules()


def talk(pool: tuple[str, ...], count: int, seed: int, **outcome: float | str) -> list[tuple[str, Observation]]:
    rng = random.Random(seed)
    texts = [asked(pool, rng) for _ in range(count)]
    return [(text, observation(text, rng, **outcome)) for text in texts]


def explained(
    before: list[tuple[str, Observation]],
    after: list[tuple[str, Observation]],
    *,
    lexicon: Lexicon | None = None,
    prompt_is_young: bool | None = None,
) -> Explanation:
    a, b = (sketch_of(one for _, one in side) for side in (before, after))
    readings = [told(one) for one in compare(a, b, RULES, slice_=ALL)]
    known = lexicon or lexicon_of(before + after)
    return explain(a, b, readings, RULES, lexicon=known, prompt_is_young=prompt_is_young)


def told(reading: Reading) -> Reading:
    """As `decide` would, of one slice at one look."""
    is_large = abs(reading.effect) >= RULES.least[reading.effect_kind]
    return replace(reading, drifted=reading.p_value < 1e-4 and is_large)


def lexicon_of(seen: list[tuple[str, Observation]]) -> Lexicon:
    lexicon = Lexicon()
    for text, one in seen:
        lexicon.add(READER.words(text), tier=one.tier, conversation=one.conversation)
    return lexicon


CALM = talk(PYTHON, 500, 1, kind="how-to")


def test_the_words_that_moved_are_named_with_their_shares() -> None:
    after = talk(SQL, 150, 2)
    found = explained(CALM, after)
    said = [word for text, _ in after for word in text.lower().replace("?", "").split()]
    moved = {one.word: one for one in found.words}
    assert {"join", "postgres"} <= moved.keys() or {"null", "postgres"} <= moved.keys() or "postgres" in moved
    postgres = moved["postgres"]
    assert postgres.baseline == 0
    assert postgres.window == pytest.approx(said.count("postgres") / len(said), rel=0.1)
    assert postgres.hash == f"{HASHING.word('postgres'):016x}"
    assert postgres.tier is Tier.TIER_1
    python = moved["python"]
    assert python.baseline > 10 * python.window
    assert len(found.words) <= 30
    # What everybody says all the time has not moved.
    assert "how" not in moved


def test_customers_words_go_by_hash() -> None:
    after = [(text, replace(one, tier=Tier.TIER_2)) for text, one in talk(SQL, 150, 2)]
    found = explained(CALM, after)
    tag = f"{HASHING.word('postgres'):016x}"
    postgres = next(one for one in found.words if one.hash == tag)
    assert (postgres.word, postgres.tier) == ("", Tier.TIER_2)
    assert "postgres" not in repr(found)
    # A word that colleagues say as well is no secret, and says that customers said it too.
    python = next(one for one in found.words if one.hash == f"{HASHING.word('python'):016x}")
    assert python.word == "python"


def test_no_word_is_in_the_sentences() -> None:
    found = explained(CALM, talk(SQL, 150, 2, nearest=0.2, grounded=0.1))
    for word in ("postgres", "join", "python", "select"):
        assert word not in (found.summary + found.because).lower()


def test_documents_are_missing_where_new_words_find_nothing() -> None:
    found = explained(CALM, talk(PYTHON, 100, 2) + talk(SQL, 60, 3, nearest=0.15, grounded=0.1))
    assert found.lever is Lever.DOCUMENTS
    assert found.without_close_passage > 0.8
    assert "find nothing close" in found.summary
    assert "documents are missing" in found.because


def test_queries_to_look_at_are_those_with_the_new_words() -> None:
    after = talk(PYTHON, 100, 2) + talk(SQL, 60, 3, nearest=0.15, grounded=0.1)
    found = explained(CALM, after)
    new = {one.query_id for text, one in after if any(thing.split()[-1] in text for thing in SQL)}
    assert len(found.query_ids) == 20
    assert sum(query_id in new for query_id in found.query_ids) >= 19


def test_the_prompt_where_answers_fell_and_it_is_new() -> None:
    found = explained(CALM, talk(PYTHON, 150, 2, grounded=0.3, prompt="p@2"))
    assert found.lever is Lever.PROMPT
    assert "prompt is new" in found.because
    # Whoever knows better than the baseline may say so.
    known = explained(CALM, talk(PYTHON, 150, 2, grounded=0.3, prompt="p@2"), prompt_is_young=False)
    assert (known.lever, "is new" in known.because) == (Lever.PROMPT, False)


def test_tuning_where_the_wording_is_new_and_the_passages_are_there() -> None:
    found = explained(CALM, talk(SQL, 150, 2, grounded=0.4))
    assert found.lever is Lever.TUNING
    assert "wording" in found.because


def test_nothing_to_pull_where_nothing_got_worse() -> None:
    found = explained(CALM, talk(PYTHON, 150, 2))
    assert (found.lever, found.summary) == (Lever.UNSPECIFIED, "Nothing drifted.")


def test_nobody_can_tell_without_answers() -> None:
    questions = [(text, replace(one, answer=None)) for text, one in CALM]
    asked_ = [(text, replace(one, answer=None)) for text, one in talk(SQL, 150, 2)]
    found = explained(questions, asked_)
    assert found.lever is Lever.UNSPECIFIED
    assert "can tell" in found.because


@pytest.mark.parametrize(
    ("changes", "lever"),
    [
        ({}, Lever.UNSPECIFIED),
        ({"missing": Proportion(15, 20)}, Lever.DOCUMENTS),
        ({"missing": Proportion(9, 9)}, Lever.UNSPECIFIED),
        ({"missing": Proportion(4, 20)}, Lever.UNSPECIFIED),
        ({"missing": Proportion(15, 20), "has_fallen": True, "prompt_is_young": True}, Lever.DOCUMENTS),
        ({"has_fallen": True}, Lever.PROMPT),
        ({"has_fallen": True, "was_fine": False}, Lever.TUNING),
        ({"has_fallen": True, "was_fine": False, "prompt_is_young": True}, Lever.PROMPT),
        ({"has_fallen": True, "has_new_wording": True}, Lever.TUNING),
        ({"has_new_wording": True}, Lever.TUNING),
        ({"before": None, "has_new_wording": True}, Lever.UNSPECIFIED),
    ],
)
def test_the_lever_is_chosen_by_what_was_seen(changes: dict[str, object], lever: Lever) -> None:
    calm = Evidence(None, Proportion(10, 500), False, False, True, False)
    assert choose(replace(calm, **changes))[0] is lever


def test_the_kinds_that_moved_come_first() -> None:
    rng = random.Random(4)
    kinds = ("how-to", "error", "concept")
    before = [(text, replace(one, kind=rng.choice(kinds))) for text, one in talk(PYTHON, 600, 5)]
    after = [
        (text, replace(one, kind="error" if rng.random() < 0.6 else one.kind or "how-to"))
        for text, one in talk(PYTHON, 300, 6, grounded=0.8)
    ]
    after = [
        (text, replace(one, answer=replace(one.answer, is_grounded=False)) if one.kind == "error" else one)
        for text, one in after
    ]
    found = explained(before, after)
    assert found.kinds[0].kind == "error"
    assert found.kinds[0].window_share == pytest.approx(0.6, abs=0.1)
    assert found.kinds[0].baseline_grounded == pytest.approx(0.8, abs=0.1)
    assert found.kinds[0].window_grounded == 0
    assert '"error"' in found.summary


def test_an_explanation_is_the_same_each_time() -> None:
    after = talk(SQL, 150, 2, nearest=0.15)
    assert explained(CALM, after) == explained(CALM, after)


def test_every_measure_has_its_sentence() -> None:
    sketch = sketch_of(one for _, one in CALM)
    for measure in Measure:
        reading = Reading(ALL, measure, 0.1, 0.2, 0.5, "cohen_h", 1e-9, 100, 100, "relevance", drifted=True)
        found = explain(sketch, sketch, [reading], RULES, lexicon=Lexicon())
        assert found.summary.endswith(".")
        assert found.summary != "Nothing drifted."
