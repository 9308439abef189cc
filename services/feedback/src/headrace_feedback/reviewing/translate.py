"""Rubrics, rules and labels, from and to the wire. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from headrace.feedback.v1 import reviews_pb2, rubrics_pb2
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.answer_pb2 import Versioned as WireVersioned
from headrace_runtime.errors import Rejected, Violation

from headrace_feedback.reviewing.agreement import Agreement
from headrace_feedback.reviewing.criteria import DEFAULT_RUBRIC, LEAST_KAPPA, PASS_OR_FAIL, Criterion, Rubric
from headrace_feedback.reviewing.queue import Claimed, Standing
from headrace_feedback.reviewing.sampling import Reason, Rule, Sampling
from headrace_feedback.translate import TENANT, to_timestamp

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_A_NAME = "A name is 1 to 64 of a-z, 0-9, _ and -."
INSTRUCTIONS, QUESTION = 4_000, 1_000
MOST_CRITERIA, MOST_RULES, MOST_REVIEWERS = 16, 32, 5
LABELS = range(2, 8)
COMMENT, CORRECTION = 4_000, 8_000


def read_rubric(tenant: str, message: rubrics_pb2.Rubric) -> Rubric:
    """Reads a rubric that somebody puts. Raises Rejected with each wrong field."""
    violations = [*check_tenant(tenant), *_check_rubric(message)]
    if violations:
        raise Rejected(*violations)
    return _rubric(message, version=0)


def _check_rubric(message: rubrics_pb2.Rubric) -> Iterator[Violation]:
    if not _NAME.fullmatch(message.name):
        yield Violation("rubric.name", "malformed", _A_NAME)
    yield from _check_text(message.instructions, "rubric.instructions", INSTRUCTIONS)
    if not 1 <= len(message.criteria) <= MOST_CRITERIA:
        yield Violation("rubric.criteria", "out_of_range", f"1 to {MOST_CRITERIA} criteria.")
    for place, criterion in enumerate(message.criteria):
        yield from _check_criterion(criterion, f"rubric.criteria[{place}]")
    if len({criterion.name for criterion in message.criteria}) < len(message.criteria):
        yield Violation("rubric.criteria", "unknown_value", "Two criteria have the same name.")


def _check_criterion(criterion: rubrics_pb2.Criterion, path: str) -> Iterator[Violation]:
    if not _NAME.fullmatch(criterion.name):
        yield Violation(f"{path}.name", "malformed", _A_NAME)
    yield from _check_text(criterion.question, f"{path}.question", QUESTION)
    labels = list(criterion.labels)
    if labels and (len(labels) not in LABELS or len(set(labels)) < len(labels)):
        yield Violation(f"{path}.labels", "out_of_range", "2 to 7 different labels, worst first.")
    if not all(_NAME.fullmatch(label) for label in labels):
        yield Violation(f"{path}.labels", "malformed", "A label is 1 to 64 of a-z, 0-9, _ and -.")
    if not 0 <= criterion.least_kappa <= 1:
        yield Violation(f"{path}.least_kappa", "out_of_range", "0 to 1.")


def _check_text(text: str, field: str, most: int) -> Iterator[Violation]:
    if not text.strip():
        yield Violation(field, "empty", "It is empty.")
    if len(text) > most:
        yield Violation(field, "too_long", f"At most {most} characters.")
    if "\0" in text:
        yield Violation(field, "has_nul", "It holds a NUL character.")


def check_tenant(tenant: str) -> Iterator[Violation]:
    """What is wrong with a tenant's name."""
    if not tenant:
        yield Violation("tenant", "missing", "Say whose.")
    elif not TENANT.fullmatch(tenant):
        yield Violation("tenant", "malformed", "A tenant is 1 to 64 of a-z, 0-9, _ and -.")


