"""What is told of an evaluation: an event on the bus, and one in the answer's own trace. Numbers and names only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from headrace import topics
from headrace.feedback.v1.evaluation_pb2 import AnswerEvaluated
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace.query.v1.answer_pb2 import Versioned as WireVersioned
from headrace_stream import Event
from headrace_stream.envelope import derived_id
from headrace_telemetry.names import Attribute
from headrace_telemetry.tracing import Value, extract, note, span

from headrace_feedback.evaluating.measuring import Score, Scored, Subject
from headrace_feedback.evaluating.tasks import Task
from headrace_feedback.evaluating.translate import to_score
from headrace_feedback.translate import to_timestamp


@contextmanager
def in_the_answers_trace(subject: Subject, scores: Sequence[Score]) -> Iterator[None]:
    """Opens a short span under the answer's own, with an event for each score."""
    interaction = subject.interaction
    parent = extract({"traceparent": interaction.traceparent})
    attributes: dict[Attribute, Value] = {
        "headrace.query.id": str(interaction.query_id),
        "headrace.tenant": interaction.tenant,
        "headrace.tier": interaction.tier.label,
    }
    with span("evaluate", parent=parent, attributes=attributes) as current:
        for score in scores:
            note(current, "gen_ai.evaluation.result", attributes_of(score))
        yield


def attributes_of(score: Score) -> dict[Attribute, Value]:
    """A score as semantic conventions have it."""
    found: dict[Attribute, Value] = {
        "gen_ai.evaluation.name": f"{score.evaluator}/{score.criterion}" if score.criterion else score.evaluator,
        "gen_ai.evaluation.score.value": score.value,
        "headrace.evaluator.version": score.version,
    }
    if score.label:
        found["gen_ai.evaluation.score.label"] = score.label
    if score.rubric:
        found["headrace.rubric"] = f"{score.rubric}@{score.rubric_version}"
    return found


def evaluated(task: Task, subject: Subject, scores: Sequence[Score], *, at: datetime) -> Event[Any]:
    """Says that an answer was evaluated."""
    interaction = subject.interaction
    message = AnswerEvaluated(
        tenant=task.tenant,
        query_id=str(task.query_id),
        tier=WireTier.ValueType(interaction.tier.value),
        kind=interaction.routed.kind,
        variant=WireVersioned(name=interaction.variant.name, version=interaction.variant.version),
        model=ModelIdentity(
            name=interaction.model.name, version=interaction.model.version, provider=interaction.provider
        ),
        scores=[to_score(Scored(score, task.run_id, at)) for score in scores],
        evaluated_at=to_timestamp(at),
        trace_id=interaction.trace_id,
        product=interaction.product,
    )
    measured = sorted(f"{score.evaluator}@{score.version}/{score.criterion}" for score in scores)
    return Event(
        topic=topics.ANSWER_EVALUATED,
        message=message,
        key=str(task.query_id),
        event_id=derived_id("evaluate", str(task.task_id), *measured),
        source="feedback",
        correlation_id=str(task.query_id),
        causation_id=str(task.task_id),
        tenant=task.tenant,
        tier=interaction.tier,
    )
