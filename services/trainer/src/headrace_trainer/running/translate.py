"""Between the wire and runs. Whatever is wrong with a request is found here, all of it at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from headrace import topics
from headrace.drift.v1.drift_pb2 import ALERT_STATE_CLOSED, Alert, DriftDetected
from headrace.drift.v1.drift_pb2 import Lever as WireLever
from headrace.feedback.v1.datasets_pb2 import DATASET_STATE_ERASED, DatasetEnded, DatasetQuery
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace.training.v1 import service_pb2, training_pb2
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound, Rejected, Violation
from headrace_stream import Event
from headrace_stream.envelope import derived_id
from headrace_telemetry.tracing import trace_id_of

from headrace_trainer.learning import job
from headrace_trainer.running import rules as defaults
from headrace_trainer.running.asking import Wish
from headrace_trainer.running.ports import Ended, Pause
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import Base, Cause, Method, Recipe, Run, Target, recipe_for

TENANT = re.compile(r"[a-z0-9_-]{1,64}")
#: A snapshot as a person names it: an id, the first digits of one, or a series. A base: the name of its folder.
REFERENCE = re.compile(r"[a-z0-9_-]{1,64}")
BASE = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)
NAME = re.compile(r"[\w.-]{0,64}", re.ASCII)
BECAUSE = re.compile(r"document [a-z0-9_-]{1,64}/.{1,512}", re.DOTALL)
REASONS = 100
REASON_CHARACTERS = 500
KINDS = 100
#: A query rests with the rules, and goes along with each run.
QUERY_BYTES = 65_536
#: Points of a curve that are told.
CURVE = 500

_RECIPE = {
    "epochs": (0.01, 100.0),
    "context": (64, 32_768),
    "tokens_a_step": (64, 10_000_000),
    "learning_rate": (1e-8, 1.0),
    "rank": (1, 1_024),
    "checkpoint_steps": (1, 100_000),
}
_METHODS: dict[Method, job.Method] = {
    Method.LORA: "lora",
    Method.FULL: "full",
    Method.CONTINUED_PRETRAINING: "continued_pretraining",
}
#: What a rule may be beside 0, which stands for its default.
_RULES = {
    "debounce_seconds": (1, 604_800),
    "runs_a_day": (1, 1_000),
    "compute_seconds_a_day": (1, 31_536_000),
    "schedule_seconds": (60, 31_536_000),
    "canary_share": (0.001, 0.5),
    "canary_least_answers": (1, 1_000_000),
    "canary_most_seconds": (1, 31_536_000),
    "canary_margin": (0.001, 0.5),
    "erasure_seconds": (1, 31_536_000),
    "gate_cases": (1, 10_000),
}


def read_wish(message: service_pb2.StartTrainingRequest) -> Wish:
    """Reads what is asked for. Raises Rejected with each wrong field."""
    violations = list(_check_wish(message))
    if violations:
        raise Rejected(*violations)
    return Wish(
        tenant=message.tenant,
        target=Target(message.target or Target.GENERATOR),
        cause=Cause(message.cause or Cause.PERSON),
        because=tuple(message.because),
        dataset=message.dataset,
        query=train_query(message.query) if message.HasField("query") else None,
        recipe=_wished(message) if message.HasField("recipe") else None,
        base=message.base,
        seed=message.seed,
    )


def _wished(message: service_pb2.StartTrainingRequest) -> Recipe:
    """The recipe with the target's own numbers where it has none."""
    target = Target(message.target or Target.GENERATOR)
    return recipe_of(message.recipe, default=recipe_for(target, generators=recipe_of(message.recipe)))


def _check_wish(message: service_pb2.StartTrainingRequest) -> Iterator[Violation]:
    yield from check_tenant(message.tenant)
    if message.target not in training_pb2.Target.values():
        yield Violation("target", "unknown_value", "A generator, the kinds, or the embedder.")
    if message.cause not in (0, Cause.PERSON, Cause.STEWARD):
        yield Violation("cause", "unsupported", "A person or a steward; the others come by events.")
    if message.dataset and not REFERENCE.fullmatch(message.dataset):
        yield Violation("dataset", "malformed", "An id, 8 or more of its digits, or the name of a series.")
    if message.dataset and message.HasField("query"):
        yield Violation("query", "unsupported", "Name a snapshot, or say what goes into one: not both.")
    if len(message.because) > REASONS:
        yield Violation("because", "out_of_range", f"At most {REASONS} documents.")
    if any(not BECAUSE.fullmatch(one) or "\0" in one for one in message.because):
        yield Violation("because", "malformed", 'Each is "document SOURCE/ID".')
    yield from _check_plan(message, method=message.recipe.method)
    if message.target not in (0, Target.GENERATOR):
        yield from _check_small(message)


