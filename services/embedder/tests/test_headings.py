"""Which lines are headings, and what each stretch of text stands under."""

from __future__ import annotations

import time

import pytest
from headrace_embedder.headings import sections


def cut(text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(section.headings, section.text.strip()) for section in sections(text)]


def test_text_without_headings_is_one_section() -> None:
    assert cut("one\n\ntwo\n") == [((), "one\n\ntwo")]


@pytest.mark.parametrize("text", ["", " \n\t\n", "\r\n\r\n"])
def test_blank_text_has_no_sections(text: str) -> None:
    assert cut(text) == []


def test_follows_the_path_of_atx_headings() -> None:
    text = "intro\n# A\na\n## B ##\nb\n### C\nc\n## D\nd\n# E\ne\n"
    assert cut(text) == [
        ((), "intro"),
        (("A",), "a"),
        (("A", "B"), "b"),
        (("A", "B", "C"), "c"),
        (("A", "D"), "d"),
        (("E",), "e"),
    ]


def test_follows_setext_headings() -> None:
    assert cut("A\n=\na\n\nB\n---\nb\n\nC\n===\nc") == [(("A",), "a"), (("A", "B"), "b"), (("C",), "c")]


def test_follows_headings_as_python_writes_them() -> None:
    text = 'The "for" statement\n*******************\n\nloop\n\n\nElse\n====\n\nend\n\nDeep\n~~~~\n\ndown\n'
    assert cut(text) == [
        (('The "for" statement',), "loop"),
        (('The "for" statement', "Else"), "end"),
        (('The "for" statement', "Else", "Deep"), "down"),
    ]


def test_takes_a_line_above_as_part_of_the_heading() -> None:
    assert cut("=====\nTitle\n=====\ntext") == [(("Title",), "text")]


def test_headings_may_follow_each_other_without_a_blank_line() -> None:
    assert cut("# A\nB\n===\nC\n---\ntext\n") == [((), "A"), (("B", "C"), "text")]


@pytest.mark.parametrize(
    "text",
    [
        "```\n# no\n\nno\n===\n```",
        "~~~~ python\n# no\n~~~\n# no\n~~~~",
        "```\n# unclosed",
        "    # no, code",
        "   # no, a comment in plain text's code",
        "#hashtag",
        "####### seven",
        "##",
        "# " + "x" * 300,
        "- item\n---",
        "> quote\n---",
        "| a | b |\n--------",
        "two lines\nof a paragraph\n---",
        "a\n\n---\n\nb",
        "---\ntitle: metadata\n---\ntext",
        "too long for its stars\n***",
        "+---+---+\n| a | b |\n+===+===+",
        "1. item\n=======",
    ],
)
def test_is_no_heading(text: str) -> None:
    assert cut(text) == [((), text.strip())]


def test_a_fence_ends_only_with_its_own_kind() -> None:
    assert cut("````\n```\n# no\n````\n# Yes\ntext") == [((), "````\n```\n# no\n````"), (("Yes",), "text")]


def test_a_heading_with_nothing_under_it_is_kept_as_text() -> None:
    assert cut("# A\n## B\n## C\nc\n# D") == [(("A",), "B"), (("A", "C"), "c"), ((), "D")]


def test_a_hostile_document_takes_no_time() -> None:
    hostile = ["A\n===\n" * 50_000, "#" * 200_000, "`" * 200_000, "# " + " #" * 100 + "\n", ("=" * 150 + "\n") * 5_000]
    start = time.perf_counter()
    for text in hostile:
        list(sections(text))
    assert time.perf_counter() - start < 5
