"""Between the wire and runs. Whatever is wrong with a request is found here, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1.document_pb2 import DocumentIndexed
from headrace.feedback.v1 import runs_pb2
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.answer_pb2 import Versioned as WireVersioned
from headrace.query.v1.query_pb2 import Trial, TrialKind, TrialSetting
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound, Rejected, Violation

from headrace_feedback.interaction import Versioned
from headrace_feedback.running.runs import (
    Arm,
    Indexed,
    Kind,
    Request,
    Run,
    Setting,
    StaleAnswer,
    StaleDocument,
    TrialAnswer,
    Wish,
)
from headrace_feedback.translate import TENANT, read_answer, to_timestamp

ARMS = range(1, 9)
CASES = range(1, 100_001)
DEFAULT_CASES = 1_000
#: Queries that are named one by one, and judges.
NAMED = 10_000
JUDGES = 8
STALE = range(1, 10_001)
DEFAULT_STALE = 1_000
LONGEST_NAME = 128
#: "shadow:" and a kind, or a run's id.
LONGEST_RUN_ID = 200


def read_request(message: runs_pb2.StartRunRequest) -> Request:
    """Reads what is to be run. Raises Rejected with each wrong field."""
    violations = list(_check(message))
    if violations:
        raise Rejected(*violations)
    return Request(
        tenant=message.tenant,
        arms=tuple(_arm(arm) for arm in message.arms),
        limit=message.limit or DEFAULT_CASES,
        seed=message.seed,
        judges=tuple(message.judges),
        wish=_wish(message.queries),
        dataset=message.dataset_id,
    )


def _check(message: runs_pb2.StartRunRequest) -> Iterator[Violation]:
    yield from check_tenant(message.tenant)
    match message.WhichOneof("cases"):
        case None:
            yield Violation("queries", "missing", "Say what is asked: logged queries, or a dataset.")
        case "queries":
            yield from _check_filter(message.queries)
        case _ if not message.dataset_id:
            yield Violation("dataset_id", "empty", "Name the dataset.")
    yield from _check_arms(message.arms)
    if message.limit and message.limit not in CASES:
        yield Violation("limit", "out_of_range", "At most 100,000 cases.")
    if len(message.judges) > JUDGES:
        yield Violation("judges", "out_of_range", f"At most {JUDGES} judges.")


def _check_arms(arms: Sequence[runs_pb2.RunArm]) -> Iterator[Violation]:
    if len(arms) not in ARMS:
        yield Violation("arms", "out_of_range", "Name 1 to 8 variants.")
    for place, arm in enumerate(arms):
        if not 0 < len(arm.variant.name) <= LONGEST_NAME or len(arm.variant.version) > LONGEST_NAME:
            yield Violation(f"arms[{place}].variant", "missing", "Name a variant.")
        if arm.setting not in TrialSetting.values():
            yield Violation(f"arms[{place}].setting", "unknown_value", "Whole, zero-shot or closed-book.")
    if len({(arm.variant.name, arm.variant.version, arm.setting) for arm in arms}) < len(arms):
        yield Violation("arms", "unsupported", "Two arms are the same.")


def _check_filter(queries: runs_pb2.QueryFilter) -> Iterator[Violation]:
    if len(queries.query_ids) > NAMED:
        yield Violation("queries.query_ids", "out_of_range", f"At most {NAMED:,} queries.")
    for place, query_id in enumerate(queries.query_ids):
        if not is_uuid(query_id):
            yield Violation(f"queries.query_ids[{place}]", "not_a_uuid", "The query's id is a UUID.")
    for name in ("since", "until"):
        if not _is_moment(queries, name):
            yield Violation(f"queries.{name}", "unknown_value", "The time lies outside the years 1 to 9999.")


def check_tenant(tenant: str) -> Iterator[Violation]:
    """Finds what is wrong with a tenant's name."""
    if not TENANT.fullmatch(tenant):
        yield Violation("tenant", "malformed" if tenant else "missing", "A tenant is 1 to 64 of a-z, 0-9, _ and -.")


def _arm(arm: runs_pb2.RunArm) -> Arm:
    return Arm(Versioned(arm.variant.name, arm.variant.version), Setting(arm.setting))


def _wish(queries: runs_pb2.QueryFilter) -> Wish:
    return Wish(
        query_ids=tuple(UUID(query_id) for query_id in queries.query_ids),
        kind=queries.kind,
        product=queries.product,
        variant=queries.variant,
        since=_moment(queries, "since"),
        until=_moment(queries, "until"),
        stale_only=queries.stale_only,
    )


def read_run_id(tenant: str, run_id: str) -> UUID:
    """Reads which run is meant. Raises Rejected, and NotFound for what can be no run's id."""
    violations = list(check_tenant(tenant))
    if not run_id:
        violations.append(Violation("run_id", "missing", "Say which run."))
    if violations:
        raise Rejected(*violations)
    if not is_uuid(run_id):
        raise NotFound("run", run_id[:64])
    return UUID(run_id)