def _check_small(message: service_pb2.StartTrainingRequest) -> Iterator[Violation]:
    """What is not a generator learns in one way, from questions."""
    if message.recipe.method not in (0, Method.FULL):
        yield Violation("recipe.method", "unsupported", "Only generators can be trained in several ways: leave it out.")
    if message.query.document_sources or message.query.documents_only:
        yield Violation("query.document_sources", "unsupported", "Only generators learn from documents.")
    if message.target == training_pb2.TARGET_KINDS and (message.query.approved_only or message.query.corrected_only):
        words = "Kinds are learned from questions, however they were answered: leave it out."
        yield Violation("query.approved_only", "unsupported", words)
    if message.target == training_pb2.TARGET_KINDS and message.base:
        yield Violation("base", "unsupported", "What recognises kinds has no base: leave it out.")


def _check_plan(message: Any, *, method: int, prefix: str = "") -> Iterator[Violation]:
    """What requests and rules have in common: query, recipe, base."""
    if message.base and not BASE.fullmatch(message.base):
        yield Violation(f"{prefix}base", "malformed", "The name of the base's folder.")
    if message.HasField("recipe"):
        yield from _check_recipe(message.recipe, f"{prefix}recipe")
    if message.HasField("query"):
        yield from _check_query(message.query, f"{prefix}query", method=method)


def _check_recipe(recipe: training_pb2.Recipe, field: str) -> Iterator[Violation]:
    if recipe.method not in training_pb2.Method.values():
        yield Violation(f"{field}.method", "unknown_value", "LoRA, full, or continued pre-training.")
    yield from _check_numbers(recipe, _RECIPE, f"{field}.")


def _check_numbers(message: Any, limits: dict[str, tuple[float, float]], prefix: str = "") -> Iterator[Violation]:
    for name, (low, high) in limits.items():
        value = getattr(message, name)
        if value and not (math.isfinite(value) and low <= value <= high):
            yield Violation(f"{prefix}{name}", "out_of_range", f"{low:,} to {high:,}; 0 takes the default.")


def _check_query(query: DatasetQuery, field: str, *, method: int) -> Iterator[Violation]:
    """The rest is the feedback logger's to check, when it builds."""
    if query.ByteSize() > QUERY_BYTES:
        yield Violation(field, "too_long", f"At most {QUERY_BYTES:,} bytes in all.")
    if query.purpose not in (0, PURPOSE_TRAIN):
        yield Violation(f"{field}.purpose", "unsupported", "To train: leave it out.")
    if query.without_subjects:
        # A name that rests in the rules would outlive the one whose it is.
        yield Violation(f"{field}.without_subjects", "unsupported", "Erase them: the loop names nobody.")
    if method == Method.CONTINUED_PRETRAINING and not query.document_sources:
        yield Violation(f"{field}.document_sources", "missing", "Continued pre-training learns from documents: which?")


def check_tenant(tenant: str) -> Iterator[Violation]:
    """Finds what is wrong with a tenant's name."""
    if not TENANT.fullmatch(tenant):
        yield Violation("tenant", "malformed" if tenant else "missing", "A tenant is 1 to 64 of a-z, 0-9, _ and -.")


def train_query(query: DatasetQuery) -> bytes:
    """A query as runs keep it: to train, whatever it says."""
    kept = DatasetQuery()
    kept.CopyFrom(query)
    kept.purpose = PURPOSE_TRAIN
    return kept.SerializeToString(deterministic=True)


def recipe_of(wire: training_pb2.Recipe, *, default: Recipe | None = None) -> Recipe:
    """Reads a recipe that is right. default: what stands for 0; None takes the worker's, of the method."""
    method = default.method if default else Method(wire.method or Method.LORA)
    default = default or _default(method)
    numbers = {name: getattr(wire, name) or getattr(default, name) for name in _RECIPE}
    return Recipe(method=method, **numbers, most_seconds=wire.most_seconds)


def _default(method: Method) -> Recipe:
    worker = job.DEFAULTS[_METHODS[method]]
    return Recipe(method=method, **{name: getattr(worker, name) for name in _RECIPE})


def to_recipe(recipe: Recipe) -> training_pb2.Recipe:
    """Writes a recipe."""
    return training_pb2.Recipe(
        method=training_pb2.Method.ValueType(int(recipe.method)),
        epochs=recipe.epochs,
        context=recipe.context,
        tokens_a_step=recipe.tokens_a_step,
        learning_rate=recipe.learning_rate,
        rank=recipe.rank,
        checkpoint_steps=recipe.checkpoint_steps,
        most_seconds=recipe.most_seconds,
    )