def _rubric(message: rubrics_pb2.Rubric, *, version: int, by: str = "", at: datetime | None = None) -> Rubric:
    return Rubric(
        name=message.name,
        version=version,
        instructions=message.instructions,
        criteria=tuple(
            Criterion(
                one.name,
                one.question,
                tuple(one.labels) or PASS_OR_FAIL,
                one.ordered,
                one.least_kappa or LEAST_KAPPA,
            )
            for one in message.criteria
        ),
        created_by=by,
        created_at=at,
    )


def content_of(rubric: Rubric) -> bytes:
    """What is stored of a rubric: name, instructions, criteria. The same for the same rubric."""
    return to_rubric(Rubric(rubric.name, 0, rubric.instructions, rubric.criteria)).SerializeToString(deterministic=True)


def digest_of(rubric: Rubric) -> bytes:
    """SHA-256 of what is stored, 32 bytes."""
    return hashlib.sha256(content_of(rubric)).digest()


def rubric_of(content: bytes, *, version: int, created_by: str, created_at: datetime) -> Rubric:
    """Reads what was stored."""
    return _rubric(rubrics_pb2.Rubric.FromString(content), version=version, by=created_by, at=created_at)


def to_rubric(rubric: Rubric) -> rubrics_pb2.Rubric:
    """Writes a rubric."""
    return rubrics_pb2.Rubric(
        name=rubric.name,
        version=rubric.version,
        instructions=rubric.instructions,
        criteria=[
            rubrics_pb2.Criterion(
                name=one.name,
                question=one.question,
                labels=one.labels,
                ordered=one.ordered,
                least_kappa=one.least_kappa,
            )
            for one in rubric.criteria
        ],
        created_by=rubric.created_by,
        created_at=to_timestamp(rubric.created_at) if rubric.created_at else None,
        built_in=rubric.built_in,
    )


def read_sampling(request: reviews_pb2.PutSamplingRequest) -> Sampling:
    """Reads the rules. Raises Rejected with each wrong field."""
    violations = list(_check_sampling(request))
    if violations:
        raise Rejected(*violations)
    return _sampling(request)


def _check_sampling(request: reviews_pb2.PutSamplingRequest) -> Iterator[Violation]:
    yield from check_tenant(request.tenant)
    if len(request.rules) > MOST_RULES:
        yield Violation("rules", "out_of_range", f"At most {MOST_RULES} rules.")
    if not _NAME.fullmatch(request.rubric):
        yield Violation("rubric", "malformed", _A_NAME)
    if request.reviewers > MOST_REVIEWERS:
        yield Violation("reviewers", "out_of_range", f"1 to {MOST_REVIEWERS}.")
    for place, rule in enumerate(request.rules):
        yield from _check_rule(rule, f"rules[{place}]")


def _check_rule(rule: reviews_pb2.SamplingRule, path: str) -> Iterator[Violation]:
    if int(rule.reason) not in {int(reason) for reason in Reason}:
        yield Violation(f"{path}.reason", "unknown_value", "It is none of the known reasons.")
    if not 0 < rule.share <= 1:
        yield Violation(f"{path}.share", "out_of_range", "Above 0, at most 1.")
    if rule.kind and not _NAME.fullmatch(rule.kind):
        yield Violation(f"{path}.kind", "malformed", _A_NAME)
    if (rule.reason == reviews_pb2.SAMPLING_REASON_LOW_SCORE) != bool(rule.evaluator):
        yield Violation(f"{path}.evaluator", "missing", "A rule on a score names the evaluator; no other does.")
    if not 0 <= rule.below <= 1:
        yield Violation(f"{path}.below", "out_of_range", "0 to 1.")


def _sampling(request: reviews_pb2.PutSamplingRequest) -> Sampling:
    rules = tuple(
        Rule(Reason(one.reason), one.share, one.a_day, one.kind, one.evaluator, one.below) for one in request.rules
    )
    return Sampling(rules, request.rubric or DEFAULT_RUBRIC, request.reviewers or 1)


