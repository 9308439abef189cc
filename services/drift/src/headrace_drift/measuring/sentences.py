"""What a person would say of a drift. No word of any question is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace_statistics import Proportion

from headrace_drift.measuring.moving import MovedKind
from headrace_drift.measuring.readings import Measure, Reading


def summary_of(
    readings: Sequence[Reading], kinds: Sequence[MovedKind], missing: Proportion | None, before: Proportion | None
) -> str:
    """One sentence for each measure that drifted, surest first, and what becomes of questions with new words."""
    drifted = sorted((one for one in readings if one.drifted), key=lambda one: (one.p_value, one.measure))
    said = [_SENTENCES[one.measure](one) for one in drifted]
    if any(one.measure is Measure.KINDS for one in drifted):
        said += [_of_kind(kind) for kind in kinds[:1]]
    if missing is not None and before is not None:
        said.append(
            f"Of the questions with new words {_share(missing.successes / missing.n)} find nothing close; of all in "
            f"the baseline {_share(before.successes / before.n)} did."
        )
    return " ".join(said) or "Nothing drifted."


def _share(value: float) -> str:
    """A share as percent: whole ones, tenths below 10."""
    return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.1f} %"


def _of_share(what: str) -> Callable[[Reading], str]:
    return lambda one: f"{what} went from {_share(one.baseline)} to {_share(one.window)}."


def _of_median(what: str, unit: str) -> Callable[[Reading], str]:
    return lambda one: f"{what} went from {one.baseline:.3g} to {one.window:.3g}{unit} in the median."


def _of_distance(what: str) -> Callable[[Reading], str]:
    return lambda one: f"{what} ({one.effect_kind} {one.window:.2f})."


def _of_kind(kind: MovedKind) -> str:
    return (
        f'Most of all "{kind.kind}": from {_share(kind.baseline_share)} to {_share(kind.window_share)} of questions, '
        f"grounded answers from {_share(kind.baseline_grounded)} to {_share(kind.window_grounded)}."
    )


_SENTENCES: dict[Measure, Callable[[Reading], str]] = {
    Measure.VOCABULARY: _of_share("Words that the baseline does not know"),
    Measure.NGRAMS: _of_distance("Word pairs and letters are others"),
    Measure.SENTENCE_LENGTH: _of_median("Sentences", " words"),
    Measure.QUERY_LENGTH: _of_median("Questions", " characters"),
    Measure.EMBEDDINGS: _of_distance("Questions are about other things"),
    Measure.KINDS: _of_distance("The mix of kinds moved"),
    Measure.TIERS: _of_distance("The mix of tiers moved"),
    Measure.GROUNDED: _of_share("Grounded answers"),
    Measure.REFUSED: _of_share("Answers that the sources don't say"),
    Measure.THUMBS: _of_share("Thumbs that point up"),
    Measure.SCORES: lambda one: (
        f'Scores of "{one.evaluator}" went from {one.baseline:.2f} to {one.window:.2f} in the mean.'
    ),
    Measure.LATENCY: _of_median("Answers", " seconds"),
    Measure.COST: _of_median("An answer's cost", " millionths of a dollar"),
    Measure.NEAREST_PASSAGE: _of_median("The nearest passage's cosine", ""),
}
