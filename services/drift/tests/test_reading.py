"""What each event says of the traffic, and what it does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace_drift.keys import Keys, TenantKeys
from headrace_drift.reading import read_answer, read_feedback, read_scores, read_vector
from headrace_drift.traffic import Cell, Seen
from headrace_privacy import Erased, Opener, Owner, Text, Tier, Vault
from headrace_privacy.memory import MemoryKeyring

from services.drift.tests.makers import START, answer, embedded, evaluated, thumb, unit_vector

NOW = START + timedelta(hours=1)


@pytest.fixture
async def keys() -> TenantKeys:
    return await Keys(Vault(MemoryKeyring(), clock=lambda: 0.0)).of("demo")


def read(keys: TenantKeys, message: Any, opener: Opener | None = None) -> Seen:
    return read_answer(message, keys, opener or Opener(), trace_parent="00-1-2-01", now=NOW)


async def test_an_answer_says_how_it_was_asked_and_what_became_of_it(keys: TenantKeys) -> None:
    seen = read(keys, answer("demo", "How do loops work?", grounding="GROUNDING_EXTRACTED"))
    observation, outcome = seen.observation, seen.observation.answer
    assert (seen.tenant, seen.cell, seen.at) == ("demo", Cell("docs-search", "how-to"), START)
    assert observation.question is not None
    assert (observation.question.characters, observation.question.sentences) == (18, (4,))
    assert outcome is not None
    assert (outcome.is_grounded, outcome.is_refused, outcome.nearest) == (False, False, 0.7)
    assert (outcome.model, outcome.prompt, outcome.cost_micro_usd) == ("SmolLM2@0123", "grounded-answer@1", 12)
    assert outcome.seconds == pytest.approx(1.126)
    assert observation.trace_parent == "00-1-2-01"


async def test_words_in_the_clear_are_of_at_most_tier_1(keys: TenantKeys) -> None:
    assert set(read(keys, answer("demo", "Nonlocal names")).words.values()) == {"nonlocal", "names"}
    assert read(keys, answer("demo", "Nonlocal names", tier="TIER_2")).words == {}
    assert read(keys, answer("demo", "Nonlocal names", tier="TIER_UNSPECIFIED")).words == {}


async def test_nothing_of_the_text_is_left_in_what_is_printed(keys: TenantKeys) -> None:
    seen = read(keys, answer("demo", "Xyzzyplugh", query={"subject": "mallory"}))
    assert "xyzzy" not in repr(seen).lower()
    assert "mallory" not in repr(seen)


async def test_an_end_user_is_a_hash(keys: TenantKeys) -> None:
    named = read(keys, answer("demo", query={"subject": "user-7"}))
    assert named.subject == keys.names.subject("user-7")
    assert read(keys, answer("demo")).subject is None


async def test_queries_of_a_conversation_hang_together(keys: TenantKeys) -> None:
    one, two = (read(keys, answer("demo", query={"conversationId": "c"})) for _ in range(2))
    alone = read(keys, answer("demo"))
    assert one.observation.conversation == two.observation.conversation != alone.observation.conversation


async def test_a_sealed_question_is_opened_and_an_erased_one_is_not(keys: TenantKeys) -> None:
    keyring = MemoryKeyring()
    vault = Vault(keyring, clock=lambda: 0.0)
    owner = Owner.subject("demo", "user-7")
    sealed = (await vault.seal_for(owner)).protect(Text("How do loops work?", Tier.TIER_2))
    message = answer("demo", tier="TIER_2")
    message.question.CopyFrom(sealed)
    seen = read(keys, message, await vault.opener_for(message.question))
    assert seen.observation.question is not None
    assert seen.observation.question.words.size == 4
    with pytest.raises(Erased):
        read(keys, message, Opener())
    assert isinstance(sealed, ProtectedText)


async def test_a_vector_says_where_and_nothing_else(keys: TenantKeys) -> None:
    seen = read_vector(embedded("demo", unit_vector(1)), keys, Opener(), now=NOW)
    assert seen is not None
    assert seen.cell == Cell("docs-search")
    assert seen.observation.vector is not None
    assert (seen.observation.vector.size, seen.observation.question) == (8, None)


@pytest.mark.parametrize(
    "message",
    [
        embedded("demo", unit_vector(1), query={"trial": {"runId": "r"}}),
        embedded("demo", []),
        embedded("demo", [float("nan")] * 8),
    ],
    ids=["a trial", "none", "no number"],
)
async def test_a_vector_that_says_nothing_is_left_out(keys: TenantKeys, message: Any) -> None:
    assert read_vector(message, keys, Opener(), now=NOW) is None


@pytest.mark.parametrize(("score", "is_up"), [(1, True), (-1, False)])
async def test_a_thumb_points_up_or_down(keys: TenantKeys, score: int, is_up: bool) -> None:
    seen = read_feedback(thumb("demo", score), keys, now=NOW)
    assert seen is not None
    assert (seen.observation.thumb_up, seen.cell) == (is_up, Cell("docs-search", "how-to"))


@pytest.mark.parametrize("changes", [{"kind": "JUDGEMENT_KIND_COMMENT"}, {"replaces": True}, {"joined": False}])
async def test_other_judgements_are_left_out(keys: TenantKeys, changes: dict[str, Any]) -> None:
    assert read_feedback(thumb("demo", **changes), keys, now=NOW) is None


async def test_scores_are_those_of_live_answers_that_may_decide(keys: TenantKeys) -> None:
    message = evaluated(
        "demo",
        {"value": 0.25},
        {"evaluator": "judge:fair", "criterion": "correct", "value": 1.0},
        {"evaluator": "judge:odd", "decides": False},
        {"runId": "a-run"},
        {"evaluator": "latency", "value": 0.9},
        {"value": 7.0},
    )
    seen = read_scores(message, keys, now=NOW)
    assert seen is not None
    assert [(one.evaluator, one.value) for one in seen.observation.scores] == [
        ("groundedness", 0.25),
        ("judge:fair/correct", 1.0),
    ]
    assert read_scores(evaluated("demo", {"decides": False}), keys, now=NOW) is None


async def test_a_time_that_has_not_come_yet_counts_as_now(keys: TenantKeys) -> None:
    assert read(keys, answer("demo", at=NOW + timedelta(days=1))).at == NOW
