"""Terms that a natural-language parser loses."""

from __future__ import annotations

import time

import pytest
from headrace_retriever.words import (
    LONGEST_TERM,
    MOST_TERMS,
    as_tsvector,
    chunk_terms,
    question_phrases,
    question_terms,
)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("Define __init__ first.", "`__init__"),
        ("See os.path.join for it.", "`os.path.join"),
        ("Call getattr_static here.", "`getattr_static"),
        ("It is camelCase here.", "`camelcase"),
        ("Encoded as utf8 then.", "`utf8"),
        ("The `async  with` statement.", "`async with"),
        ('The "yield from" expression.', "`yield from"),
        ("The ``**`` operator.", "`**"),
    ],
)
def test_finds_marked_spans_and_identifiers(text: str, term: str) -> None:
    assert term in chunk_terms(text)


def test_leaves_plain_words_to_the_english_parser() -> None:
    assert chunk_terms("This is what a loop does with its items.") == []


def test_a_question_asks_for_its_phrases_whole() -> None:
    phrases = question_phrases("How does async with work?")
    assert "`async with" in phrases
    assert "`with" not in phrases  # every other question has a "with"


def test_a_question_asks_for_each_term_once() -> None:
    terms = question_terms("`a_b` and `a_b` and a_b")
    assert len(terms) == len(set(terms))


def test_what_is_too_long_or_too_much_is_cut() -> None:
    assert chunk_terms(f"`{'x' * (LONGEST_TERM + 1)}`") == []
    assert len(chunk_terms("a_b " * (2 * MOST_TERMS))) == MOST_TERMS


def test_quotes_cannot_leave_a_tsvector() -> None:
    assert as_tsvector(["`it's", "`a\\b"]) == "'`it''s':1B '`a\\\\b':2B"


@pytest.mark.parametrize("text", ["a" * 200_000, "_" * 200_000, '"' * 200_000, "`" * 200_000, "a." * 100_000])
def test_no_text_makes_it_slow(text: str) -> None:
    started = time.perf_counter()
    chunk_terms(text)
    question_terms(text)
    question_phrases(text)
    assert time.perf_counter() - started < 2.0