def read_stale_limit(message: runs_pb2.ListStaleAnswersRequest) -> int:
    """Reads how many stale answers are wanted. Raises Rejected."""
    violations = list(check_tenant(message.tenant))
    if message.limit and message.limit not in STALE:
        violations.append(Violation("limit", "out_of_range", "At most 10,000 answers."))
    if message.document_id and not message.source:
        violations.append(Violation("source", "missing", "Say which source the document belongs to."))
    if violations:
        raise Rejected(*violations)
    return message.limit or DEFAULT_STALE


def read_trial(message: AnswerCompleted, *, event_id: UUID, traceparent: str) -> TrialAnswer:
    """Reads an answer that nobody was shown. Raises Rejected."""
    trial = message.query.trial
    violations = list(_check_trial(trial))
    if violations:
        raise Rejected(*violations)
    interaction = read_answer(message, event_id=event_id, traceparent=traceparent)
    timings = {**interaction.timings_ms, "total": _at_work_ms(message)}
    return TrialAnswer(
        interaction=replace(interaction, timings_ms=timings),
        run_id=trial.run_id,
        case_id=trial.case_id,
        kind=Kind(trial.kind),
        setting=Setting(trial.setting),
    )


def _check_trial(trial: Trial) -> Iterator[Violation]:
    if not 0 < len(trial.run_id) <= LONGEST_RUN_ID or "\0" in trial.run_id:
        yield Violation("query.trial.run_id", "missing", "Which run is it?")
    if not 0 < len(trial.case_id) <= LONGEST_RUN_ID or "\0" in trial.case_id:
        yield Violation("query.trial.case_id", "missing", "Which case is it?")
    if trial.kind not in TrialKind.values() or not trial.kind:
        yield Violation("query.trial.kind", "unknown_value", "A shadow, a replay or an evaluation.")
    if trial.setting not in TrialSetting.values():
        yield Violation("query.trial.setting", "unknown_value", "Whole, zero-shot or closed-book.")


def _at_work_ms(message: AnswerCompleted) -> float:
    """The services' own time. That since the original was accepted says nothing, nor does that on the bus: trials wait
    there for each other, and for live queries."""
    hops = message.query.hops
    return sum(hop.finished_at.ToNanoseconds() - hop.received_at.ToNanoseconds() for hop in hops) / 1e6


def read_indexed(message: DocumentIndexed) -> Indexed:
    """Reads what is indexed of a document. Raises Rejected."""
    document = message.document
    violations = list(check_tenant(document.tenant))
    if not document.source or not document.document_id or "\0" in f"{document.source}{document.document_id}":
        violations.append(Violation("document", "missing", "Which document is it?"))
    if violations:
        raise Rejected(*violations)
    return Indexed(
        tenant=document.tenant,
        source=document.source,
        document_id=document.document_id,
        version=document.version,
        deleted=message.chunks == 0,
        tier=Tier.of(message.tier),
        indexed_at=message.indexed_at.ToDatetime(tzinfo=UTC),
    )


def accepted_at(message: DocumentIndexed) -> datetime | None:
    """When the version was taken in; None where nothing says so."""
    return _moment(message.document, "accepted_at")


def to_run(run: Run) -> runs_pb2.Run:
    """Writes a run."""
    return runs_pb2.Run(
        run_id=str(run.run_id),
        tenant=run.tenant,
        kind=TrialKind.ValueType(int(run.kind)),
        dataset_id=run.dataset_id,
        arms=[_to_arm(arm) for arm in run.arms],
        state=runs_pb2.RunState.ValueType(int(run.state)),
        cases=run.cases,
        total=run.total,
        answered=run.progress.answered,
        failed=run.progress.failed,
        evaluated=run.progress.evaluated,
        failure=run.failure,
        exclusions=[
            runs_pb2.RunExclusion(reason=one.reason, tier=WireTier.ValueType(int(one.tier)), cases=one.cases)
            for one in run.exclusions
        ],
        created_by=run.by.subject or run.by.role,
        created_at=to_timestamp(run.created_at),
        ended_at=to_timestamp(run.ended_at) if run.ended_at else None,
        seed=run.seed,
    )


def _to_arm(arm: Arm) -> runs_pb2.RunArm:
    variant = WireVersioned(name=arm.variant.name, version=arm.variant.version)
    return runs_pb2.RunArm(variant=variant, setting=TrialSetting.ValueType(int(arm.setting)))


def to_stale(answer: StaleAnswer) -> runs_pb2.StaleAnswer:
    """Writes a stale answer."""
    return runs_pb2.StaleAnswer(
        query_id=str(answer.query_id),
        completed_at=to_timestamp(answer.completed_at),
        tier=WireTier.ValueType(int(answer.tier)),
        documents=[_to_document(document) for document in answer.documents],
    )


def _to_document(document: StaleDocument) -> runs_pb2.StaleDocument:
    return runs_pb2.StaleDocument(
        source=document.source,
        document_id=document.document_id,
        version=document.version,
        current_version=document.current_version,
        deleted=document.deleted,
        cited=document.cited,
    )


def is_uuid(value: str) -> bool:
    """Says whether a text is a UUID."""
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def _is_moment(message: Message, field: str) -> bool:
    try:
        _moment(message, field)
    except (ValueError, OverflowError):
        return False
    return True


def _moment(message: Message, field: str) -> datetime | None:
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC) if message.HasField(field) else None
