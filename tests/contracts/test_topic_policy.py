"""The topics hold to the policy, and each rule of the policy catches what it is there for."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from headrace import topics as generated

from tests.contracts import policy

TOPICS = policy.load()


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_holds_to_the_policy(name: str) -> None:
    assert policy.problems(TOPICS[name]) == []


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_is_named_as_its_file(name: str) -> None:
    assert TOPICS[name]["name"] == name


def test_the_code_knows_the_same_topics() -> None:
    assert {t.name for t in generated.ALL} == set(TOPICS)


def test_dead_letters_are_topics_too() -> None:
    dead = [t.dead_letters for t in generated.ALL if t.has_dead_letters]
    assert all(d.name.endswith(".dlq") and not d.has_dead_letters for d in dead)
    with pytest.raises(LookupError):
        _ = generated.ANSWER_CHUNK.dead_letters


def topic(original: str, /, **changes: Any) -> policy.Topic:
    return deepcopy(TOPICS[original]) | changes


def without(name: str, key: str) -> policy.Topic:
    return {k: v for k, v in TOPICS[name].items() if k != key}


#: A question of TIER_2 in the clear.
CLEAR = TOPICS["query.classified"]["example"] | {"tier": "TIER_2"}

SEEDED = [
    (without("query.submitted", "tier"), "tier: missing"),
    (topic("query.submitted", retention="7d"), "retention: unknown"),
    (topic("query.submitted", name="QuerySubmitted"), "name: write it as"),
    (topic("query.submitted", description="A product asks"), "description: one sentence"),
    (topic("query.submitted", message="headrace.query.v1.QuerySubmited"), "message: no"),
    (topic("query.submitted", example={"queryID": "1"}), "example: "),
    (topic("query.submitted", example={}), "example: is an empty message"),
    (topic("query.submitted", max_message_bytes=10), "example: is larger"),
    (topic("query.submitted", key="query.query_id"), "key: query.query_id is no field"),
    (topic("query.accepted", key="query.accepted_at"), "key: query.accepted_at is no field"),
    (topic("query.submitted", formats=["protobuf"]), "formats: "),
    (topic("query.accepted", formats=["protobuf", "json"]), "formats: "),
    (topic("query.accepted", producers=["ingst"]), "producers: ingst is not one of"),
    (topic("query.refused", consumers=[]), "consumers: nobody"),
    (topic("query.classified", retention_hours=720), "retention_hours: one of"),
    (topic("query.classified", max_message_bytes=10**9), "max_message_bytes: "),
    (topic("query.classified", partitions=0), "partitions: "),
    (topic("query.classified", tier="tier_3"), "tier: one of"),
    (topic("query.classified", text="clear"), "text: one of"),
    (topic("query.accepted", retention_hours=168), "retention_hours: at most 24"),
    (topic("query.accepted", consumers=["classifier", "inference"]), "consumers: inference may not read raw text"),
    (topic("query.submitted", text="sealed"), "text: headrace.query.v1.QuerySubmitted does not hold"),
    (topic("query.classified", text="none"), "text: headrace.query.v1.QueryClassified holds"),
    (topic("query.accepted", text="sealed"), "text: raw_sealed is what the classifier alone reads"),
    (topic("query.classified", text="raw_sealed"), "text: raw_sealed is what the classifier alone reads"),
    (
        topic("query.accepted", example=TOPICS["query.accepted"]["example"] | {"raw": {"plain": "x"}}),
        "example: raw is in",
    ),
    (topic("query.classified", example=CLEAR), "example: text is in the clear"),
    (topic("query.classified", dead_letters=False), "dead_letters: true"),
    (topic("query.refused", dead_letters=True), "dead_letters: false"),
    (topic("query.refused", name="query.denied"), "name: headrace.topics.ALL lacks it"),
    (topic("query.classified", retention_hours=24), "retention_hours: headrace.topics has 168"),
    (topic("query.submitted", formats=["protobuf"], producers=["ingest"]), "formats: headrace.topics disagrees"),
]


@pytest.mark.parametrize(("tampered", "problem"), SEEDED, ids=[problem for _, problem in SEEDED])
def test_a_tampered_topic_is_caught(tampered: policy.Topic, problem: str) -> None:
    assert any(found.startswith(problem) for found in policy.problems(tampered)), policy.problems(tampered)


def test_every_rule_has_a_tampered_topic_that_it_catches() -> None:
    for rule in (policy.has_every_key, *policy.RULES):
        tampered = [t for t, _ in SEEDED if t.keys() >= policy.KEYS or rule is policy.has_every_key]
        assert any(list(rule(t)) for t in tampered), f"{rule.__name__}: seed a bug for it"
