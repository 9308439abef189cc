"""Reference metrics on examples worked by hand."""

from collections.abc import Callable

import pytest
from headrace_feedback.evaluating import reference
from headrace_feedback.evaluating.reference import Given, Reference


@pytest.mark.parametrize(
    ("text", "fact", "holds"),
    [
        ("The `finally` clause runs first [1].", "finally clause", True),
        ("It is evaluated once.", "evaluat* once", True),
        ("It is evaluated, perhaps, once.", "evaluat* once", False),
        ("It raises a ValueError.", "TypeError|ValueError", True),
        ("It raises a ValueErrors.", "ValueError", False),
        ("The nearest enclosing loop", "enclosing nearest", False),
        ("see [2]", "2", False),  # a citation mark states nothing
        ("", "loop", False),
        ("anything", "", False),
        ("anything", "|", False),
    ],
)
def test_a_fact_is_a_run_of_words(text: str, fact: str, holds: bool) -> None:
    assert reference.states(text, fact) is holds


def test_key_fact_recall_is_a_share_of_the_facts() -> None:
    answer = "It ends the nearest enclosing loop [1]."
    assert reference.key_fact_recall(answer, ["nearest enclosing loop", "else clause"]) == 0.5
    assert reference.key_fact_recall(answer, []) is None


def test_normalising_drops_case_punctuation_articles_and_marks() -> None:
    assert reference.normalised("The “loop”, an end [12]: A-b.") == ["loop", "end", "ab"]


def test_token_f1_counts_words_as_often_as_they_occur() -> None:
    # said: cat cat sat (3), wanted: cat sat down (3); in common: cat, sat.
    assert reference.token_f1("The cat cat sat.", "the cat sat down") == pytest.approx(2 / 3)


def test_rouge_l_asks_for_the_order_too() -> None:
    # Lin 2004's own example: "police killed gunman" against two candidates with the same words.
    wanted = "police killed gunman"
    assert reference.rouge_l("police kill gunman", wanted) == pytest.approx(2 / 3)
    assert reference.rouge_l("gunman kill police", wanted) == pytest.approx(1 / 3)
    assert reference.token_f1("gunman kill police", wanted) == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [reference.token_f1, reference.rouge_l])
def test_overlap_is_symmetric_and_bounded(metric: Callable[[str, str], float]) -> None:
    assert metric("a loop ends", "loop ends") == 1.0
    assert metric("", "") == 1.0
    assert metric("", "loop") == metric("loop", "") == metric("one two", "three") == 0.0


def test_citations_count_each_document_once() -> None:
    assert reference.citation_precision(["break", "break", "while"], ["break"]) == 0.5
    assert reference.citation_recall(["break"], ["break", "for"]) == 0.5
    assert reference.citation_precision([], ["break"]) is None
    assert reference.citation_recall(["break"], []) is None


@pytest.mark.parametrize(
    ("answerable", "refused", "right"), [(True, False, 1), (True, True, 0), (False, True, 1), (False, False, 0)]
)
def test_a_refusal_is_right_where_the_sources_do_not_say(answerable: bool, refused: bool, right: int) -> None:
    assert reference.refusal_correctness(answerable=answerable, refused=refused) == right


KNOWN = Reference("It ends the loop.", ("ends", "loop"), frozenset({"break"}), answerable=True)


def test_a_right_answer_has_full_scores() -> None:
    scores = reference.score(Given("It ends the loop [1].", frozenset({"break"}), refused=False), KNOWN)
    assert scores == reference.Scores(1, 1, 1, 1, 1, 1)


def test_words_of_a_refusal_earn_nothing() -> None:
    refusal = Given("It ends the loop.", frozenset({"break"}), refused=True)
    assert reference.score(refusal, KNOWN) == reference.Scores(0, 0, 0, None, 0, 0)


def test_what_the_sources_do_not_say_is_scored_by_its_refusal_alone() -> None:
    unknown = Reference("", (), frozenset(), answerable=False)
    answered = reference.score(Given("Goto jumps.", frozenset({"break"}), refused=False), unknown)
    assert answered == reference.Scores(None, None, None, None, None, 0)


def test_no_repr_shows_text() -> None:
    assert "loop" not in repr(KNOWN) + repr(Given("loop", frozenset(), refused=False))
