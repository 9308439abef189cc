"""What blank lines set apart, and what belongs together."""

from __future__ import annotations

import pytest
from headrace_embedder.blocks import blocks, runs
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(st.sampled_from("a `~#\n\r\t"), max_size=60))
def test_joined_the_blocks_are_the_text(text: str) -> None:
    assert "".join(blocks(text)) == text
    assert "".join(part for run in runs(blocks(text)) for part in run) == text


def test_fenced_code_is_one_block() -> None:
    assert blocks("a\n\n```\nb\n\nc\n```\n\nd") == ["a\n\n", "```\nb\n\nc\n```\n\n", "d"]


@pytest.mark.parametrize(
    ("parts", "together"),
    [
        (["a\n\n", "b\n\n"], [["a\n\n"], ["b\n\n"]]),
        (["a:\n\n", "b\n\n"], [["a:\n\n", "b\n\n"]]),
        (["term\n\n", "   body\n\n", "   more\n\n", "term"], [["term\n\n", "   body\n\n"], ["   more\n\n"], ["term"]]),
        (["term\n\n", "   body\n\n", "      code"], [["term\n\n", "   body\n\n", "      code"]]),
        (["\n\n", "a"], [["\n\n"], ["a"]]),
    ],
)
def test_what_leads_in_stays_with_what_follows(parts: list[str], together: list[list[str]]) -> None:
    assert runs(parts) == together
