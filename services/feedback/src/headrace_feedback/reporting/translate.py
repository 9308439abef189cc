"""Between the wire and reports. Whatever is wrong with a request is found here, all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.feedback.v1 import reports_pb2
from headrace.query.v1.answer_pb2 import Versioned as WireVersioned
from headrace.query.v1.query_pb2 import TrialSetting
from headrace_runtime.errors import Rejected, Violation

from headrace_feedback.interaction import Versioned
from headrace_feedback.reporting.prompts import PromptFigures, PromptRequest
from headrace_feedback.reporting.reports import SHADOW, Estimate, Line, Report, Request, Side
from headrace_feedback.running.runs import Setting
from headrace_feedback.running.translate import check_tenant

LEAST_DIFFERENCE = 0.02
LONGEST_NAME = 128
#: "shadow:" and a kind, or a run's id; and the measures that one may name.
LONGEST_RUN_ID = 200
MOST_MEASURES = 100


def read_request(message: reports_pb2.CompareRequest) -> Request:
    """Reads what is to be compared. Raises Rejected with each wrong field."""
    violations = list(_check(message))
    if violations:
        raise Rejected(*violations)
    return Request(
        tenant=message.tenant,
        a=_side(message.a),
        b=_side(message.b),
        run_id=message.run_id.lower() if not message.run_id.startswith(SHADOW) else message.run_id,
        kind=message.kind,
        since=_moment(message, "since"),
        until=_moment(message, "until"),
        product=message.product,
        measures=frozenset(message.measures),
        least=message.least_difference or LEAST_DIFFERENCE,
        seed=message.seed,
    )


def _check(message: reports_pb2.CompareRequest) -> Iterator[Violation]:
    yield from check_tenant(message.tenant)
    yield from _check_side("a", message.a, message.run_id)
    yield from _check_side("b", message.b, message.run_id)
    if message.a == message.b:
        yield Violation("b", "unsupported", "Both sides are the same.")
    if len(message.run_id) > LONGEST_RUN_ID or "\0" in f"{message.run_id}{message.kind}{message.product}":
        yield Violation("run_id", "malformed", "A run's id, or shadow: and a kind; names hold no zero byte.")
    if not 0 <= message.least_difference <= 1:
        yield Violation("least_difference", "out_of_range", "From 0 to 1.")
    if len(message.measures) > MOST_MEASURES:
        yield Violation("measures", "out_of_range", f"At most {MOST_MEASURES} measures.")
    for name in ("since", "until"):
        if not _is_moment(message, name):
            yield Violation(name, "unknown_value", "The time lies outside the years 1 to 9999.")


def _check_side(name: str, side: reports_pb2.Side, run_id: str) -> Iterator[Violation]:
    variant = side.variant
    if max(len(variant.name), len(variant.version)) > LONGEST_NAME or "\0" in f"{variant.name}{variant.version}":
        yield Violation(f"{name}.variant", "malformed", "A variant's name and version have at most 128 characters.")
    if not variant.name and (not run_id or variant.version):
        yield Violation(f"{name}.variant", "missing", "Name a variant.")
    if side.setting not in TrialSetting.values():
        yield Violation(f"{name}.setting", "unknown_value", "Whole, zero-shot, closed-book or unchecked.")
    if side.setting and not run_id:
        yield Violation(f"{name}.setting", "unsupported", "Live answers are whole; settings are those of a run.")


def _side(side: reports_pb2.Side) -> Side:
    return Side(Versioned(side.variant.name, side.variant.version), Setting(side.setting))


def read_prompt_request(message: reports_pb2.SummarisePromptsRequest) -> PromptRequest:
    """Reads whose figures are wanted. Raises Rejected with each wrong field."""
    violations = list(check_tenant(message.tenant))
    if len(message.name) > LONGEST_NAME or "\0" in message.name:
        violations.append(Violation("name", "malformed", "A prompt's name has at most 128 characters."))
    if not _is_moment(message, "since"):
        violations.append(Violation("since", "unknown_value", "The time lies outside the years 1 to 9999."))
    if violations:
        raise Rejected(*violations)
    return PromptRequest(message.tenant, message.name, _moment(message, "since"))


def to_response(report: Report) -> reports_pb2.CompareResponse:
    """Writes a report."""
    return reports_pb2.CompareResponse(
        lines=map(_to_line, report.lines),
        answers_a=report.counts.a,
        answers_b=report.counts.b,
        pairs=report.counts.pairs,
        verdict=report.verdict,
        notes=report.notes,
    )


def _to_line(line: Line) -> reports_pb2.ReportLine:
    return reports_pb2.ReportLine(
        kind=line.kind,
        measure=line.measure.name,
        unit=line.measure.unit,
        a=_to_estimate(line.a),
        b=_to_estimate(line.b),
        difference=_to_estimate(line.difference),
        better=line.better,
        more_needed=min(line.more, 2**32 - 1),
        sentence=line.sentence,
        decides=line.decides,
        method=line.method,
        lost=line.lost,
    )


def _to_estimate(estimate: Estimate) -> reports_pb2.Estimate:
    return reports_pb2.Estimate(value=estimate.value, low=estimate.low, high=estimate.high, answers=estimate.answers)


def to_figures(figures: PromptFigures) -> reports_pb2.PromptFigures:
    """Writes what a version of a prompt came to."""
    return reports_pb2.PromptFigures(
        prompt=WireVersioned(name=figures.prompt.name, version=figures.prompt.version),
        answers=figures.answers,
        grounded=figures.borne_out,
        extracted=figures.extracted,
        refused=figures.refused,
        thumbs_up=figures.thumbs_up,
        thumbs_down=figures.thumbs_down,
    )


def _is_moment(message: Message, field: str) -> bool:
    try:
        _moment(message, field)
    except (ValueError, OverflowError):
        return False
    return True


def _moment(message: Message, field: str) -> datetime | None:
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC) if message.HasField(field) else None
