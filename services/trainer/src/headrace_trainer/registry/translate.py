"""Models between the registry and the contract."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1.answer_pb2 import ModelIdentity, Versioned
from headrace.training.v1 import models_pb2, training_pb2
from headrace_runtime.errors import Rejected, Violation
from headrace_telemetry.tracing import trace_id_of

from headrace_trainer.registry.models import Evidence, GateLine, GateReport, Model, Rollout, State, Variant
from headrace_trainer.registry.ports import Loaded
from headrace_trainer.running.runs import Memorisation, Target

REASON_CHARACTERS = 500


def to_model(model: Model) -> models_pb2.Model:
    """Writes a model, its gate's lines included."""
    return models_pb2.Model(
        model=model.model,
        tenant=model.tenant,
        target=training_pb2.Target.ValueType(model.target),
        state=models_pb2.ModelState.ValueType(model.state),
        run_id=str(model.run_id),
        dataset_id=model.dataset_id,
        parent=model.parent,
        grants=model.grants,
        tier=privacy_pb2.Tier.ValueType(model.tier),
        address="" if model.deleted_at else model.address,
        files=dict(model.files),
        gate=to_gate(model.gate) if model.gate else None,
        ended_by=model.ended_by,
        registered_at=stamp(model.registered_at),
        changed_at=stamp(model.changed_at),
        variant=to_variant(model.variant) if model.variant else None,
        retire_by=stamp(model.retire_by),
        erasures=model.erasures,
        replaced_by=model.replaced_by,
        rollout=to_rollout(model.rollout) if model.rollout else None,
        memorisation=to_memorisation(model.memorisation) if model.memorisation else None,
        base=ModelIdentity(name=model.base.name, version=model.base.version, provider="transformers"),
        trace_id=trace_id_of({"traceparent": model.traceparent}),
    )


def to_listed(model: Model) -> models_pb2.Model:
    """The same without the lines of its gate."""
    message = to_model(model)
    del message.gate.lines[:]
    return message


def to_serving(loaded: Loaded | None) -> models_pb2.Serving | None:
    """Writes how a model stands at those who serve it; None where nobody can say."""
    if loaded is None:
        return None
    return models_pb2.Serving(state=loaded.state, failure=loaded.failure, done=loaded.done, of=loaded.of)


def to_variant(variant: Variant) -> Versioned:
    """Writes a variant."""
    return Versioned(name=variant.name, version=str(variant.version))


def to_gate(report: GateReport) -> models_pb2.GateReport:
    """Writes what the gate said."""
    return models_pb2.GateReport(
        passed=report.passed,
        lines=[_line(line) for line in report.lines],
        champion=report.champion,
        rules_version=report.rules_version,
        judged_at=stamp(report.judged_at),
    )


def _line(line: GateLine) -> models_pb2.GateLine:
    return models_pb2.GateLine(
        rule=line.rule,
        kind=line.kind,
        candidate=line.candidate,
        champion=line.champion,
        low=line.low,
        high=line.high,
        limit=line.limit,
        passed=line.passed,
        sentence=line.sentence,
    )


def to_rollout(rollout: Rollout) -> models_pb2.Rollout:
    """Writes how a canary does."""
    return models_pb2.Rollout(
        share=rollout.share,
        answers=rollout.answers,
        champion_answers=rollout.champion_answers,
        evidence=[_evidence(one) for one in rollout.evidence],
        began_at=stamp(rollout.began_at),
        until=stamp(rollout.until),
        ended=rollout.ended,
        because=rollout.because,
    )


def _evidence(one: Evidence) -> models_pb2.Evidence:
    return models_pb2.Evidence(
        measure=one.measure,
        canary=one.canary,
        champion=one.champion,
        low=one.low,
        high=one.high,
        verdict=one.verdict,
    )


def to_memorisation(found: Memorisation) -> models_pb2.Memorisation:
    """Writes what planted secrets tell."""
    return models_pb2.Memorisation(
        planted=found.planted,
        controls=found.controls,
        exposure=found.exposure,
        controls_limit=found.controls_limit,
        extracted=found.extracted,
    )


def stamp(moment: datetime | None) -> Timestamp | None:
    """Writes a moment; None stays absent."""
    if moment is None:
        return None
    written = Timestamp()
    written.FromDatetime(moment)
    return written


def read_state(value: int) -> State | None:
    """Which state is asked for; None: all. Raises Rejected."""
    if value and value not in State._value2member_map_:
        raise Rejected(Violation("state", "unknown_value", "There is no such state of a model."))
    return State(value) if value else None


def read_target(value: int) -> Target | None:
    """What is trained, of what is asked for; None: all. Raises Rejected."""
    if value and value not in Target._value2member_map_:
        raise Rejected(Violation("target", "unknown_value", "A generator, the kinds, or the embedder."))
    return Target(value) if value else None


def read_reason(reason: str) -> str:
    """Why somebody does something. Raises Rejected."""
    if len(reason) > REASON_CHARACTERS or "\0" in reason:
        raise Rejected(Violation("reason", "too_long", f"At most {REASON_CHARACTERS} characters, none NUL."))
    return reason
