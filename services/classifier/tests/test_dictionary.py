"""A tenant's identifiers are found whatever their case, as whole words."""

from __future__ import annotations

import time

import pytest
from headrace_classifier.dictionary import EMPTY, Dictionary
from hypothesis import given
from hypothesis import strategies as st

ONE = Dictionary.of(["Bluebird", "ACME-4711", "Projekt Nordwind", "#hydra", "Straße 9"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the bluebird release", ["bluebird"]),
        ("BLUEBIRD, bluebird.", ["BLUEBIRD", "bluebird"]),
        ("Bluebirds and bluebird_2 and xbluebird", []),
        ("see acme-4711 and ACME-47110", ["acme-4711"]),
        ("about projekt\nnordwind", ["projekt\nnordwind"]),
        ("in #Hydra now", ["#Hydra"]),
        ("hydra", []),
        ("STRASSE 9, straße 9", ["straße 9"]),
        ("", []),
    ],
)
def test_places(text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in ONE.places(text)] == found


def test_the_longest_of_several_at_one_place() -> None:
    both = Dictionary.of(["north", "north star"])
    assert list(both.places("north star")) == [(0, 10)]


def test_what_is_no_name_is_left_out() -> None:
    assert len(Dictionary.of(["", "  ", "--", "x" * 300])) == 0
    assert list(EMPTY.places("anything")) == []


def test_says_nothing_of_its_entries() -> None:
    assert repr(ONE) == "<dictionary of 5 identifiers>"


def test_thousands_of_entries_cost_hardly_more_than_one() -> None:
    many = Dictionary.of(f"system {number} gateway" for number in range(20_000))
    text = "system 77 gateway, system x gateway " * 2_000
    began = time.process_time()
    assert sum(1 for _ in many.places(text)) == 2_000
    assert time.process_time() - began < 5


@given(st.text(max_size=60), st.text(max_size=12))
def test_never_raises_and_stays_within_the_text(text: str, identifier: str) -> None:
    assert all(0 <= start < end <= len(text) for start, end in Dictionary.of([identifier, "x"]).places(text))
