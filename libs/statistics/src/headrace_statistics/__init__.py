"""What scores prove: intervals, comparisons with a verdict, agreement of labels, tests that may be looked at any time.

    compare(Proportion(210, 300), Proportion(240, 300))           two shares, independent answers
    compare(Moments.of(x), Moments.of(y))                         two means
    compare_pairs(Pairs.of(zip(x, y)))                            the same questions answered by both
    decide(contrast_of_groups(a, b, seed=1))                      answers that hang together by conversation
    decide(contrast_of_quantiles(x, y, quantile=.95, seed=1))     latencies
    decide_all({"how-to": contrast(a, b), …})                     several kinds at once, corrected
    sentence(comparison, on="how-to questions")                   in words
    cohens_kappa(experts, judge), krippendorffs_alpha(items, …)   agreement beyond chance
    answers_for_proportions(.6, .7)                               how many answers to plan for

More have doors of their own: `headrace_statistics.judging` (votes of a judge with positions swapped, position bias,
length-controlled win rate), `headrace_statistics.sequential` (contrasts that may be looked at after every answer), and
what tells whether two samples are of one source: `clustered` (tests over groups of what hangs together), `distances`,
`effects`, `multiplicity` (many tests, many looks).

All differences are of B less A. Everything is a pure function; what draws at random takes a seed. Formulas and their
sources: docs/explanation/statistics.md.
"""

from headrace_statistics.agreement import Agreement, Weights, cohens_kappa, confusion, kappa_of_table
from headrace_statistics.bootstrap import (
    Grouped,
    contrast_of_grouped_pairs,
    contrast_of_groups,
    contrast_of_quantiles,
    grouped_mean_interval,
    quantile_interval,
)
from headrace_statistics.clusters import (
    contrast_of_many_grouped_pairs,
    contrast_of_many_groups,
    many_grouped_mean_interval,
)
from headrace_statistics.comparing import (
    Better,
    Comparison,
    Contrast,
    Winner,
    compare,
    compare_pairs,
    contrast,
    contrast_of_pairs,
    decide,
    decide_all,
)
from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval
from headrace_statistics.means import Moments, difference_of_means, mean_interval
from headrace_statistics.planning import (
    answers_for_means,
    answers_for_proportions,
    pairs_for_means,
    pairs_for_proportions,
)
from headrace_statistics.proportions import (
    Pairs,
    Proportion,
    difference_of_pairs,
    difference_of_proportions,
    proportion_interval,
)
from headrace_statistics.reviewing import Distance, krippendorffs_alpha, resampled_kappa
from headrace_statistics.sentences import MILLISECONDS, POINTS, SECONDS, Unit, sentence

__all__ = [
    "MILLISECONDS",
    "POINTS",
    "SECONDS",
    "Agreement",
    "Better",
    "Comparison",
    "Contrast",
    "Distance",
    "Grouped",
    "Interval",
    "Moments",
    "Pairs",
    "Proportion",
    "TooFew",
    "Unit",
    "Weights",
    "Winner",
    "answers_for_means",
    "answers_for_proportions",
    "cohens_kappa",
    "compare",
    "compare_pairs",
    "confusion",
    "contrast",
    "contrast_of_grouped_pairs",
    "contrast_of_groups",
    "contrast_of_many_grouped_pairs",
    "contrast_of_many_groups",
    "contrast_of_pairs",
    "contrast_of_quantiles",
    "decide",
    "decide_all",
    "difference_of_means",
    "difference_of_pairs",
    "difference_of_proportions",
    "grouped_mean_interval",
    "kappa_of_table",
    "krippendorffs_alpha",
    "many_grouped_mean_interval",
    "mean_interval",
    "pairs_for_means",
    "pairs_for_proportions",
    "proportion_interval",
    "quantile_interval",
    "resampled_kappa",
    "sentence",
]
