"""Each evaluator on answers worked by hand, and all of them on a set of good and bad answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from headrace_feedback.evaluating import evaluators
from headrace_feedback.evaluating.evaluators import BY_NAME, Evaluator
from headrace_feedback.evaluating.measuring import Counts, Passage, Words
from headrace_feedback.evaluating.reference import Reference

LOOP = (
    "The break statement terminates the nearest enclosing loop. If the loop has an else clause, it skips that clause. "
    "A loop runs at most 3 times here."
)
IMPORT = "The import statement finds a module and binds it to a name. A module is not loaded twice."
COUNTS = Counts("grounded", "stop", 60, (1,), (True,), frozenset({"docs/loop"}), {"total": 1500.0}, 7)


def words(answer: str, **changes: object) -> Words:
    made = Words("What does break do?", answer, (Passage(LOOP, (1,)), Passage(IMPORT, (2,)), Passage("Else.", ())))
    return replace(made, **changes)  # type: ignore[arg-type]


def value(name: str, counts: Counts = COUNTS, said: Words | None = None) -> float | None:
    score = BY_NAME[name].score(counts, said or Words("", ""))
    return score.value if score else None


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("The break statement terminates the nearest enclosing loop [1].", 1.0),
        ("Break terminates the loop that encloses it nearest [1]. A module is not loaded twice [2].", 1.0),
        ("The break statement terminates the nearest enclosing loop [2].", 0.0),  # the wrong passage
        ("The break statement terminates the nearest enclosing loop.", 0.0),  # none
        ("The break statement terminates the nearest enclosing loop [7].", 0.0),  # there is none such
        ("The break statement does not terminate the nearest enclosing loop [1].", 0.0),  # denied
        ("A loop runs at most 5 times here [1].", 0.0),  # another number
        ("A loop runs at most 3 times here [1].", 1.0),
        ("Break terminates the nearest enclosing loop [1]. Cows eat fresh grass in summer [1].", 0.5),
        ("A module is not loaded twice [1, 2].", 1.0),
    ],
)
def test_citations_support_is_the_share_of_sentences_that_their_passages_bear_out(answer: str, share: float) -> None:
    assert value("citations_support", said=words(answer)) == share


def test_groundedness_looks_into_every_passage_and_counts_parts() -> None:
    whole = value("groundedness", said=words("The break statement terminates the nearest enclosing loop."))
    part = value("groundedness", said=words("The break statement terminates the program with an exception."))
    nothing = value("groundedness", said=words("Cows eat fresh grass in summer."))
    assert whole == 1.0
    assert nothing == 0.0
    assert part is not None
    assert 0.2 < part < 0.8


def test_what_cannot_be_measured_has_no_score() -> None:
    refused = replace(COUNTS, grounding="not_in_sources", citations=(), resolved=())
    said = words("The sources don't say.", similarity=0.1)
    assert [value(name, refused, said) for name in ("citations_resolve", "citations_support", "groundedness")] == [
        None
    ] * 3
    assert value("relevance", refused, said) is None
    assert value("groundedness", said=words("Anything is true.", passages=None)) is None
    assert value("refusal", said=said) is None
    assert value("latency", replace(COUNTS, timings_ms={})) is None


@pytest.mark.parametrize(("cosine", "mapped"), [(0.6, 0.6), (-0.3, 0.0), (1.0000001, 1.0), (0.0, 0.0)])
def test_relevance_is_the_cosine_within_bounds(cosine: float, mapped: float) -> None:
    assert value("relevance", said=words("x", similarity=cosine)) == pytest.approx(mapped)


@pytest.mark.parametrize(
    ("grounding", "answerable", "right"),
    [("grounded", True, 1.0), ("grounded", False, 0.0), ("not_in_sources", True, 0.0), ("not_in_sources", False, 1.0)],
)
def test_refusal_is_right_where_the_sources_do_not_say(grounding: str, answerable: bool, right: float) -> None:
    known = Reference("", (), frozenset(), answerable)
    assert value("refusal", replace(COUNTS, grounding=grounding), words("x", reference=known)) == right


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 1.0),
        ({"finish_reason": "length"}, 0.75),
        ({"characters": 0}, 0.75),
        ({"characters": 8001}, 0.75),
        ({"citations": (1, 3), "resolved": (True, True)}, 0.75),
        ({"citations": (), "resolved": ()}, 0.75),  # an answer that cites nothing
        ({"grounding": "not_in_sources"}, 0.75),  # a refusal that cites
        ({"grounding": "not_in_sources", "citations": (), "resolved": ()}, 1.0),
        ({"citations": (1, 1, 2), "resolved": (True, True, True)}, 1.0),
    ],
)
def test_format_is_four_checks(changes: dict[str, object], share: float) -> None:
    assert value("format", replace(COUNTS, **changes)) == share  # type: ignore[arg-type]


def test_what_needs_no_words_is_measured_without_any() -> None:
    counts = replace(COUNTS, citations=(1, 2), resolved=(True, False))
    scores = {score.evaluator: (score.value, score.label) for score in evaluators.by_counts(counts)}
    assert scores == {
        "citations_resolve": (0.5, "fail"),
        "format": (1.0, "pass"),
        "latency": (1.5, ""),
        "cost": (7.0, ""),
    }


def test_a_row_with_a_known_answer_adds_the_reference_metrics() -> None:
    known = Reference("It terminates the nearest loop.", ("nearest", "never"), frozenset({"docs/loop"}), True)
    found = {
        score.evaluator
        for score in evaluators.by_words(COUNTS, words("It ends the nearest loop [1].", reference=known))
    }
    assert found >= {"refusal", "key_facts", "token_f1", "rouge_l", "citation_precision", "citation_recall"}


def test_a_row_that_expects_no_documents_says_nothing_of_citations() -> None:
    known = Reference("It terminates the nearest loop.", (), frozenset(), answerable=True)
    assert value("citation_precision", said=words("x", reference=known)) is None
    assert value("citation_recall", said=words("x", reference=known)) is None


def test_every_evaluator_says_what_it_is() -> None:
    assert len(BY_NAME) == len(evaluators.EVALUATORS)
    for evaluator in evaluators.EVALUATORS:
        assert evaluator.version
        assert evaluator.description.endswith(".")
        assert evaluator.unit in ("share", "seconds", "micro_usd")


# Pairs of a good answer and a bad one, for each evaluator that tells them apart: whichever formula it has, the good one
# must score higher. What always says the same is caught, and what says the opposite.
GOOD = "The break statement terminates the nearest enclosing loop [1]."
UNSUPPORTED = "The break statement raises an exception in every generator [1]."
KNOWN = Reference(
    "It terminates the nearest enclosing loop.", ("nearest enclosing loop",), frozenset({"docs/loop"}), True
)
REFUSAL = replace(COUNTS, grounding="not_in_sources", citations=(), resolved=())
Side = tuple[Counts, Words]
PAIRS: Sequence[tuple[str, Side, Side]] = (
    ("citations_resolve", (COUNTS, words(GOOD)), (replace(COUNTS, resolved=(False,)), words(GOOD))),
    ("citations_support", (COUNTS, words(GOOD)), (COUNTS, words(UNSUPPORTED))),
    ("groundedness", (COUNTS, words(GOOD)), (COUNTS, words(UNSUPPORTED))),
    ("relevance", (COUNTS, words(GOOD, similarity=0.7)), (COUNTS, words("Cows eat grass.", similarity=0.05))),
    ("refusal", (COUNTS, words(GOOD, reference=KNOWN)), (REFUSAL, words("", reference=KNOWN))),
    ("format", (COUNTS, words(GOOD)), (replace(COUNTS, finish_reason="length", citations=()), words(GOOD))),
    ("key_facts", (COUNTS, words(GOOD, reference=KNOWN)), (COUNTS, words(UNSUPPORTED, reference=KNOWN))),
    ("token_f1", (COUNTS, words(GOOD, reference=KNOWN)), (COUNTS, words(UNSUPPORTED, reference=KNOWN))),
    ("rouge_l", (COUNTS, words(GOOD, reference=KNOWN)), (COUNTS, words(UNSUPPORTED, reference=KNOWN))),
    (
        "citation_precision",
        (COUNTS, words(GOOD, reference=KNOWN)),
        (replace(COUNTS, documents=frozenset({"docs/other"})), words(GOOD, reference=KNOWN)),
    ),
    (
        "citation_recall",
        (COUNTS, words(GOOD, reference=KNOWN)),
        (replace(COUNTS, documents=frozenset({"docs/other"})), words(GOOD, reference=KNOWN)),
    ),
)


def indifferent(found: Callable[[str], Evaluator]) -> list[str]:
    """The evaluators that do not score the good answer higher."""
    names = []
    for name, good, bad in PAIRS:
        better, worse = found(name).score(*good), found(name).score(*bad)
        if better is None or worse is None or better.value <= worse.value:
            names.append(name)
    return names


def test_good_answers_score_higher_than_bad_ones() -> None:
    assert indifferent(BY_NAME.__getitem__) == []


@pytest.mark.parametrize("measure", [lambda *_: 1.0, lambda *_: 0.0, lambda *_: None])
def test_an_evaluator_that_always_says_the_same_is_caught(measure: Callable[..., float | None]) -> None:
    names = [name for name, _, _ in PAIRS]
    assert indifferent(lambda name: replace(BY_NAME[name], measure=measure)) == names


def test_an_evaluator_that_says_the_opposite_is_caught() -> None:
    def upside_down(name: str) -> Evaluator:
        honest = BY_NAME[name].measure
        return replace(BY_NAME[name], measure=lambda counts, said: 1 - (honest(counts, said) or 0.0))

    assert indifferent(upside_down) == [name for name, _, _ in PAIRS]
