"""Which interactions may be rows, by what is known of them without a word: the first sieve, before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from headrace_privacy.policy import Purpose

from headrace_feedback.datasets.snapshots import Exclusion, Wanted
from headrace_feedback.interaction import Outline, Versioned


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate(Outline):
    """An interaction, and no word of it.

    tier: the strictest of it, its chunks and the correction that counts. cited: "source/document" of what it cites;
    documents: of all that the model had; chunks: by rank. liking: how many judge for it less how many judge against.
    reviews: (rubric, version, label by criterion). scores: by evaluator, of those that decide. kind: as
    reviewers stated it (kind_stated), else as it was recognised.
    """

    kind: str
    product: str
    subject: str = field(repr=False)
    conversation_id: str = field(repr=False)
    grounding: str
    finish_reason: str
    variant: Versioned
    prompt: Versioned
    accepted_at: datetime | None
    cited: tuple[str, ...]
    documents: tuple[str, ...]
    chunks: tuple[str, ...]
    is_stale: bool
    is_corrected: bool
    liking: int
    passed_review: bool
    scores: Mapping[str, float]
    kind_stated: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Which interactions come next. evaluators: whose scores are wanted."""

    after: Outline | None
    most: int
    evaluators: tuple[str, ...] = ()


#: Answers that say nothing, or nothing of their own.
REFUSALS = frozenset({"not_in_sources"})
FAILED = frozenset({"failed", "withheld"})


def unwanted(one: Candidate, wanted: Wanted) -> Exclusion | None:
    """Says why an interaction is left out before anybody is asked whether it may be read; None: it is not."""
    checks: Iterable[tuple[bool, Exclusion]] = (
        (bool(wanted.products) and one.product not in wanted.products, "other_product"),
        (bool(wanted.kinds) and one.kind not in wanted.kinds, "other_kind"),
        (one.tier > wanted.max_tier, "over_tier"),
        (bool(one.subject) and one.subject in wanted.without_subjects, "named"),
        (wanted.kind_stated_only and not one.kind_stated, "kind_not_stated"),
        # Of what is learned kinds from, the question alone counts: what was answered may be stale, or nothing.
        (not wanted.kind_stated_only and one.is_stale and not one.is_corrected, "stale"),
        (not wanted.kind_stated_only and _says_nothing(one, wanted), "refusal"),
        (not _is_approved(one, wanted), "not_approved"),
        (not one.is_corrected and not _reaches(one, wanted), "score"),
    )
    return next((reason for applies, reason in checks if applies), None)


def _says_nothing(one: Candidate, wanted: Wanted) -> bool:
    """What is trained on refusals refuses; what is measured may well ask what the sources don't say."""
    if one.is_corrected:
        return False
    return one.finish_reason in FAILED or (wanted.purpose is Purpose.TRAIN and one.grounding in REFUSALS)


def _is_approved(one: Candidate, wanted: Wanted) -> bool:
    if one.is_corrected:
        return True
    if wanted.corrected_only:
        return False
    return not wanted.approved_only or one.liking > 0 or one.passed_review


def _reaches(one: Candidate, wanted: Wanted) -> bool:
    return all(one.scores.get(evaluator, float("-inf")) >= least for evaluator, least in wanted.scores)


def row_id_of(query_id: UUID) -> str:
    """A logged row's id."""
    return str(query_id)
