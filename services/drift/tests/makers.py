"""Answers, vectors and feedback, whole by default, and traffic of them: a test changes what it is about."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from google.protobuf import json_format
from headrace import topics
from headrace.feedback.v1.evaluation_pb2 import AnswerEvaluated
from headrace.feedback.v1.feedback_pb2 import FeedbackRecorded
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryEmbedded
from headrace_privacy.sealing import plain_vector
from headrace_stream import Delivery
from headrace_stream.memory import delivered

#: A Monday, midnight.
START = datetime(2026, 11, 16, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-{:016x}-01"
_PYTHON = "function class module import decorator generator yield loop list dict string error except async"
_SQL = "select join table index column query schema view trigger commit rollback primary foreign key"
PYTHON, SQL = _PYTHON.split(), _SQL.split()


def answer(tenant: str, question: str = "What is a headrace?", **changes: Any) -> AnswerCompleted:
    """An answer, supported and near. `changes` are fields in canonical JSON."""
    at = changes.pop("at", START)
    query_id = str(changes.pop("query_id", "") or uuid4())
    whole = {
        "query": {
            "queryId": query_id,
            "tenant": tenant,
            "product": "docs-search",
            "conversationId": query_id,
            "acceptedAt": (at - timedelta(seconds=1, milliseconds=7 * len(question))).isoformat(),
        }
        | changes.pop("query", {}),
        "question": {"plain": question, "characters": len(question)},
        "tier": "TIER_1",
        "grounding": "GROUNDING_GROUNDED",
        "retrieved": [{"chunkId": "a", "similarity": 0.7}, {"chunkId": "b", "similarity": 0.5}],
        "model": {"name": "SmolLM2", "version": "0123"},
        "prompt": {"name": "grounded-answer", "version": "1"},
        "usage": {"costMicroUsd": "12"},
        "routing": {"kind": "how-to"},
        "completedAt": at.isoformat(),
    }
    return json_format.ParseDict(whole | changes, AnswerCompleted())


def embedded(tenant: str, values: Sequence[float], **changes: Any) -> QueryEmbedded:
    """A question's vector."""
    at = changes.pop("at", START)
    whole = {
        "query": {"queryId": str(uuid4()), "tenant": tenant, "product": "docs-search", "acceptedAt": at.isoformat()}
        | changes.pop("query", {}),
        "tier": "TIER_1",
    }
    message = json_format.ParseDict(whole | changes, QueryEmbedded())
    message.vector.CopyFrom(plain_vector(values))
    return message


def thumb(tenant: str, score: int = 1, **changes: Any) -> FeedbackRecorded:
    """A thumb."""
    whole = {
        "feedbackId": str(uuid4()),
        "tenant": tenant,
        "queryId": str(uuid4()),
        "kind": "JUDGEMENT_KIND_THUMB",
        "score": score,
        "tier": "TIER_1",
        "joined": True,
        "product": "docs-search",
        "queryKind": "how-to",
        "recordedAt": changes.pop("at", START).isoformat(),
    }
    return json_format.ParseDict(whole | changes, FeedbackRecorded())


def evaluated(tenant: str, *scores: dict[str, Any], **changes: Any) -> AnswerEvaluated:
    """Scores of an answer."""
    whole = {
        "tenant": tenant,
        "queryId": str(uuid4()),
        "tier": "TIER_1",
        "kind": "how-to",
        "product": "docs-search",
        "scores": [{"evaluator": "groundedness", "value": 0.9, "decides": True} | score for score in scores],
        "evaluatedAt": changes.pop("at", START).isoformat(),
    }
    return json_format.ParseDict(whole | changes, AnswerEvaluated())


def arrived(message: Any, *, event_id: UUID | None = None, trace: str = "") -> Delivery[Any]:
    """A delivery of it, published now."""
    of = {
        AnswerCompleted: topics.ANSWER_COMPLETED,
        QueryEmbedded: topics.QUERY_EMBEDDED,
        FeedbackRecorded: topics.FEEDBACK_RECORDED,
        AnswerEvaluated: topics.ANSWER_EVALUATED,
    }
    return delivered(
        message,
        of[type(message)],
        service="drift",
        event_id=event_id or uuid4(),
        headers={"traceparent": trace} if trace else {},
        received_at=START + timedelta(days=365),
    )


def questions(words: Sequence[str], count: int, *, begin: datetime, seconds: float, seed: int) -> Iterator[Any]:
    """Times and questions in these words, spread evenly."""
    drawn = random.Random(seed)
    for place in range(count):
        said = " ".join(drawn.choices(words, weights=[1 / (n + 1) for n in range(len(words))], k=drawn.randint(5, 11)))
        yield begin + timedelta(seconds=seconds * place / count), f"How do I use {said}?"


def unit_vector(seed: int) -> list[float]:
    """Eight numbers of length 1."""
    drawn = np.random.default_rng(seed).normal(size=8)
    return (drawn / np.linalg.norm(drawn)).astype(float).tolist()