def read_rules(message: service_pb2.PutLoopRulesRequest) -> Rules:
    """Reads the rules. Raises Rejected with each wrong field."""
    violations = [*check_tenant(message.tenant), *_check_rules(message)]
    if violations:
        raise Rejected(*violations)
    return rules_of(message.rules)


def _check_rules(message: service_pb2.PutLoopRulesRequest) -> Iterator[Violation]:
    rules = message.rules
    if not message.HasField("rules"):
        yield Violation("rules", "missing", "Say what the rules are.")
    yield from _check_numbers(rules, _RULES, "rules.")
    yield from _check_plan(rules, method=rules.recipe.method, prefix="rules.")
    if rules.must_pass and not REFERENCE.fullmatch(rules.must_pass):
        yield Violation("rules.must_pass", "malformed", "The name of a series of datasets.")
    if any(not target or target not in training_pb2.Target.values() for target in rules.targets):
        yield Violation("rules.targets", "unknown_value", "Generators, kinds, embedders.")
    if not NAME.fullmatch(rules.champion_variant):
        yield Violation("rules.champion_variant", "malformed", "The name of a variant.")
    if len(rules.canary_kinds) > KINDS or not all(NAME.fullmatch(kind) for kind in rules.canary_kinds):
        yield Violation("rules.canary_kinds", "malformed", f"At most {KINDS} names of kinds.")


def rules_of(wire: service_pb2.LoopRules) -> Rules:
    """Reads rules that are right, with the defaults for what is 0."""
    numbers = {name: getattr(wire, name) or getattr(defaults.Rules(), name) for name in _RULES}
    return Rules(
        automatic=wire.automatic,
        query=train_query(wire.query),
        recipe=recipe_of(wire.recipe),
        base=wire.base,
        canary_kinds=tuple(wire.canary_kinds),
        promote_by_itself=wire.promote_by_itself,
        must_pass=wire.must_pass,
        champion_variant=wire.champion_variant,
        targets=tuple(dict.fromkeys(Target(one) for one in wire.targets)) or (Target.GENERATOR,),
        version=wire.version,
        changed_by=wire.changed_by,
        changed_at=wire.changed_at.ToDatetime(tzinfo=UTC) if wire.HasField("changed_at") else None,
        **numbers,
    )


def to_rules(rules: Rules) -> service_pb2.LoopRules:
    """Writes the rules."""
    return service_pb2.LoopRules(
        automatic=rules.automatic,
        query=DatasetQuery.FromString(rules.query),
        recipe=to_recipe(rules.recipe),
        base=rules.base,
        canary_kinds=rules.canary_kinds,
        promote_by_itself=rules.promote_by_itself,
        must_pass=rules.must_pass,
        champion_variant=rules.champion_variant,
        targets=[training_pb2.Target.ValueType(int(target)) for target in rules.targets],
        version=rules.version,
        changed_by=rules.changed_by,
        changed_at=to_stamp(rules.changed_at),
        **{name: getattr(rules, name) for name in _RULES},
    )


def rules_to_json(rules: Rules) -> dict[str, Any]:
    """Rules as they rest."""
    return MessageToDict(to_rules(rules))


def rules_of_json(content: dict[str, Any]) -> Rules:
    """And as they are read."""
    return rules_of(ParseDict(content, service_pb2.LoopRules(), ignore_unknown_fields=True))


def read_run_id(tenant: str, run_id: str) -> UUID:
    """Reads which run is meant. Raises Rejected, and NotFound for what can be no run's id, which is not repeated."""
    violations = list(check_tenant(tenant))
    if not run_id:
        violations.append(Violation("run_id", "missing", "Say which run."))
    if violations:
        raise Rejected(*violations)
    try:
        return UUID(run_id)
    except ValueError:
        raise NotFound("run", "") from None


def read_pause(message: service_pb2.PauseLoopRequest, *, by: str, at: datetime) -> Pause:
    """Reads who pauses what. Raises Rejected."""
    violations = list(check_tenant(message.tenant)) if message.tenant else []
    if len(message.reason) > REASON_CHARACTERS or "\0" in message.reason:
        violations.append(Violation("reason", "too_long", f"At most {REASON_CHARACTERS} characters, none NUL."))
    if violations:
        raise Rejected(*violations)
    return Pause(by=by, at=at, because=message.reason, everybody=not message.tenant)


@dataclass(frozen=True, slots=True)
class Drift:
    """An alert, as runs see it. waits: what is missing are documents, which a steward has to bring first."""

    tenant: str
    alert_id: UUID
    is_open: bool
    starts: bool
    waits: bool


