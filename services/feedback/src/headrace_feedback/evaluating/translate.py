"""Messages of headrace.feedback.v1.EvaluationService, and what they say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from headrace.feedback.v1 import evaluation_pb2, reviews_pb2
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace.query.v1.answer_pb2 import Versioned as WireVersioned
from headrace_runtime.errors import Rejected, Violation

from headrace_feedback.evaluating.evaluators import Evaluator
from headrace_feedback.evaluating.judging import Agreement, Calibration, Judge
from headrace_feedback.evaluating.measuring import Scored
from headrace_feedback.evaluating.tasks import Sampling
from headrace_feedback.interaction import Versioned
from headrace_feedback.translate import to_timestamp

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_BACKEND = re.compile(r"[A-Za-z0-9._-]{0,64}")
MOST_JUDGES = 8
MOST_VOTES = 15
MOST_TOKENS = 1_024
DEFAULT_TOKENS = 16
MODES = ("single", "pairwise")


def to_score(scored: Scored) -> evaluation_pb2.Score:
    """Writes a score."""
    score = scored.score
    rubric = WireVersioned(name=score.rubric, version=str(score.rubric_version)) if score.rubric else None
    return evaluation_pb2.Score(
        evaluator=score.evaluator,
        version=score.version,
        rubric=rubric,
        criterion=score.criterion,
        value=score.value,
        label=score.label,
        decides=score.decides,
        scored_at=to_timestamp(scored.scored_at),
        run_id=scored.run_id,
    )


def read_sampling(request: evaluation_pb2.PutEvaluationRequest) -> Sampling:
    """Reads settings. Raises Rejected, which names each field."""
    violations = [*_shares(request), *_judge_names(request)]
    if violations:
        raise Rejected(*violations)
    return Sampling(request.share, tuple(dict.fromkeys(request.judges)), request.judged_share)


def _shares(request: evaluation_pb2.PutEvaluationRequest) -> Iterator[Violation]:
    for field in ("share", "judged_share"):
        if not 0 <= getattr(request, field) <= 1:  # NaN is not either
            yield Violation(field, "out_of_range", "A share lies between 0 and 1.")


def _judge_names(request: evaluation_pb2.PutEvaluationRequest) -> Iterator[Violation]:
    if len(request.judges) > MOST_JUDGES:
        yield Violation("judges", "too_large", f"At most {MOST_JUDGES} judges look at an answer.")
    for place, name in enumerate(request.judges):
        if not _NAME.fullmatch(name):
            yield Violation(f"judges[{place}]", "malformed", "A judge's name is 1 to 64 of a-z, 0-9, _ and -.")


def read_judge(message: evaluation_pb2.Judge, *, by: str) -> Judge:
    """Reads a judge to be stored; its version comes later. Raises Rejected, which names each field."""
    violations = list(_check_judge(message))
    if violations:
        raise Rejected(*violations)
    return Judge(
        name=message.name,
        version=0,
        backend=message.backend,
        rubric=Versioned(message.rubric.name, message.rubric.version or "0"),
        mode="pairwise" if message.mode == "pairwise" else "single",
        votes=message.votes or 1,
        max_output_tokens=message.max_output_tokens or DEFAULT_TOKENS,
        created_by=by,
    )


def _check_judge(message: evaluation_pb2.Judge) -> Iterator[Violation]:
    if not _NAME.fullmatch(message.name):
        yield Violation("judge.name", "malformed", "It is 1 to 64 of a-z, 0-9, _ and -.")
    if not _BACKEND.fullmatch(message.backend):
        yield Violation("judge.backend", "malformed", "It is a backend's name as the settings of inference have it.")
    if not _NAME.fullmatch(message.rubric.name):
        yield Violation("judge.rubric.name", "malformed", "It is a rubric's name: 1 to 64 of a-z, 0-9, _ and -.")
    if not re.fullmatch(r"\d{0,9}", message.rubric.version):
        yield Violation("judge.rubric.version", "malformed", "It is a number, or empty for the newest.")
    if message.mode not in MODES:
        yield Violation("judge.mode", "unknown_value", f"It is one of {', '.join(MODES)}.")
    if message.votes and (message.votes > MOST_VOTES or message.votes % 2 == 0):
        yield Violation("judge.votes", "out_of_range", f"It is odd, from 1 to {MOST_VOTES}.")
    if message.max_output_tokens > MOST_TOKENS:
        yield Violation("judge.max_output_tokens", "out_of_range", f"It is at most {MOST_TOKENS:,}.")


def read_name(name: str) -> str:
    """Reads which judge. Raises Rejected."""
    if not _NAME.fullmatch(name):
        raise Rejected(Violation("name", "malformed", "A judge's name is 1 to 64 of a-z, 0-9, _ and -."))
    return name


def read_query_id(given: str) -> UUID:
    """Reads which query. Raises Rejected."""
    try:
        return UUID(given)
    except ValueError:
        raise Rejected(Violation("query_id", "not_a_uuid", "The query's id is a UUID.")) from None


def to_judge(judge: Judge) -> evaluation_pb2.Judge:
    """Writes a version of a judge, with its last calibration."""
    return evaluation_pb2.Judge(
        name=judge.name,
        version=judge.version,
        backend=judge.backend,
        rubric=WireVersioned(name=judge.rubric.name, version=judge.rubric.version),
        mode=judge.mode,
        votes=judge.votes,
        max_output_tokens=judge.max_output_tokens,
        created_by=judge.created_by,
        created_at=to_timestamp(judge.created_at) if judge.created_at else None,
        calibration=_to_calibration(judge.calibration) if judge.calibration else None,
    )


def _to_calibration(calibration: Calibration) -> evaluation_pb2.Calibration:
    model = calibration.model
    took = Duration()
    took.FromMilliseconds(round(calibration.took_seconds * 1000))
    return evaluation_pb2.Calibration(
        agreement=map(_to_agreement, calibration.agreement),
        first_position_rate=calibration.first_position_rate,
        length_effect=calibration.length_effect,
        state=calibration.state,
        model=ModelIdentity(name=model.name, version=model.version, provider=model.provider),
        calibrated_at=to_timestamp(calibration.calibrated_at),
        took=took,
    )


def _to_agreement(agreement: Agreement) -> reviews_pb2.Agreement:
    return reviews_pb2.Agreement(
        criterion=agreement.criterion,
        answers=agreement.answers,
        raw=agreement.raw,
        coefficient=agreement.coefficient,
        low=agreement.low,
        high=agreement.high,
        method=agreement.method,
        defined=agreement.defined,
    )


def to_evaluator(evaluator: Evaluator, *, missing: Mapping[str, str]) -> evaluation_pb2.Evaluator:
    """Writes an evaluator. missing: which needs are off here, each with the setting that would turn it on."""
    off = f" Off here: {missing[evaluator.needs]} is not set." if evaluator.needs in missing else ""
    return evaluation_pb2.Evaluator(
        name=evaluator.name,
        version=evaluator.version,
        description=f"{evaluator.description}{off}",
        unit=evaluator.unit,
        needs_reference=evaluator.needs_reference,
    )
