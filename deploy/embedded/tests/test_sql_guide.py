"""The second corpus of the demos: documents in our own words, and questions that they answer."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace

import pytest
from headrace_embedded.demo import corpus, sql_guide
from headrace_embedded.demo.questions import KnownQuestion, known_questions
from headrace_feedback.evaluating.reference import key_fact_recall, normalised, states, token_f1

GUIDE = {topic.name: topic for topic in sql_guide.guide()}
TRAFFIC, HELD_OUT, BEYOND = sql_guide.traffic(), sql_guide.held_out(), sql_guide.beyond()
#: Words that questions of one form share, whatever they ask.
FORM = frozenset(
    re.findall(r"\w+", "what which when how why does do is are it with and by in of to that or can for not may")
)


def flaws(question: KnownQuestion) -> list[str]:
    """What a question with an answer lacks."""
    texts = [GUIDE[name].markdown if name in GUIDE else "" for name in question.documents]
    found = [f"its document lacks {fact}" for text in texts for fact in question.facts if not states(text, fact)]
    if len(question.facts) != 2:
        found.append("two facts are wanted")
    if len(question.documents) != 1:
        found.append("one document is wanted")
    if key_fact_recall(question.question, question.facts) == 1:
        found.append("the question itself states all facts")
    return found


def content(question: str) -> str:
    """The words that a question does not owe to its form."""
    return " ".join(word for word in normalised(question) if word not in FORM)


def test_documents_are_short_and_have_a_heading_of_their_own() -> None:
    lengths = {name: len(topic.markdown.split()) for name, topic in GUIDE.items()}
    assert 20 <= len(GUIDE) <= 28
    assert [name for name, words in lengths.items() if not 120 <= words <= 250] == []
    assert len({topic.title for topic in GUIDE.values()}) == len(GUIDE)
    assert all(topic.markdown.startswith(f"# {topic.title}\n") for topic in GUIDE.values())


def test_no_document_has_the_name_of_one_of_the_reference() -> None:
    assert not {topic.title for topic in corpus.reference()} & {topic.title for topic in GUIDE.values()}


@pytest.mark.parametrize("question", TRAFFIC + HELD_OUT, ids=lambda q: q.id)
def test_a_question_is_answered_by_its_document(question: KnownQuestion) -> None:
    assert question.answerable
    assert question.answer
    assert flaws(question) == []


@pytest.mark.parametrize(
    "change",
    [
        {"documents": frozenset({"no-such-document"})},
        {"facts": ("whole groups", "in the moonlight")},
        {"facts": ("whole groups",)},
        {"question": "Are whole groups filtered after aggregation?"},
    ],
)
def test_a_seeded_flaw_is_found(change: dict[str, object]) -> None:
    question = next(question for question in TRAFFIC if question.id == "having-filter")
    assert flaws(question) == []
    assert flaws(replace(question, **change)) != []  # type: ignore[arg-type]


def test_every_document_is_asked_about_on_both_sides() -> None:
    for questions, least in ((TRAFFIC, 3), (HELD_OUT, 2)):
        asked = Counter(name for question in questions for name in question.documents)
        assert asked.keys() == GUIDE.keys()
        assert min(asked.values()) >= least


def test_ids_are_unique_and_not_those_of_the_reference() -> None:
    ids = [question.id for question in (*TRAFFIC, *HELD_OUT, *BEYOND, *known_questions())]
    assert [name for name, count in Counter(ids).items() if count > 1] == []


def test_nothing_held_out_is_asked_before_in_nearly_the_same_words() -> None:
    pairs = itertools.product((q.question for q in TRAFFIC), (q.question for q in HELD_OUT))
    assert [pair for pair in pairs if token_f1(content(pair[0]), content(pair[1])) > 0.7] == []


def test_nothing_held_out_is_answered_by_a_sentence_that_answers_what_users_ask() -> None:
    learned = [sql_guide.quoted(question) for question in TRAFFIC]
    assert [question.id for question in HELD_OUT if sql_guide.quoted(question) in learned] == []


@pytest.mark.parametrize("question", TRAFFIC + HELD_OUT, ids=lambda q: q.id)
def test_the_guide_can_be_quoted_on_what_is_asked(question: KnownQuestion) -> None:
    said = sql_guide.quoted(question)
    assert key_fact_recall(said, question.facts) == 1
    assert said in " ".join(GUIDE[next(iter(question.documents))].markdown.split())


def test_the_guide_cannot_be_quoted_on_what_it_does_not_say() -> None:
    assert [sql_guide.quoted(question) for question in BEYOND] == [""] * len(BEYOND)


def test_what_is_beyond_the_guide_has_no_answer_in_it() -> None:
    assert len(BEYOND) >= 5
    assert not any(question.answerable or question.facts or question.documents for question in BEYOND)


def test_the_language_is_another_than_that_of_the_reference() -> None:
    def words(questions: list[KnownQuestion]) -> Counter[str]:
        return Counter(word for q in questions for word in re.findall(r"[a-z_]+", content(q.question)))

    before, after = words(known_questions()), words(TRAFFIC)
    new = sum(count for word, count in after.items() if word not in before)
    assert new / after.total() > 0.4
