"""How far a judge agrees with experts, and what that makes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headrace_statistics import Agreement as Measured
from headrace_statistics import Weights, cohens_kappa

from headrace_feedback.evaluating.judging import Agreement, State
from headrace_feedback.evaluating.pairs import Outcome
from headrace_feedback.reviewing.criteria import Criterion, Rubric

#: On fewer the large-sample interval of kappa says too little.
FEWEST_LABELS = 30
#: What a comparison comes to, as a scale: a tie lies between the two.
OUTCOMES: tuple[Outcome, ...] = ("a", "same", "b")

#: What experts and judge said, of the same things in the same order. None: the judge said nothing that could be read.
Labels = Sequence[tuple[str, str | None]]


def agreement_on(criterion: Criterion, labels: Labels) -> tuple[Agreement, bool]:
    """Cohen's kappa on a criterion, weighted where its labels have an order, and whether it proves enough.

    What could not be read counts as the label that is farthest from the experts': silence must not flatter.
    """
    weights = Weights.LINEAR if criterion.ordered else Weights.NOMINAL
    return _agreement(criterion, labels, criterion.labels, weights)


def agreement_on_pairs(criterion: Criterion, labels: Labels) -> tuple[Agreement, bool]:
    """The same for comparisons: a tie is half right where one answer is better."""
    return _agreement(criterion, labels, OUTCOMES, Weights.LINEAR)


def _agreement(criterion: Criterion, labels: Labels, scale: Sequence[str], weights: Weights) -> tuple[Agreement, bool]:
    experts = [expert for expert, _ in labels]
    judge = [said if said is not None else farthest(expert, scale) for expert, said in labels]
    measured = cohens_kappa(experts, judge, scale=scale, weights=weights)
    method = "cohen_kappa" if weights is Weights.NOMINAL else "weighted_kappa"
    return _as_agreement(criterion.name, measured, method), measured.is_at_least(criterion.least_kappa)


def farthest(label: str, scale: Sequence[str]) -> str:
    """The label that is farthest from one on its scale; the first of two."""
    place = scale.index(label)
    return max(scale, key=lambda other: abs(scale.index(other) - place))


def _as_agreement(criterion: str, measured: Measured, method: str) -> Agreement:
    kappa, raw = measured.coefficient, measured.raw
    return Agreement(
        criterion=criterion,
        answers=measured.n,
        raw=raw.estimate if raw else 0.0,
        coefficient=kappa.estimate if kappa else 0.0,
        low=kappa.low if kappa else 0.0,
        high=kappa.high if kappa else 0.0,
        method=method,
        defined=kappa is not None,
    )


def state_of(rubric: Rubric, found: Mapping[str, tuple[Agreement, bool]]) -> State:
    """What agreement on every criterion makes a judge. found: by criterion; one that is missing has no labels."""
    counts = [found[each.name][0].answers if each.name in found else 0 for each in rubric.criteria]
    if min(counts) < FEWEST_LABELS:
        return "too_few"
    return "calibrated" if all(reached for _, reached in found.values()) else "below"
