"""What scores prove: intervals, comparisons with a verdict, agreement of labels. Formulas:
docs/explanation/statistics.md.

    compare(Proportion(210, 300), Proportion(240, 300))      two shares, independent answers
    compare(Moments.of(x), Moments.of(y))                    two means
    compare_pairs(Pairs.of(zip(x, y)))                       the same questions answered by both
    decide_all({"how-to": contrast(a, b), …})                several kinds at once, corrected
    sentence(comparison, on="how-to questions")              in words
    cohens_kappa(experts, judge)                             agreement beyond chance

All differences are of B less A. Everything is a pure function; what draws at random takes a seed.
"""

from headrace_statistics.agreement import Agreement, Weights, cohens_kappa, kappa_of_table
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
from headrace_statistics.proportions import (
    Pairs,
    Proportion,
    difference_of_pairs,
    difference_of_proportions,
    proportion_interval,
)
from headrace_statistics.sentences import MILLISECONDS, POINTS, SECONDS, Unit, sentence

__all__ = [
    "MILLISECONDS",
    "POINTS",
    "SECONDS",
    "Agreement",
    "Better",
    "Comparison",
    "Contrast",
    "Interval",
    "Moments",
    "Pairs",
    "Proportion",
    "TooFew",
    "Unit",
    "Weights",
    "Winner",
    "cohens_kappa",
    "compare",
    "compare_pairs",
    "contrast",
    "contrast_of_pairs",
    "decide",
    "decide_all",
    "difference_of_means",
    "difference_of_pairs",
    "difference_of_proportions",
    "kappa_of_table",
    "mean_interval",
    "proportion_interval",
    "sentence",
]
