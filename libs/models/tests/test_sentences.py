"""Where sentences end, in whole texts and in texts that are still being written."""

from __future__ import annotations

import pytest
from headrace_models.prompting.sentences import is_prose, is_sentence, split, take_first


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("Names, e.g. Water, count. So do i.e. These.", ["Names, e.g. Water, count.", "So do i.e. These."]),
        ("It costs 3.5 coins. Really.", ["It costs 3.5 coins.", "Really."]),
        ("It is called [1]. Then it ends [2].", ["It is called [1].", "Then it ends [2]."]),
        ("It is called. [1] Then it ends.", ["It is called. [1]", "Then it ends."]),
        ("A line\nthat goes on.\n\n* A point.", ["A line that goes on.", "A point."]),
        ("", []),
    ],
)
def test_a_text_is_cut_at_its_sentences(text: str, sentences: list[str]) -> None:
    assert split(text) == sentences


def test_a_sentence_is_taken_once_its_end_is_certain() -> None:
    assert take_first("It ends here.") is None  # "here.5" may follow
    assert take_first("It ends here. N") == ("It ends here.", " N")
    assert take_first("e.g. this") is None
    assert take_first("A line\nmore") == ("A line", "more")


@pytest.mark.parametrize(
    "text", ["x ::= y and so on here.", "Too short.", "lower case begins this one here.", "No stop at its end here"]
)
def test_what_is_no_prose(text: str) -> None:
    assert not is_prose(text)


def test_half_a_sentence_is_none() -> None:
    assert is_sentence("It ends.")
    assert not is_sentence("It does not")