def read_drift(message: DriftDetected) -> Drift:
    """Reads an alert. Raises Rejected."""
    alert: Alert = message.alert
    violations = list(check_tenant(alert.slice.tenant))
    try:
        alert_id = UUID(alert.alert_id)
    except ValueError:
        violations.append(Violation("alert.alert_id", "not_a_uuid", "The alert's id is a UUID."))
        raise Rejected(*violations) from None
    if violations:
        raise Rejected(*violations)
    lever = alert.explanation.lever
    return Drift(
        tenant=alert.slice.tenant,
        alert_id=alert_id,
        is_open=alert.state != ALERT_STATE_CLOSED,
        starts=lever in (WireLever.LEVER_PROMPT, WireLever.LEVER_TUNING),
        waits=lever == WireLever.LEVER_DOCUMENTS,
    )


def read_ended(message: DatasetEnded, *, received_at: datetime) -> Ended:
    """Reads which snapshot has ended. Raises Rejected."""
    violations = list(check_tenant(message.tenant))
    if not message.dataset_id or "\0" in message.dataset_id:
        violations.append(Violation("dataset_id", "missing", "Which snapshot has ended?"))
    if violations:
        raise Rejected(*violations)
    return Ended(
        tenant=message.tenant,
        dataset_id=message.dataset_id,
        erased=message.state == DATASET_STATE_ERASED,
        by=message.ended_by,
        ended_at=message.ended_at.ToDatetime(tzinfo=UTC) if message.HasField("ended_at") else received_at,
    )


def to_run(run: Run) -> training_pb2.TrainingRun:
    """Writes a run, with the end of its curve."""
    progress, snapshot = run.progress, run.snapshot
    return training_pb2.TrainingRun(
        run_id=str(run.run_id),
        tenant=run.tenant,
        target=training_pb2.Target.ValueType(int(run.target)),
        dataset_id=snapshot.dataset_id,
        base=_to_base(run.made.base if run.made else run.base),
        recipe=to_recipe(run.recipe),
        seed=run.seed,
        causes=[training_pb2.Cause.ValueType(int(cause)) for cause in run.causes],
        because=run.because,
        state=training_pb2.RunState.ValueType(int(run.state)),
        step=progress.step,
        steps=progress.steps,
        loss=progress.loss,
        held_out_loss=progress.held_out_loss,
        tokens=progress.tokens,
        compute_seconds=progress.compute_seconds,
        model=run.model,
        failure=run.failure,
        without_grant=snapshot.without_grant,
        created_by=run.by.subject or run.by.role,
        created_at=to_stamp(run.created_at),
        ended_at=to_stamp(run.ended_at),
        trace_id=trace_id_of({"traceparent": run.traceparent}),
        curve=[
            training_pb2.LossPoint(step=one.step, loss=one.loss, held_out_loss=one.held_out_loss)
            for one in run.curve[-CURVE:]
        ],
        tokens_a_second=progress.tokens_a_second,
        rows=snapshot.rows,
        held_out_rows=snapshot.held_out_rows,
        query=None if run.wanted else DatasetQuery.FromString(run.query),
    )


def _to_base(base: Base) -> ModelIdentity:
    return ModelIdentity(name=base.name, version=base.version)


def ended_event(run: Run) -> Event[training_pb2.TrainingEnded]:
    """Says that a run has ended. Its id is made of the run's: a run ends once."""
    message = training_pb2.TrainingEnded(
        run_id=str(run.run_id),
        tenant=run.tenant,
        state=training_pb2.RunState.ValueType(int(run.state)),
        failure=run.failure,
        model=run.model,
        dataset_id=run.snapshot.dataset_id,
        steps=run.progress.step,
        compute_seconds=run.progress.compute_seconds,
        ended_at=to_stamp(run.ended_at),
    )
    return Event(
        topic=topics.TRAINING_ENDED,
        message=message,
        key=str(run.run_id),
        event_id=derived_id("training", run.tenant, run.run_id),
        source="trainer",
        correlation_id=str(run.run_id),
        causation_id=str(run.run_id),
        tenant=run.tenant,
        tier=run.snapshot.tier if run.snapshot.dataset_id else Tier.PUBLIC,
    )


def without_curves(runs: Sequence[Run]) -> Sequence[training_pb2.TrainingRun]:
    """Runs as a list has them."""
    wires = [to_run(run) for run in runs]
    for wire in wires:
        wire.ClearField("curve")
    return wires


def to_stamp(moment: datetime | None) -> Timestamp | None:
    """Writes a moment; None for none."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
