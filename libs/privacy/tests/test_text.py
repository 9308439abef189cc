"""Text that never shows itself, by whichever way it is turned into a string."""

from __future__ import annotations

import json
import logging
import traceback
from dataclasses import dataclass

import pytest
from headrace_privacy import Text, Tier
from hypothesis import given
from hypothesis import strategies as st

CANARY = "canary-hunter2"
SECRET = Text(CANARY, Tier.TIER_2)
SHOWN = "<text 14 chars tier_2>"


@dataclass(frozen=True)
class Holder:
    text: Text


@pytest.mark.parametrize(
    "shown",
    [
        repr(SECRET),
        str(SECRET),
        f"{SECRET}",
        f"{SECRET!r}",
        f"{SECRET!s}",
        "{}".format(SECRET),  # noqa: UP032 - one of the ways
        "%s" % SECRET,  # noqa: UP031 - one of the ways
        "%r" % SECRET,  # noqa: UP031 - one of the ways
        repr([SECRET]),
        repr({"text": SECRET}),
        repr(Holder(SECRET)),
        f"{SECRET:>30}",
    ],
)
def test_no_string_of_it_holds_it(shown: str) -> None:
    assert CANARY not in shown
    assert SHOWN in shown


def test_no_error_and_no_log_line_holds_it(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("cannot do it", SECRET, Holder(SECRET))
    logging.getLogger("test").error("failed for %s", SECRET, exc_info=error)
    told = "".join(traceback.format_exception(error)) + str(error) + repr(error)
    assert CANARY not in told + caplog.text
    assert SHOWN in told
    assert SHOWN in caplog.text


def test_it_cannot_be_serialized_by_accident() -> None:
    with pytest.raises(TypeError):
        json.dumps({"text": SECRET})
    with pytest.raises(TypeError):
        "question: " + SECRET  # type: ignore[operator]


def test_it_is_revealed_on_demand_only() -> None:
    assert SECRET.reveal() == CANARY
    assert len(SECRET) == 14
    assert Text("a", Tier.PUBLIC) == Text("a", Tier.PUBLIC) != Text("a", Tier.TIER_1)


@given(st.text(min_size=1), st.sampled_from(Tier))
def test_whatever_it_holds_only_length_and_tier_show(value: str, tier: Tier) -> None:
    assert repr(Text(value, tier)) == str(Text(value, tier)) == f"<text {len(value)} chars {tier.label}>"


def test_a_text_that_shows_itself_is_caught() -> None:
    """A seeded bug: dataclass's own repr."""

    @dataclass(frozen=True)
    class Plain:
        _value: str
        tier: Tier

    assert CANARY in repr(Plain(CANARY, Tier.TIER_2))
