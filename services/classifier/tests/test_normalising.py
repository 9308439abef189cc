"""Disguises come off, and every place is found again in the text as it stands."""

from __future__ import annotations

import base64

import pytest
from headrace_classifier.normalising import pieces, views
from hypothesis import given
from hypothesis import strategies as st

MAIL = "anna@acme.de"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("an\u200bna@ac\u2060me.de", MAIL),
        ("a\x00n\x00n\x00a\x00@acme.de", MAIL),
        ("ａｎｎａ＠ａｃｍｅ．ｄｅ", MAIL),
        ("аnnа@асmе.dе", MAIL),
        ("anna%40acme.de", MAIL),
        ("a n n a @ a c m e . d e", MAIL),
        ("anna (at) acme [dot] de", MAIL),
        ("call four one five, five five five two six seven one now", "4155552671"),
        ("４１１１ １１１１", "4111 1111"),
    ],
)
def test_reads_through(text: str, read: str) -> None:
    assert any(read in view.text for view in views(text))


@pytest.mark.parametrize(
    "text", ["plain words", "Привет, мир", "Ελληνικά κείμενα", "naïve café – “quoted”", "100 %", "a b c"]
)
def test_leaves_honest_texts_alone(text: str) -> None:
    assert [view.text for view in views(text) if view.text != text] == []


def test_places_point_into_the_text_as_it_stands() -> None:
    text = "x аn\u200bna%40acme.de y"
    found = [
        text[slice(*view.origin(view.text.index(MAIL), view.text.index(MAIL) + len(MAIL)))]
        for view in views(text)
        if MAIL in view.text
    ]
    assert found == ["аn\u200bna%40acme.de"]


def test_opens_base64_that_holds_a_text_and_nothing_else() -> None:
    packed = base64.b64encode(b"write to anna@acme.de").decode()
    wide = base64.b64encode("anna@acme.de".encode("utf-16-le")).decode()
    assert [piece.text for piece in pieces(f"a {packed} b {wide}")] == ["write to anna@acme.de", MAIL]
    assert list(pieces("internationalisation 9f86d081884c7d659a2feaa0c55ad015 /usr/lib/python3/dist-packages")) == []


@given(st.text(max_size=200))
def test_every_place_lies_in_the_text(text: str) -> None:
    for view in views(text):
        assert len(view.text) == len(view.starts) == len(view.ends)
        for place in range(len(view.text)):
            start, end = view.origin(place, place + 1)
            assert 0 <= start < end <= len(text)
