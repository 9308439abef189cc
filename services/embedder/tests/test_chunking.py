"""What holds for the chunks of any document, with the real tokenizer and splitter."""

from __future__ import annotations

import re
from pydoc_data.topics import topics

import pytest
from headrace_embedder.adapters.splitter import make_chunker
from headrace_embedder.chunking import DocumentChunker
from headrace_embedder.domain import Chunk
from headrace_runtime.errors import Conflict
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

WINDOW = 256
TARGET = 200

_words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_sentences = st.lists(_words, min_size=1, max_size=25).map(lambda words: " ".join(words) + ". ")
_paragraphs = st.lists(_sentences, min_size=1, max_size=12).map("".join)
_headings = st.builds(
    lambda depth, words: f"{'#' * depth} {' '.join(words)}", st.integers(1, 6), st.lists(_words, min_size=1)
)
_underlined = st.builds(
    lambda word, mark: f"{word}\n{mark * max(3, len(word))}",
    st.from_regex(r"[a-zA-Z]{1,9}", fullmatch=True),
    st.sampled_from("=-*~"),
)
_code = st.lists(_words, min_size=1, max_size=40).map(lambda words: "```\n" + "\n".join(words) + "\n```")
_items = st.lists(_sentences, min_size=1, max_size=8).map(lambda items: "\n".join(f"- {item}" for item in items))
_blocks = st.one_of(_paragraphs, _headings, _underlined, _code, _items, st.text(max_size=200))
documents = st.lists(_blocks, max_size=8).map("\n\n".join)


def letters(text: str) -> str:
    """The text without white space and without what headings are marked with."""
    return re.sub(r"[\s#=*~^\"+-]", "", text)


def count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text))


def check_fits(chunks: list[Chunk], tokenizer: Tokenizer) -> None:
    """Every passage keeps the target, and is read whole with title and headings before it."""
    for chunk in chunks:
        assert chunk.tokens == len(tokenizer.encode(chunk.text, add_special_tokens=False)) <= TARGET
        assert count(tokenizer, chunk.embedded_text) <= WINDOW


def check_covers(chunks: list[Chunk], markdown: str) -> None:
    """Read in order, each passage after those of its headings that are new, the chunks are the document."""
    whole = letters(markdown)
    reached = {0}
    for chunk in chunks:
        passages = {letters("".join((*chunk.headings[k:], chunk.text))) for k in range(len(chunk.headings) + 1)}
        reached = {at + len(text) for at in reached for text in passages if whole.startswith(text, at)}
    assert len(whole) in reached, "something is missing, added or out of order"


@settings(max_examples=150, print_blob=False, deadline=None)
@given(title=st.text(max_size=300), markdown=documents)
def test_any_document(title: str, markdown: str, chunker: DocumentChunker, tokenizer: Tokenizer) -> None:
    chunks = list(chunker.chunks(title, markdown))
    check_fits(chunks, tokenizer)
    check_covers(chunks, markdown)
    assert all(chunk.text.strip() for chunk in chunks)


@pytest.mark.parametrize("markdown", ["", "\n \n", "\t"])
def test_an_empty_document_has_no_chunks(chunker: DocumentChunker, markdown: str) -> None:
    assert chunker.chunks("title", markdown) == []


def test_the_checks_can_fail(chunker: DocumentChunker, tokenizer: Tokenizer) -> None:
    text = "One sentence stands here. " * 60
    chunks = list(chunker.chunks("", text))
    assert len(chunks) > 1
    with pytest.raises(AssertionError):
        check_covers(chunks[1:], text)
    with pytest.raises(AssertionError):
        check_covers([*chunks[1:], chunks[0]], "First. " + text)
    with pytest.raises(AssertionError):
        check_fits(list(make_chunker(tokenizer, chunk_tokens=210, window=256).chunks("", text)), tokenizer)


def test_sentences_and_code_stay_whole(chunker: DocumentChunker) -> None:
    sentence = "The quick brown fox jumps over the lazy dog near the river bank today."
    code = "```python\n" + "\n".join(f"value_{n} = compute({n})" for n in range(12)) + "\n```"
    chunks = chunker.chunks("", f"{f'{sentence} ' * 10}\n\n{code}\n\n{f'{sentence} ' * 10}")
    assert sum(code in chunk.text for chunk in chunks) == 1
    assert all(re.fullmatch(rf"({re.escape(sentence)}\s*)+", chunk.text) for chunk in chunks if "```" not in chunk.text)


def test_a_passage_keeps_its_own_indentation(chunker: DocumentChunker) -> None:
    assert [c.text for c in chunker.chunks("", "# Code\n\n   if x:\n       y()\n\n")] == ["   if x:\n       y()"]


def test_a_term_stays_with_its_definition(chunker: DocumentChunker) -> None:
    """The greedy way would put as many terms as fit at the end of a chunk, their definitions in the next."""
    body = "   " + "It does something that takes a while to explain. " * 7
    chunks = chunker.chunks("", "\n\n".join(f"function_{n}(argument)\n\n{body}" for n in range(8)))
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk.text.startswith("function_")
        assert chunk.text.endswith("explain.")


def test_code_stays_with_the_line_that_introduces_it(chunker: DocumentChunker) -> None:
    code = "call(x)\n" * 10
    chunks = chunker.chunks("", f"{'Some words stand here. ' * 32}\n\nFor example:\n\n```\n{code}```")
    assert [chunk.text.startswith("For example:") for chunk in chunks] == [False, True]


def test_pieces_of_a_long_sentence_count_as_the_model_counts(chunker: DocumentChunker, tokenizer: Tokenizer) -> None:
    """Cut within words, pieces put together again must not have more tokens than their sum said."""
    chunks = list(chunker.chunks("", "ab-" * 900 + "\n\n" + "supercalifragilistic" * 90))
    check_fits(chunks, tokenizer)


def test_title_and_headings_go_before_what_is_embedded(chunker: DocumentChunker) -> None:
    (chunk,) = chunker.chunks("Guide", "# Guide\n\n## Setup\n\nRun it.")
    assert chunk.headings == ("Guide", "Setup")
    assert chunk.text == "Run it."
    assert chunk.embedded_text == "Guide\nSetup\n\nRun it."


def test_what_does_not_fit_before_it_is_left_out_and_the_innermost_heading_stays(chunker: DocumentChunker) -> None:
    numbers = " ".join(map(str, range(1, 60)))
    (chunk,) = chunker.chunks("far too many words " * 20, f"# {numbers}\n\n## Setup\n\nRun it.")
    assert chunk.headings == (numbers, "Setup")
    assert chunk.context == "Setup"


def test_a_chunk_that_the_model_could_not_read_is_refused_at_the_start(tokenizer: Tokenizer) -> None:
    with pytest.raises(Conflict, match="chunks of 300 tokens do not fit the model's window of 256"):
        make_chunker(tokenizer, chunk_tokens=300, window=256)


def test_nothing_shows_the_text_by_accident(chunker: DocumentChunker) -> None:
    assert "secret" not in repr(chunker.chunks("secret", "# secret\n\nsecret"))


@pytest.mark.parametrize("name", ["for", "nonlocal", "specialnames", "operator-summary", "typesseq"])
def test_the_language_reference(name: str, chunker: DocumentChunker, tokenizer: Tokenizer) -> None:
    chunks = list(chunker.chunks(name, topics[name]))
    check_fits(chunks, tokenizer)
    check_covers(chunks, topics[name])
    assert all(chunk.headings for chunk in chunks)
    assert not any(re.search(r"^[*=~-]{4,}$", chunk.text, re.MULTILINE) for chunk in chunks)
