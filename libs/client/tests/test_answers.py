from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.privacy.v1.privacy_pb2 import TIER_2, ProtectedText
from headrace.query.v1.answer_pb2 import (
    GROUNDING_EXTRACTED,
    GROUNDING_GROUNDED,
    GROUNDING_NOT_IN_SOURCES,
    GROUNDING_UNSPECIFIED,
    Answer,
    AnswerCompleted,
    Grounding,
)
from headrace.query.v1.query_pb2 import Hop, Query
from headrace_client.answers import answer_json, answer_lines, to_answer
from headrace_client.tiers import parse_tier, tier_label, tier_word


@pytest.mark.parametrize(
    ("grounding", "words", "label", "grounded"),
    [
        (GROUNDING_GROUNDED, "supported by the sources", "grounded", True),
        (GROUNDING_EXTRACTED, "in the sources' own sentences", "extracted", True),
        (GROUNDING_NOT_IN_SOURCES, "the sources don't say", "not_in_sources", False),
        (GROUNDING_UNSPECIFIED, "not stated", "unknown", False),
        (99, "not stated", "unknown", False),
    ],
)
def test_grounding_in_words(grounding: Grounding.ValueType, words: str, label: str, grounded: bool) -> None:
    answer = Answer(grounding=grounding)
    assert f"Grounding  {words}" in answer_lines(answer, query_id="q")
    told = answer_json(answer, query_id="q")
    assert (told["grounding"], told["grounded"]) == (label, grounded)


def test_an_answer_without_anything_is_still_told() -> None:
    lines = answer_lines(Answer(), query_id="q", trace_id="t")
    assert not any("Sources" in line or "Time" in line for line in lines)
    assert lines[-1] == "Trace      t"


def test_an_unknown_hop_comes_after_the_known_ones() -> None:
    timings = {"total": 9.0, "bus": 3.0, "new": 2.0, "inference": 3.0, "ingest": 1.0}
    assert list(answer_json(Answer(timings_ms=timings), query_id="q")["timings_ms"]) == [
        "ingest",
        "inference",
        "new",
        "bus",
        "total",
    ]


def test_the_event_that_products_read_gives_the_same_answer() -> None:
    def at(milliseconds: int) -> Timestamp:
        return Timestamp(seconds=100, nanos=milliseconds * 1_000_000)

    hops = [Hop(service="ingest", received_at=at(10), finished_at=at(12))]
    event = AnswerCompleted(
        query=Query(query_id="q", submitted_at=at(0), accepted_at=at(12), hops=hops),
        text=ProtectedText(plain="It rebinds."),
        tier=TIER_2,
        completed_at=at(500),
    )
    answer = to_answer(event)
    assert (answer.text, answer.tier) == ("It rebinds.", TIER_2)
    assert dict(answer.timings_ms) == {"ingest": 2.0, "bus": 498.0, "total": 500.0}


@pytest.mark.parametrize("word", ["tier-1", "tier_1", "TIER_1"])
def test_a_tier_is_read_in_either_spelling(word: str) -> None:
    assert (tier_word(parse_tier(word)), tier_label(parse_tier(word))) == ("tier-1", "tier_1")


def test_an_unknown_tier_is_refused_in_and_strictest_out() -> None:
    with pytest.raises(ValueError, match="public, tier-1 or tier-2"):
        parse_tier("secret")
    assert tier_word(99) == "tier-2"  # type: ignore[arg-type]
