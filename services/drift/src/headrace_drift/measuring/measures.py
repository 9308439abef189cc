"""Each measure: a baseline and a window in, two values, an effect and a p-value out.

Formulas: docs/explanation/drift.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from headrace_statistics.clustered import Spread, Sums, p_of_many, p_of_ranks, p_of_shares
from headrace_statistics.distances import chance_in_jensen_shannon, jensen_shannon
from headrace_statistics.effects import cliffs_delta, cohens_h, cramers_v
from numpy.typing import NDArray

from headrace_drift.measuring import layout, scales
from headrace_drift.measuring.readings import EffectKind, Measure
from headrace_drift.measuring.rules import Rules
from headrace_drift.measuring.scales import Scale
from headrace_drift.measuring.sketch import Measured, OfKind, Tally

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Found:
    """What a measure came to. Samples are the baseline's and the window's."""

    measure: Measure
    baseline: float
    window: float
    effect: float
    effect_kind: EffectKind
    p_value: float
    samples: tuple[float, float]
    evaluator: str = ""


def measure_all(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
    """Every measure that both sides have enough of, in the order of `Measure`."""
    for measure, function in _MEASURES.items():
        if measure not in rules.without:
            yield from function(baseline, window, rules)


def _are_enough(a: Sums, b: Sums, least: int, rules: Rules) -> bool:
    """Whether both sides have at least so many, in enough groups of conversations."""
    return min(a.n, b.n) >= least and min(a.effective_groups, b.effective_groups) >= rules.minimum_conversations


def _share(measure: Measure, a: Sums, b: Sums, *, more_variance: float = 0.0) -> Found:
    before, after = float(a.mean[0]), float(b.mean[0])
    p_value = p_of_shares(a, b, more_variance=more_variance)
    return Found(measure, before, after, cohens_h(before, after), "cohen_h", p_value, (a.n, b.n))


def _vocabulary(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
    a, b = (Sums(np.zeros(layout.GROUPS), side.tally(Tally.WORDS)) for side in (baseline, window))
    if _are_enough(a, b, rules.minimum_queries, rules):
        known = baseline.known
        a, b = Sums(known.left_out(), a.sizes), Sums(known.unknown_of(window.words), b.sizes)
        found = _share(Measure.VOCABULARY, a, b, more_variance=known.surprise)
        # Fewer new words than expected are no drift: what else changes with them, n-grams tell.
        yield found if found.effect > 0 else replace(found, p_value=1.0)


def _ngrams(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
    a, b = baseline.grams, window.grams
    if all(_are_enough(x, y, rules.minimum_queries, rules) for x, y in zip(a, b, strict=True)):
        before, after = Spread.of(*a), Spread.of(*b)
        apart = p_of_many(before, after, weights=1 / _pooled(a, b))
        variances = before.variances + after.variances
        bits = [_bits(before.mean[part], after.mean[part], variances[part]) for part in _PARTS]
        divergence = max(0.0, sum(bits) / len(bits))
        queries = (baseline.tally(Tally.QUESTIONS).sum(), window.tally(Tally.QUESTIONS).sum())
        yield Found(Measure.NGRAMS, 0.0, divergence, divergence, "js_bits", apart.p_value, queries)


#: The pairs' bins and the triples'.
_PARTS = (slice(0, layout.PAIRS), slice(layout.PAIRS, layout.GRAMS))


def _pooled(a: tuple[Sums, ...], b: tuple[Sums, ...]) -> Floats:
    """The shares of both sides together, with one more in each bin, so that none weighs without bound."""
    pooled = [x.values.sum(axis=0) + y.values.sum(axis=0) + 1 for x, y in zip(a, b, strict=True)]
    return np.concatenate([part / part.sum() for part in pooled])


def _bits(before: Floats, after: Floats, variances: Floats) -> float:
    return jensen_shannon(before, after) - chance_in_jensen_shannon(variances, (before + after) / 2)


def _embeddings(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
    comparable = baseline.parts.dimensions == window.parts.dimensions
    a, b = baseline.waves, window.waves
    if comparable and _are_enough(a, b, rules.minimum_queries, rules):
        inside = max(1e-9, 1 - float(a.mean @ a.mean))
        apart = p_of_many(
            Spread.of(a), Spread.of(b), weights=np.ones(a.mean.size), least_chance=inside * (1 / a.n + 1 / b.n)
        )
        effect = math.sqrt(max(0.0, apart.unbiased) / inside)
        yield Found(Measure.EMBEDDINGS, 0.0, effect, effect, "mmd", apart.p_value, (a.n, b.n))


def _kinds(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
    names = sorted({*baseline.kinds, *window.kinds})
    if names:
        a, b = (_columns(side, names) for side in (baseline, window))
        yield from _mix(Measure.KINDS, a, b, rules)


def _columns(side: Measured, names: list[str]) -> Floats:
    nothing = np.zeros((layout.GROUPS, len(OfKind)))
    return np.stack([side.kinds.get(name, nothing)[:, OfKind.QUERIES] for name in names], axis=1)


def _tiers(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
    yield from _mix(Measure.TIERS, baseline.tiers, window.tiers, rules)


def _mix(measure: Measure, before: Floats, after: Floats, rules: Rules) -> Iterator[Found]:
    """Of classes, groups × classes. What is always of one class has no mix."""
    before, after = _without_rare(before, after)
    a, b = Sums(before, before.sum(axis=1)), Sums(after, after.sum(axis=1))
    if before.shape[1] > 1 and _are_enough(a, b, rules.minimum_queries, rules):
        pooled = (before.sum(axis=0) + after.sum(axis=0)) / (a.n + b.n)
        chance = (pooled.size - 1) * (1 / a.n + 1 / b.n)
        apart = p_of_many(Spread.of(a), Spread.of(b), weights=1 / pooled, least_chance=chance)
        effect = cramers_v(a.mean, b.mean, by_chance=apart.by_chance)
        p_value = _p_of_two(a, b) if pooled.size == 2 else apart.p_value
        yield Found(measure, 0.0, effect, effect, "cramer_v", p_value, (a.n, b.n))


def _p_of_two(a: Sums, b: Sums) -> float:
    return p_of_shares(Sums(a.values[:, 0], a.sizes), Sums(b.values[:, 0], b.sizes))


def _without_rare(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Classes of which either side should hold fewer than 5, were both alike, put together: of so few F is no guide."""
    pooled = before.sum(axis=0) + after.sum(axis=0)
    smaller = min(before.sum(), after.sum())
    rare = pooled * smaller < 5 * max(1.0, pooled.sum())
    merged = [
        np.concatenate([side[:, ~rare], side[:, rare].sum(axis=1, keepdims=True)], axis=1) for side in (before, after)
    ]
    seen = (merged[0].sum(axis=0) + merged[1].sum(axis=0)) > 0
    return merged[0][:, seen], merged[1][:, seen]


