import zlib

import pytest
from headrace_drift.measuring import Broken, Lexicon
from headrace_privacy import Tier
from hypothesis import given, settings
from hypothesis import strategies as st

from services.drift.tests.measuring.traffic import HASHING, READER

CANARY = "xylographicwolverine"
TAG = HASHING.word(CANARY)


def say(
    lexicon: Lexicon, text: str, *, conversation: int, tier: Tier = Tier.TIER_1, before: Lexicon | None = None
) -> None:
    # The group is that of the hash's upper five bits.
    lexicon.add(READER.words(text), tier=tier, conversation=(conversation % 32) << 59, before=before)


def filled(lexicon: Lexicon, *, questions: int, conversations: int, tier: Tier = Tier.TIER_1) -> Lexicon:
    """Enough other talk that all is put in order, and the canary in some questions of some conversations."""
    for n in range(questions):
        say(lexicon, f"what about {CANARY} number {n}", conversation=n % conversations, tier=tier)
        say(lexicon, " ".join(f"word{n}{k}" for k in range(80)), conversation=n)
    return lexicon


def test_a_word_gets_in_once_many_said_it() -> None:
    lexicon = filled(Lexicon(), questions=7, conversations=3)
    assert lexicon.word(TAG) == CANARY
    assert lexicon.word(HASHING.word("word00")) == ""


@pytest.mark.parametrize(
    ("questions", "conversations", "tier"),
    [(4, 4, Tier.TIER_1), (50, 2, Tier.TIER_1), (50, 1, Tier.PUBLIC), (50, 20, Tier.TIER_2)],
)
def test_a_word_of_few_or_of_customers_stays_out(questions: int, conversations: int, tier: Tier) -> None:
    lexicon = filled(Lexicon(), questions=questions, conversations=conversations, tier=tier)
    assert lexicon.word(TAG) == ""
    data = lexicon.to_bytes()
    for form in (data, zlib.decompress(data[10:]), repr(lexicon).encode()):
        assert CANARY.encode() not in form


def test_customers_words_do_not_help_a_word_in() -> None:
    lexicon = filled(Lexicon(), questions=40, conversations=20, tier=Tier.TIER_2)
    say(lexicon, CANARY, conversation=1)
    say(lexicon, CANARY, conversation=2)
    assert lexicon.word(TAG) == ""


def test_days_before_count() -> None:
    """Four questions yesterday and as many today: together enough. Neither day would do alone."""
    yesterday, today = filled(Lexicon(), questions=4, conversations=4), Lexicon()
    known = Lexicon.merged([yesterday])
    for n in range(4):
        say(today, f"again {CANARY} and {n}", conversation=n, before=known)
    assert yesterday.word(TAG) == ""
    assert today.word(TAG) == CANARY
    assert Lexicon.merged([yesterday, today]).word(TAG) == CANARY


@pytest.mark.parametrize("word", ["a" * 41, "0" * 41])
def test_a_word_that_is_none_stays_out(word: str) -> None:
    lexicon = Lexicon()
    for n in range(60):
        say(lexicon, f"{word}x", conversation=n % 20)
        say(lexicon, " ".join(f"word{n}{k}" for k in range(80)), conversation=n % 20)
    assert lexicon.word(HASHING.word(f"{word}x")) == ""


talk = st.lists(st.tuples(st.sampled_from(["open", "file", "select"]), st.integers(0, 5)), max_size=60)


def said(found: list[tuple[str, int]]) -> Lexicon:
    lexicon = Lexicon()
    for word, conversation in found:
        say(lexicon, word, conversation=conversation)
    return lexicon


@given(talk, talk, talk)
@settings(max_examples=50, deadline=None)
def test_merging_is_commutative_and_associative(
    a: list[tuple[str, int]], b: list[tuple[str, int]], c: list[tuple[str, int]]
) -> None:
    x, y, z = said(a), said(b), said(c)
    together = Lexicon.merged([x, y, z])
    assert Lexicon.merged([z, y, x]) == together
    assert Lexicon.merged([Lexicon.merged([x, y]), z]) == together == Lexicon.merged([x, Lexicon.merged([y, z])])


def test_bytes_come_back_and_broken_ones_do_not() -> None:
    lexicon = filled(Lexicon(), questions=7, conversations=3)
    data = lexicon.to_bytes()
    assert Lexicon.from_bytes(data) == lexicon
    assert Lexicon.from_bytes(data).word(TAG) == CANARY
    for broken in (b"", data[:-3], b"HRDS" + data[4:]):
        with pytest.raises(Broken):
            Lexicon.from_bytes(broken)
