"""Why a slice drifted, in words, and what a team should pull first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from headrace_statistics import Proportion, difference_of_proportions

from headrace_drift.measuring.examples import UNKNOWN, Example
from headrace_drift.measuring.lexicon import Lexicon
from headrace_drift.measuring.moving import MovedKind, MovedWord, moved_kinds, nothing_close, words_of
from headrace_drift.measuring.readings import Measure, Reading
from headrace_drift.measuring.rules import Rules
from headrace_drift.measuring.sentences import summary_of
from headrace_drift.measuring.sketch import Measured, Sketch, Tally

MOST_QUERIES = 20
#: Fewer queries with new words say nothing of what is missing.
LEAST_NEW = 10
#: Documents are missing when so much more than the baseline's share finds nothing close.
MISSING = 0.2
#: Answers were fine before where so many were grounded.
FINE = 0.5
_WORDING = {Measure.VOCABULARY, Measure.NGRAMS, Measure.EMBEDDINGS}
#: Outcomes, and the sign of the effect that is a fall.
_OUTCOMES = {Measure.GROUNDED: -1, Measure.REFUSED: 1, Measure.THUMBS: -1, Measure.SCORES: -1}


class Lever(IntEnum):
    """What to pull. The numbers are those of headrace.drift.v1.Lever."""

    UNSPECIFIED = 0
    DOCUMENTS = 1
    PROMPT = 2
    TUNING = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, and what to do. `summary` and `because` hold no word of any question; `words` do, where many said them."""

    summary: str
    words: tuple[MovedWord, ...]
    kinds: tuple[MovedKind, ...]
    query_ids: tuple[str, ...]
    lever: Lever
    because: str
    without_close_passage: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the lever is chosen by.

    `missing`: of the window's queries with new words, those that found nothing close; `before`: the same of all of the
    baseline's.
    """

    missing: Proportion | None
    before: Proportion | None
    has_new_wording: bool
    has_fallen: bool
    was_fine: bool
    prompt_is_young: bool

    @property
    def lacks_documents(self) -> bool:
        """Whether the new questions find nothing, more often than questions used to, and not by chance."""
        if self.missing is None or self.before is None or self.missing.n < LEAST_NEW:
            return False
        interval = difference_of_proportions(self.before, self.missing)
        return interval.estimate >= MISSING and interval.low > 0

    @property
    def knows_passages(self) -> bool:
        """Whether it can be told at all how close passages are."""
        return self.before is not None


def explain(
    baseline: Sketch,
    window: Sketch,
    readings: Sequence[Reading],
    rules: Rules,
    *,
    lexicon: Lexicon,
    prompt_is_young: bool | None = None,
) -> Explanation:
    """Explains the readings of one slice. Deterministic.

    `prompt_is_young`: whether the prompt in service was changed lately; None tells it by the baseline, which knows a
    prompt or does not.
    """
    before, after = baseline.measured(), window.measured()
    words = words_of(before, after)
    young = _is_young(baseline, window, rules) if prompt_is_young is None else prompt_is_young
    with_new = [example for example in window.examples if words.new.intersection(example.words)]
    evidence = Evidence(
        _without_passage(with_new, rules),
        _all_without_passage(before, rules),
        has_new_wording=any(one.drifted and one.measure in _WORDING for one in readings),
        has_fallen=any(_has_fallen(one, rules) for one in readings),
        was_fine=_share(before, Tally.GROUNDED, Tally.ANSWERS) >= FINE,
        prompt_is_young=young,
    )
    lever, because = choose(evidence)
    kinds = moved_kinds(before, after)
    missing = evidence.missing
    return Explanation(
        summary_of(readings, kinds, missing, evidence.before),
        words.moved(lexicon),
        kinds,
        _to_look_at(window.examples, words.new, rules),
        lever,
        because,
        missing.successes / missing.n if missing is not None else 0.0,
    )


def choose(evidence: Evidence) -> tuple[Lever, str]:
    """The lever, and why that: documents first, for neither a prompt nor tuning answers from what is not there."""
    return next((lever, because) for holds, lever, because in _CHOICES if holds(evidence))


#: The first that holds is taken.
_CHOICES: tuple[tuple[Callable[[Evidence], bool], Lever, str], ...] = (
    (
        lambda seen: seen.lacks_documents,
        Lever.DOCUMENTS,
        "The new questions find nothing close: documents are missing.",
    ),
    (
        lambda seen: not seen.knows_passages,
        Lever.UNSPECIFIED,
        "Nobody can tell yet what the questions find: there are no answers to go by.",
    ),
    (
        lambda seen: seen.has_fallen and seen.prompt_is_young,
        Lever.PROMPT,
        "The passages are there, answers got worse, and the prompt is new: look at the prompt.",
    ),
    (
        lambda seen: seen.has_fallen and seen.was_fine and not seen.has_new_wording,
        Lever.PROMPT,
        "The passages are there and the wording is the same, but answers that were fine got worse: look at the prompt.",
    ),
    (
        lambda seen: seen.has_fallen and seen.has_new_wording,
        Lever.TUNING,
        "The passages are there and the prompt is not new, but the wording is: tuning.",
    ),
    (
        lambda seen: seen.has_new_wording,
        Lever.TUNING,
        "The wording is new; passages are close and answers hold: tuning, where it is worth it.",
    ),
    (
        lambda seen: seen.has_fallen,
        Lever.TUNING,
        "The passages are there, and answers were not good under this prompt before: tuning.",
    ),
    (
        lambda _: True,
        Lever.UNSPECIFIED,
        "Neither the wording nor the answers got worse: there is nothing to pull.",
    ),
)


def _is_young(baseline: Sketch, window: Sketch, rules: Rules) -> bool:
    """Whether most of the window's answers were made by a prompt that the baseline hardly knows."""
    now = {prompt: count for prompt, count in window.prompts.items() if prompt}
    if not now:
        return False
    known = baseline.prompts
    return known.get(max(now, key=lambda prompt: now[prompt]), 0) < rules.young * max(1, sum(known.values()))


