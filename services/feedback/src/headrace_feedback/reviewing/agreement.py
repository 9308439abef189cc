"""How far reviewers agree beyond chance, criterion by criterion.

Two reviewers: Cohen's kappa, weighted where the labels have an order, its interval by resampling. More, or not always
the same two: Krippendorff's alpha, which knows missing labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from headrace_statistics import Distance, confusion, krippendorffs_alpha, resampled_kappa
from headrace_statistics.agreement import Agreement as Coefficient
from headrace_statistics.agreement import Weights

from headrace_feedback.reviewing.criteria import Criterion

#: Whoever asks again sees the same interval.
SEED = 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far labels agree. low, high: the 95 % interval. defined: False with too few labels, or one label only."""

    criterion: str
    answers: int
    raw: float
    coefficient: float
    low: float
    high: float
    method: str
    defined: bool


def agreement_on(criterion: Criterion, answers: Sequence[Mapping[str, Mapping[str, str]]]) -> Agreement:
    """Measures one criterion. answers: by reviewer, the labels by criterion; only those with two reviewers count."""
    labelled = [_labels(criterion, by_reviewer) for by_reviewer in answers]
    shared = [labels for labels in labelled if len(labels) > 1]
    reviewers = sorted({reviewer for labels in shared for reviewer in labels})
    if len(reviewers) == 2:
        return _of_two(criterion, shared, reviewers)
    items = [list(labels.values()) for labels in shared]
    distance = Distance.ORDINAL if criterion.ordered else Distance.NOMINAL
    measured = krippendorffs_alpha(items, scale=criterion.labels, seed=SEED, distance=distance)
    return _result(criterion, measured, items, "krippendorff_alpha")


def _of_two(criterion: Criterion, shared: Sequence[Mapping[str, str]], reviewers: Sequence[str]) -> Agreement:
    first, second = ([labels[reviewer] for labels in shared] for reviewer in reviewers)
    weights = Weights.LINEAR if criterion.ordered else Weights.NOMINAL
    measured = resampled_kappa(confusion(first, second, scale=criterion.labels), seed=SEED, weights=weights)
    method = "weighted_kappa" if criterion.ordered else "cohen_kappa"
    return _result(criterion, measured, [list(labels.values()) for labels in shared], method)


def _labels(criterion: Criterion, by_reviewer: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {
        reviewer: labels[criterion.name]
        for reviewer, labels in by_reviewer.items()
        if labels.get(criterion.name) in criterion.labels
    }


def _result(criterion: Criterion, measured: Coefficient, items: Sequence[Sequence[str]], method: str) -> Agreement:
    pairs = [a == b for item in items for a, b in combinations(item, 2)]
    raw = sum(pairs) / len(pairs) if pairs else 0.0
    found = measured.coefficient
    if found is None:
        return Agreement(criterion.name, len(items), raw, 0.0, 0.0, 0.0, method, defined=False)
    return Agreement(criterion.name, len(items), raw, found.estimate, found.low, found.high, method, defined=True)