def sampling_of(content: bytes) -> Sampling:
    """Reads what was stored."""
    return _sampling(reviews_pb2.PutSamplingRequest.FromString(content))


def to_sampling_bytes(tenant: str, sampling: Sampling) -> bytes:
    """Writes what is stored."""
    return reviews_pb2.PutSamplingRequest(
        tenant=tenant, rules=to_rules(sampling), rubric=sampling.rubric, reviewers=sampling.reviewers
    ).SerializeToString()


def to_rules(sampling: Sampling) -> list[reviews_pb2.SamplingRule]:
    """Writes the rules."""
    return [
        reviews_pb2.SamplingRule(
            reason=reviews_pb2.SamplingReason.ValueType(int(rule.reason)),
            share=rule.share,
            a_day=rule.a_day,
            kind=rule.kind,
            evaluator=rule.evaluator,
            below=rule.below,
        )
        for rule in sampling.rules
    ]


def read_query(query_id: str) -> UUID | None:
    """Reads a query's id that may be left out. Raises Rejected."""
    return _uuid(query_id, "query_id") if query_id else None


def read_item(item_id: str) -> UUID:
    """Reads an item's id. Raises Rejected."""
    return _uuid(item_id, "item_id")


def _uuid(given: str, field: str) -> UUID:
    try:
        return UUID(given)
    except ValueError:
        raise Rejected(Violation(field, "not_a_uuid", "It is a UUID.")) from None


def read_labels(request: reviews_pb2.LabelReviewRequest) -> dict[str, str]:
    """Reads labels by criterion; comment, correction and kind are found well. Raises Rejected with each wrong field."""
    violations = [*check_tenant(request.tenant)]
    for text, field, most in ((request.comment, "comment", COMMENT), (request.correction, "correction", CORRECTION)):
        if text:
            violations += _check_text(text, field, most)
    labels = {label.criterion: label.label for label in request.labels}
    if len(labels) < len(request.labels):
        violations.append(Violation("labels", "unknown_value", "A criterion is labelled twice."))
    if request.kind and not _NAME.fullmatch(request.kind):
        violations.append(Violation("kind", "malformed", _A_NAME))
    if violations:
        raise Rejected(*violations)
    return labels


def to_item(
    claimed: Claimed, *, question: str, answer: str, passages: Sequence[reviews_pb2.ReviewedPassage]
) -> reviews_pb2.ReviewItem:
    """Writes an item with what is shown of it, in the clear."""
    item = claimed.item
    return reviews_pb2.ReviewItem(
        item_id=str(item.item_id),
        query_id=str(item.query_id),
        reasons=[reviews_pb2.SamplingReason.ValueType(int(reason)) for reason in item.reasons],
        tier=WireTier.ValueType(item.tier.value),
        kind=item.kind,
        rubric=WireVersioned(name=item.rubric.name, version=item.rubric.version),
        claimed_until=to_timestamp(claimed.until),
        question=question,
        answer=answer,
        passages=passages,
    )


def to_stats(standing: Standing, agreement: Sequence[Agreement]) -> reviews_pb2.GetReviewStatsResponse:
    """Writes how the queue stands."""
    return reviews_pb2.GetReviewStatsResponse(
        waiting=standing.waiting,
        claimed=standing.claimed,
        finished=standing.finished,
        labelled_by=standing.labelled_by,
        sampled_for={reason.label: number for reason, number in standing.sampled_for.items()},
        agreement=[to_agreement(one) for one in agreement],
    )


def to_agreement(one: Agreement) -> reviews_pb2.Agreement:
    """Writes how far labels agree."""
    return reviews_pb2.Agreement(
        criterion=one.criterion,
        answers=one.answers,
        raw=one.raw,
        coefficient=one.coefficient,
        low=one.low,
        high=one.high,
        method=one.method,
        defined=one.defined,
    )