def _without_passage(examples: Sequence[Example], rules: Rules) -> Proportion | None:
    answered = [example for example in examples if example.grounded != UNKNOWN]
    if not answered:
        return None
    return Proportion(sum(_finds_nothing(example, rules) for example in answered), len(answered))


def _all_without_passage(baseline: Measured, rules: Rules) -> Proportion | None:
    without, answers = nothing_close(baseline, rules.nothing_close)
    return Proportion(int(without), int(answers)) if answers else None


def _finds_nothing(example: Example, rules: Rules) -> bool:
    """Whether the nearest passage was far, or there was none: `UNKNOWN` is below any threshold."""
    return example.grounded != UNKNOWN and example.nearest < 100 * rules.nothing_close


def _has_fallen(reading: Reading, rules: Rules) -> bool:
    sign = _OUTCOMES.get(reading.measure, 0)
    is_large = sign * reading.effect >= rules.least[reading.effect_kind]
    # One outcome by itself; whether it is an alert is decided elsewhere, over all slices and looks.
    return sign != 0 and is_large and reading.p_value <= 0.01


def _share(side: Measured, did: Tally, of: Tally) -> float:
    return float(side.tally(did).sum()) / max(1.0, float(side.tally(of).sum()))


def _to_look_at(examples: Sequence[Example], new: frozenset[int], rules: Rules) -> tuple[str, ...]:
    """The ids of the queries with most new words, those without a passage and without a grounded answer first."""

    def oddness(example: Example) -> tuple[float, str]:
        novel = len(new.intersection(example.words))
        return -(novel + _finds_nothing(example, rules) + (example.grounded == 0)), example.query_id

    odd = [example for example in examples if oddness(example)[0] < 0]
    return tuple(example.query_id for example in sorted(odd, key=oddness)[:MOST_QUERIES])
