"""Making the topics that the contracts name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from headrace import topics
from headrace.topics import Topic
from headrace_stream.security import OPEN, BusSecurity
from headrace_stream.trimming import TRIMMED

from headrace_embedded.errors import NotReady


async def create_topics(bootstrap: str, *, security: BusSecurity = OPEN) -> list[str]:
    """Makes every topic of the contracts and its dead letters, and returns the names of those that were missing.

    What exists is left as it is. Raises NotReady when the broker refuses one.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=20_000, **security.options())
    await admin.start()
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in every_topic() if topic.name not in existing]
        if missing:
            _check(await admin.create_topics([_new(topic) for topic in missing]))
    finally:
        await admin.close()
    return [topic.name for topic in missing]


def every_topic() -> list[Topic[Any]]:
    """Returns the topics and, beside each, its dead letters."""
    return [each for topic in topics.ALL for each in (topic, *_dead_letters(topic))]


def trimmed_topics() -> set[str]:
    """Returns the topics that an erasure takes records off: those with text as it came, and those that name whom."""
    raw = (topics.QUERY_SUBMITTED, topics.DOCUMENT_SUBMITTED, topics.FEEDBACK_SUBMITTED)
    return {topic.name for topic in (*raw, topics.ERASURE_REQUESTED, topics.ERASURE_VERIFYING)}


def _dead_letters(topic: Topic[Any]) -> Iterable[Topic[Any]]:
    return (topic.dead_letters,) if topic.has_dead_letters else ()


def _new(topic: Topic[Any]) -> NewTopic:
    settings = {
        "retention.ms": str(topic.retention_hours * 3_600_000),
        # The contract bounds the message; a record's headers and framing come on top.
        "max.message.bytes": str(topic.max_message_bytes + 65_536),
        **(TRIMMED if topic.name in trimmed_topics() else {}),
    }
    return NewTopic(topic.name, topic.partitions, 1, topic_configs=settings)


def _check(response: Any) -> None:
    for name, code, *_ in response.topic_errors:
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise NotReady(f"Kafka refused to make the topic {name}: {for_code(code).__name__}")
