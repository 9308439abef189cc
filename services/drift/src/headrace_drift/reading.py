"""Events as what they add to the traffic. Pure: the edge brings the keys. What is opened here is dropped here.

None where an event says nothing of a user's traffic: a trial asks for nobody, a comment is no measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.feedback.v1.evaluation_pb2 import AnswerEvaluated, Score
from headrace.feedback.v1.feedback_pb2 import JUDGEMENT_KIND_THUMB, FeedbackRecorded
from headrace.query.v1.answer_pb2 import (
    GROUNDING_GROUNDED,
    GROUNDING_NOT_IN_SOURCES,
    AnswerCompleted,
    ModelIdentity,
    Versioned,
)
from headrace.query.v1.events_pb2 import QueryEmbedded
from headrace.query.v1.query_pb2 import Query
from headrace_privacy import Opener, Tier

from headrace_drift.keys import TenantKeys
from headrace_drift.measuring import Answer, Observation
from headrace_drift.measuring import Score as Measured
from headrace_drift.traffic import Cell, Seen

#: Evaluators whose figures are no scores, and are measured of every answer anyway.
_NO_SCORES = frozenset({"latency", "cost"})


def read_answer(
    message: AnswerCompleted, keys: TenantKeys, opener: Opener, *, trace_parent: str, now: datetime
) -> Seen:
    """answer.completed: the question's features, and what became of it. Raises Erased.

    The event has the answer's tier, which is the question's or stricter.
    """
    query, tier = message.query, Tier.of(message.tier)
    question, words = keys.reader.read_with_words(opener.reveal(message.question, tier).reveal())
    observation = Observation(
        query.query_id,
        _conversation(query, keys),
        tier,
        kind=message.routing.kind,
        question=question,
        answer=_answer(message),
        trace_parent=trace_parent,
    )
    cell, at = Cell(query.product, message.routing.kind), _time(message.completed_at, now)
    return Seen(query.tenant, cell, at, observation, _subject(query, keys), words if tier < Tier.TIER_2 else {})


def read_vector(message: QueryEmbedded, keys: TenantKeys, opener: Opener, *, now: datetime) -> Seen | None:
    """query.embedded: where the question's vector lies. Raises Erased."""
    query = message.query
    if query.HasField("trial"):
        return None
    vector = np.frombuffer(opener.reveal_vector(message.vector), np.float32)
    if not vector.size or not np.isfinite(vector).all():
        return None
    conversation = _conversation(query, keys)
    observation = Observation(query.query_id, conversation, Tier.of(message.tier), vector=vector)
    return Seen(query.tenant, Cell(query.product), _time(query.accepted_at, now), observation)


def read_feedback(message: FeedbackRecorded, keys: TenantKeys, *, now: datetime) -> Seen | None:
    """feedback.recorded: a thumb, once its answer is known; one that came before it is told once more then."""
    if message.kind != JUDGEMENT_KIND_THUMB or message.replaces or not message.joined:
        return None
    name = message.query_id
    observation = Observation(
        name, keys.reader.hashing.conversation(name), Tier.of(message.tier), thumb_up=message.score > 0
    )
    return Seen(message.tenant, Cell(message.product, message.query_kind), _time(message.recorded_at, now), observation)


def read_scores(message: AnswerEvaluated, keys: TenantKeys, *, now: datetime) -> Seen | None:
    """answer.evaluated: the scores of live answers by evaluators, and by judges that are calibrated."""
    scores = tuple(_scores(message))
    if not scores:
        return None
    observation = Observation(
        message.query_id, keys.reader.hashing.conversation(message.query_id), Tier.of(message.tier), scores=scores
    )
    return Seen(message.tenant, Cell(message.product, message.kind), _time(message.evaluated_at, now), observation)


def _scores(message: AnswerEvaluated) -> Iterator[Measured]:
    for score in message.scores:
        if score.run_id or not score.decides or score.evaluator in _NO_SCORES or not 0 <= score.value <= 1:
            continue
        yield Measured(_evaluator(score), score.value)


def _evaluator(score: Score) -> str:
    return f"{score.evaluator}/{score.criterion}" if score.criterion else score.evaluator


def _answer(message: AnswerCompleted) -> Answer:
    similarities = [chunk.similarity for chunk in message.retrieved if math.isfinite(chunk.similarity)]
    return Answer(
        is_grounded=message.grounding == GROUNDING_GROUNDED,
        is_refused=message.grounding == GROUNDING_NOT_IN_SOURCES,
        seconds=_seconds(message),
        cost_micro_usd=message.usage.cost_micro_usd,
        nearest=max(similarities, default=None),
        model=_named(message.model),
        prompt=_named(message.prompt),
    )


def _seconds(message: AnswerCompleted) -> float:
    if not (message.HasField("completed_at") and message.query.HasField("accepted_at")):
        return 0.0
    began, ended = message.query.accepted_at, message.completed_at
    return max(0.0, ended.seconds - began.seconds + (ended.nanos - began.nanos) / 1e9)


def _named(versioned: ModelIdentity | Versioned) -> str:
    return f"{versioned.name}@{versioned.version}" if versioned.name else ""


def _conversation(query: Query, keys: TenantKeys) -> int:
    return keys.reader.hashing.conversation(
        query.query_id, conversation_id=query.conversation_id, subject=query.subject
    )


def _subject(query: Query, keys: TenantKeys) -> bytes | None:
    return keys.names.subject(query.subject) if query.subject else None


def _time(stamp: Timestamp, now: datetime) -> datetime:
    """The event's own time; when it was published, where it has none or one that has not come yet."""
    if not stamp.ByteSize():
        return now
    return min(stamp.ToDatetime(tzinfo=UTC), now)
