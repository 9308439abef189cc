"""What counts as supported, what is about a question, and what the sources say themselves."""

from __future__ import annotations

import pytest
from headrace_inference.grounding import Checker, Source, Thresholds, is_answerable
from headrace_models.prompting.sentences import split
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.tests.passages import MANUAL, source

POUR = "What does the pour statement do?"

SUPPORTED = [
    "The pour statement hands a value to the basin that called the sluice.",
    "The `pour` statement hands a value to the basin that called the sluice [7].",
    "It may stand only in the body of a sluice.",
    "After 3 unread values the sluice waits.",
    "A sluice that was drained raises DryError.",
    "It is not possible to pour into a basin that was closed.",
]
UNSUPPORTED = {
    "another number": "After 4 unread values the sluice waits.",
    "denied": "The pour statement does not hand a value to the basin that called the sluice.",
    "affirmed": "It is possible to pour into a basin that was closed.",
    "stronger": "The pour statement always hands a value to the basin that called the sluice.",
    "turned around": "The basin hands a value to the pour statement that called the sluice.",
    "another name": "A sluice that was drained raises WetError.",
    "half the truth": "The sluice waits values.",
    "joined from two": "The pour statement hands a value to a sluice that was drained.",
    "invented": "The pour statement empties every basin at the end of the program.",
    "the question again": "What the pour statement does.",
    "nothing": "Yes.",
    "empty": "",
}


@pytest.mark.parametrize("sentence", SUPPORTED)
def test_what_a_passage_says_is_supported_by_it(sentence: str) -> None:
    assert Checker(POUR, MANUAL).support(sentence) == 0


@pytest.mark.parametrize("why", UNSUPPORTED)
def test_what_no_passage_says_is_not(why: str) -> None:
    assert Checker(POUR, MANUAL).support(UNSUPPORTED[why]) is None


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Thresholds(coverage=0.0, order=0.0, pairs=0.0, kept=0.0), "invented"),
        (Thresholds(order=0.0, pairs=0.0), "turned around"),
        (Thresholds(kept=0.0, order=0.0, pairs=0.0), "half the truth"),
    ],
)
def test_without_its_limits_the_check_lets_it_pass(limits: Thresholds, why: str) -> None:
    """The limits are what refuses: take one out and the test above would fail."""
    checker = Checker(POUR, MANUAL, limits=limits)
    sentence = UNSUPPORTED[why]
    assert why == "invented" or checker.support(sentence) is not None
    assert Checker(POUR, MANUAL).support(sentence) is None


@pytest.mark.parametrize(
    "question",
    [
        POUR,
        "What does the upstream statement do?",
        "When is DryError raised?",
        "How many buckets had the wheel of the first mill?",
        "What happens to a basin that is closed?",
    ],
)
def test_the_manual_answers_what_it_is_about(question: str) -> None:
    checker = Checker(question, MANUAL)
    assert checker.is_answerable
    assert checker.extract()


@pytest.mark.parametrize(
    "question",
    [
        "What does the unless statement do?",  # a word of the text, no name in it
        "What does the goto statement do?",
        "What does the sealed pour statement do?",  # a kind that is not there of a thing that is
        "What is the __drain__ method for?",
        "How long should I bake a sourdough loaf?",
        "Who was the first president of France?",
        "How do I pour concrete into a mould?",
    ],
)
def test_it_does_not_say_what_it_does_not_say(question: str) -> None:
    assert not is_answerable(question, MANUAL)


def test_words_alone_are_not_enough_when_the_meaning_is_far() -> None:
    far = [Source(s.text, s.about, 0.1, s.collection) for s in MANUAL]
    assert is_answerable(POUR, MANUAL)
    assert not is_answerable(POUR, far)


def test_no_passages_no_answer() -> None:
    assert not is_answerable(POUR, [])


def test_extracted_sentences_are_the_sources_own() -> None:
    found = Checker(POUR, MANUAL).extract()
    assert found[0] == ("The `pour` statement hands a value to the basin that called the sluice.", 0)
    assert all(sentence in split(MANUAL[i].text) for sentence, i in found)


def test_code_and_headings_are_not_extracted() -> None:
    text = 'pour_stmt ::= "pour" value\n\nThe pour statement\n\n>>> pour 3\n\nThe pour statement hands a value on.'
    assert [s for s, _ in Checker(POUR, [source(text)]).extract()] == ["The pour statement hands a value on."]


WORDS = st.lists(
    st.sampled_from(
        ["pour", "statement", "basin", "sluice", "value", "not", "only", "3", "DryError", "upstream", "name"]
    ),
    max_size=9,
)


@settings(max_examples=200, deadline=None)
@given(WORDS.map(lambda words: " ".join(words) + "."), st.permutations(MANUAL))
def test_a_citation_always_resolves(sentence: str, sources: list[Source]) -> None:
    checker = Checker(POUR, sources)
    cited = checker.support(sentence)
    assert cited is None or 0 <= cited < len(sources)
    assert all(0 <= i < len(sources) for _, i in checker.extract())
