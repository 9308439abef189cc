"""What services consume and emit is what protos/topics says, no more and no less."""

from __future__ import annotations

import pytest

from tests.contracts import edges, policy

TOPICS = policy.load()
SERVICES = sorted(policy.services())


def of(service: str) -> edges.Edges:
    return edges.edges_of(policy.ROOT / "services" / service / "src")


def declared(service: str, role: str) -> set[str]:
    return {name for name, topic in TOPICS.items() if service in topic[role]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_consumes_what_the_topics_say(service: str) -> None:
    assert of(service).consumed == declared(service, "consumers")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_emits_what_the_topics_say(service: str) -> None:
    assert of(service).emitted == declared(service, "producers")


@pytest.mark.parametrize("service", SERVICES)
def test_every_mention_of_a_topic_is_clear(service: str) -> None:
    assert of(service).unclear == []


@pytest.mark.parametrize("service", SERVICES)
def test_what_may_be_lost_is_only_watched(service: str) -> None:
    assert not of(service).subscribed & policy.LOSSY


@pytest.mark.parametrize(
    ("source", "consumed", "emitted"),
    [
        ("bus.subscribe(topics.QUERY_ACCEPTED, handle, in_flight=8)", {"query.accepted"}, set()),
        ("bus.watch(topics.ANSWER_CHUNK, show)", {"answer.chunk"}, set()),
        ("unit.emit(delivery.follow(topics.ANSWER_COMPLETED, message))", set(), {"answer.completed"}),
        ("Event(topic=topics.QUERY_SUBMITTED, key='k')", set(), {"query.submitted"}),
        ("WAY = (topics.QUERY_ACCEPTED, topics.QUERY_CLASSIFIED)", set(), set()),
        ("if record.topic == topics.QUERY_ACCEPTED.name: pass", set(), set()),
        ("for topic in topics.ALL: pass", set(), set()),
    ],
)
def test_each_use_is_told_apart(source: str, consumed: set[str], emitted: set[str]) -> None:
    found = edges.read([source])
    assert (found.consumed, found.emitted, found.unclear) == (consumed, emitted, [])


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("from headrace.topics import QUERY_ACCEPTED", "write `from headrace import topics`"),
        ("mine = topics.QUERY_ACCEPTED", "use topics.QUERY_ACCEPTED directly"),
        ("bus.subscribe(topics.QUERY_ACCEPTD, handle)", "there is no topics.QUERY_ACCEPTD"),
    ],
)
def test_what_cannot_be_told_is_a_problem(source: str, problem: str) -> None:
    assert any(problem in found for found in edges.read([source]).unclear)


def test_a_consumer_that_the_topics_do_not_name_is_caught() -> None:
    stranger = edges.read(["bus.subscribe(topics.QUERY_ACCEPTED, handle)"])
    assert stranger.consumed != declared("feedback", "consumers")
