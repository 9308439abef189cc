"""What is seen of a canary while it runs, and what that proves at any moment. Pure.

Answers are taken in the order in which they came. An answer belongs to the one to whom the query was first given,
whoever wrote it in the end: a canary that fails and is stood in for has failed. All is counted so that more is worse.

Each measure is compared by a confidence sequence (`headrace_statistics.sequential`): it may be looked at after every
answer. Beside them stands a breaker on the canary alone, for what must not wait for the champion's answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from headrace_statistics import TooFew
from headrace_statistics.sequential import contrast_of_streams, mean_at_any_time

from headrace_trainer.registry.models import Evidence, Measure, Seen

Side = Literal["canary", "champion"]

#: What is taken away for, each at its share of the error; and what must be proven before one is promoted.
GUARDED: tuple[Measure, ...] = ("failed", "slow", "grounded", "refused", "thumbs")
PROVEN: tuple[Measure, ...] = ("failed", "slow", "grounded", "refused")
#: What still counts where the champion is condemned. How well it answers is no bar, since it goes in any case; the gate
#: has held the canary against what would answer in its place.
OF_ONE_THAT_GOES: tuple[Measure, ...] = ("failed", "slow")
#: Of these a high share is the good one; they are turned around to be compared, and told as they are.
_GOOD = frozenset({"grounded", "thumbs"})

#: The chance that a canary that is as good as the champion is ever rolled back by comparing, over all measures
#: together; with the breaker's it is .05. And the chance that one that is worse by the margin is ever promoted.
ERROR = 0.04
BREAKER_ERROR = 0.01
#: The breaker: this share of failures, or of slow answers, is too much whatever the champion does.
MOST_FAILED = 0.1
MOST_SLOW = 0.5
#: "Slow" is slower than this quantile of the champion's last answers, of which so many are needed and looked at.
SLOW_QUANTILE = 0.95
SLOW_LEAST = 10
SLOW_LAST = 500
#: It is taken anew after so many more of them.
SLOW_EVERY = 5
#: A quantile of few answers is rough: what is hardly above it is not slow.
SLOW_SLACK = 1.1
#: More answers of either side than these are not looked at: by then it is decided, or the time limit will.
MOST_ANSWERS = 20_000


@dataclass(frozen=True, slots=True)
class Answer:
    """One query that was given to one of the two. latency_ms: of the model's service; None where nothing was written
    by the one it was given to. too_slow: it was passed over because it was expected to be too slow."""

    side: Side
    failed: bool = False
    grounded: bool = False
    refused: bool = False
    latency_ms: float | None = None
    too_slow: bool = False


@dataclass(frozen=True, slots=True)
class Thumb:
    """A judgement of an answer, in the order in which judgements came."""

    side: Side
    up: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """All that was seen. share: the canary's share of what both got."""

    answers: Sequence[Answer]
    thumbs: Sequence[Thumb]
    share: float

    def count(self, side: Side) -> int:
        """Answers of one side."""
        return sum(answer.side == side for answer in self.answers)


def weigh(sample: Sample, *, margin: float, error: float = ERROR) -> tuple[Evidence, ...]:
    """Every measure with its interval of canary less champion and its verdict; those that nothing is known of are left
    out. The chance that any of them is ever "worse" of a sound canary is `error`; that a given one is ever "not_worse"
    though it is worse by more than `margin`, too."""
    return tuple(found for measure in GUARDED if (found := _weigh(measure, sample, margin=margin, error=error)))


def breaker(sample: Sample, *, error: float = BREAKER_ERROR) -> Measure | None:
    """Whether the canary by itself has failed, or been slow, more often than any may: four failures in a row are."""
    canary = [answer for answer in sample.answers if answer.side == "canary"]
    failed = [float(answer.failed) for answer in canary]
    slow = [slow for side, slow in slow_ones(sample.answers) if side == "canary"]
    if _exceeds(failed, MOST_FAILED, error / 2):
        return "failed"
    return "slow" if _exceeds(slow, MOST_SLOW, error / 2) else None


def slow_ones(answers: Sequence[Answer]) -> Iterator[tuple[Side, float]]:
    """Each answer that can be told, 1 where it is slow: by the champion's answers before it alone, so that what is seen
    later moves nothing that was counted."""
    before: list[float] = []
    limit: float | None = None
    for answer in answers:
        if limit is not None and (answer.too_slow or answer.latency_ms is not None):
            yield answer.side, float(answer.too_slow or (answer.latency_ms or 0.0) > limit)
        if answer.side == "champion" and answer.latency_ms is not None:
            before.append(answer.latency_ms)
            if len(before) >= SLOW_LEAST and len(before) % SLOW_EVERY == 0:
                limit = _limit(before)


def blocks_of(share: float) -> tuple[int, int]:
    """How many answers of the champion and of the canary make one difference: fixed by the share, never by what was
    seen."""
    if share >= 0.5:
        return 1, max(1, round(share / max(1 - share, 0.01)))
    return max(1, round((1 - share) / share)), 1


def _limit(before: Sequence[float]) -> float:
    return float(np.quantile(before[-SLOW_LAST:], SLOW_QUANTILE)) * SLOW_SLACK


def _exceeds(values: Sequence[float], limit: float, error: float) -> bool:
    """`error` is spent on the upper side alone, so half of the interval's may be on the other."""
    return bool(values) and mean_at_any_time(values[-MOST_ANSWERS:], confidence=1 - 2 * error).low > limit


def _weigh(measure: Measure, sample: Sample, *, margin: float, error: float) -> Evidence | None:
    champion, canary = (_values(measure, sample, side) for side in ("champion", "canary"))
    if not champion or not canary:
        return None
    contrast = contrast_of_streams(champion[:MOST_ANSWERS], canary[:MOST_ANSWERS], blocks=blocks_of(sample.share))
    sides = _told(measure, float(np.mean(canary))), _told(measure, float(np.mean(champion)))
    try:
        # To take it away every measure has its part of the error; to let it go on all must hold, each with the whole.
        strict = contrast.interval(1 - 2 * error / len(GUARDED))
        loose = contrast.interval(1 - 2 * error)
    except TooFew:
        return Evidence(measure, *sides, -1.0, 1.0, "unknown")
    verdict = _verdict(strict.low, loose.high, margin)
    low, high = (-strict.high, -strict.low) if measure in _GOOD else (strict.low, strict.high)
    return Evidence(measure, *sides, low, high, verdict)


def _verdict(surely_above: float, surely_below: float, margin: float) -> Seen:
    """Of a difference of which more is worse. What is worse by less than the margin is not worse."""
    if surely_below < 0:
        return "better"
    if surely_below < margin:
        return "not_worse"
    return "worse" if surely_above > 0 else "unknown"


def _values(measure: Measure, sample: Sample, side: Side) -> list[float]:
    """In the order in which they came; 1 is worse."""
    match measure:
        case "thumbs":
            return [float(not thumb.up) for thumb in sample.thumbs if thumb.side == side]
        case "slow":
            return [slow for of, slow in slow_ones(sample.answers) if of == side]
        case "failed":
            return [float(answer.failed) for answer in sample.answers if answer.side == side]
        case "refused":
            return [float(answer.refused) for answer in sample.answers if answer.side == side]
        case "grounded":
            return [float(not answer.grounded) for answer in sample.answers if answer.side == side]


def _told(measure: Measure, share: float) -> float:
    return 1 - share if measure in _GOOD else share