def _share_of(measure: Measure, did: Tally, of: Tally) -> Callable[[Measured, Measured, Rules], Iterator[Found]]:
    def found(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
        a, b = (Sums(side.tally(did), side.tally(of)) for side in (baseline, window))
        if _are_enough(a, b, rules.minimum_few, rules):
            yield _share(measure, a, b)

    return found


def _distribution(measure: Measure, scale: Scale) -> Callable[[Measured, Measured, Rules], Iterator[Found]]:
    def found(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
        a, b = (_histogram(side.scale(scale)) for side in (baseline, window))
        before, after = a.values.sum(axis=0), b.values.sum(axis=0)
        # What is always the same, as a cost of 0 is, has nothing to tell and would cost the others their share.
        varies = np.count_nonzero(before + after) > 1
        if varies and _are_enough(a, b, rules.minimum_few, rules):
            yield Found(
                measure,
                scales.median(scale, before),
                scales.median(scale, after),
                cliffs_delta(before, after),
                "cliff_delta",
                p_of_ranks(a, b),
                (a.n, b.n),
            )

    return found


def _scores(baseline: Measured, window: Measured, rules: Rules) -> Iterator[Found]:
    for evaluator in sorted(baseline.scores.keys() & window.scores.keys()):
        a, b = (_histogram(side.scores[evaluator]) for side in (baseline, window))
        if _are_enough(a, b, rules.minimum_few, rules):
            before, after = a.values.sum(axis=0), b.values.sum(axis=0)
            delta, p_value = cliffs_delta(before, after), p_of_ranks(a, b)
            means = _mean_score(before), _mean_score(after)
            yield Found(Measure.SCORES, *means, delta, "cliff_delta", p_value, (a.n, b.n), evaluator)


def _histogram(values: Floats) -> Sums:
    return Sums(values, values.sum(axis=1))


def _mean_score(histogram: Floats) -> float:
    """The ends count as 0 and 1 themselves: most scores are just that."""
    middles = (np.arange(layout.SCORE_BINS) + 0.5) / layout.SCORE_BINS
    middles[0], middles[-1] = 0.0, 1.0
    return float(histogram @ middles / histogram.sum())


_MEASURES: dict[Measure, Callable[[Measured, Measured, Rules], Iterator[Found]]] = {
    Measure.VOCABULARY: _vocabulary,
    Measure.NGRAMS: _ngrams,
    Measure.SENTENCE_LENGTH: _distribution(Measure.SENTENCE_LENGTH, Scale.SENTENCE_LENGTH),
    Measure.QUERY_LENGTH: _distribution(Measure.QUERY_LENGTH, Scale.QUERY_LENGTH),
    Measure.EMBEDDINGS: _embeddings,
    Measure.KINDS: _kinds,
    Measure.TIERS: _tiers,
    Measure.GROUNDED: _share_of(Measure.GROUNDED, Tally.GROUNDED, Tally.ANSWERS),
    Measure.REFUSED: _share_of(Measure.REFUSED, Tally.REFUSED, Tally.ANSWERS),
    Measure.THUMBS: _share_of(Measure.THUMBS, Tally.THUMBS_UP, Tally.THUMBS),
    Measure.SCORES: _scores,
    Measure.LATENCY: _distribution(Measure.LATENCY, Scale.SECONDS),
    Measure.COST: _distribution(Measure.COST, Scale.COST),
    Measure.NEAREST_PASSAGE: _distribution(Measure.NEAREST_PASSAGE, Scale.NEAREST),
}
