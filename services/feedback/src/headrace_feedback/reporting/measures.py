"""What variants are compared by: what the numbers are, which end is the good one, what a verdict stands on first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from headrace_statistics import POINTS, SECONDS, Better, Unit

UnitName = Literal["share", "points", "seconds", "micro_usd"]
Statistic = Literal["mean", "median"]


class Ground(IntEnum):
    """What a verdict may stand on, the firmest first. SPENT: speed and money, which say nothing of quality."""

    KNOWN = 1
    JUDGED = 2
    FEEDBACK = 3
    SOURCES = 4
    SPENT = 5


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure. words: as a person would say it. span: how far two of its values can lie apart at all."""

    name: str
    words: str
    unit: UnitName
    ground: Ground
    better: Better = Better.HIGHER
    statistic: Statistic = "mean"
    span: float = 1.0

    @property
    def told_in(self) -> Unit:
        """What a sentence tells its differences in."""
        return _TOLD_IN[self.unit]


_TOLD_IN = {
    "share": POINTS,
    "points": Unit("rating points"),
    "seconds": SECONDS,
    "micro_usd": Unit("micro-dollars"),
}

#: Those that have names of their own, in the order in which verdicts stand on them.
KNOWN: tuple[Measure, ...] = (
    Measure("key_facts", "key facts stated", "share", Ground.KNOWN),
    Measure("refusal", "refusals where they are due", "share", Ground.KNOWN),
    Measure("token_f1", "words in common with the known answer", "share", Ground.KNOWN),
    Measure("rouge_l", "sequence in common with the known answer", "share", Ground.KNOWN),
    Measure("citation_recall", "expected documents cited", "share", Ground.KNOWN),
    Measure("citation_precision", "cited documents expected", "share", Ground.KNOWN),
    Measure("thumbs", "thumbs up", "share", Ground.FEEDBACK),
    Measure("rating", "rating", "points", Ground.FEEDBACK, span=4.0),
    Measure("copied", "answers copied", "share", Ground.FEEDBACK),
    Measure("asked_again", "questions asked again", "share", Ground.FEEDBACK, Better.LOWER),
    Measure("citations_support", "sentences that their citations bear out", "share", Ground.SOURCES),
    Measure("groundedness", "groundedness", "share", Ground.SOURCES),
    Measure("grounded", "answers in the model's own words that the sources bear out", "share", Ground.SOURCES),
    Measure("relevance", "relevance", "share", Ground.SOURCES),
    Measure("citations_resolve", "citations that resolve", "share", Ground.SOURCES),
    Measure("leaks", "answers that give nothing away", "share", Ground.SOURCES),
    Measure("format", "format", "share", Ground.SOURCES),
    Measure("refused", "answers refused", "share", Ground.SOURCES, Better.LOWER),
    Measure("latency", "median latency", "seconds", Ground.SPENT, Better.LOWER, "median"),
    Measure("cost", "median cost", "micro_usd", Ground.SPENT, Better.LOWER, "median"),
)
_BY_NAME = {measure.name: measure for measure in KNOWN}
_PLACES = {measure.name: place for place, measure in enumerate(KNOWN)}


@dataclass(frozen=True, slots=True)
class Key:
    """Whose numbers: an evaluator or a judge in one version, by one criterion of one version of a rubric.

    Scores of two versions are never averaged. Of what is no evaluator's all but the name is empty.
    """

    evaluator: str
    version: str = ""
    rubric: str = ""
    rubric_version: int = 0
    criterion: str = ""

    @property
    def name(self) -> str:
        """As a line of a report has it: "groundedness", "judge:fair:correct", "wins:fair:correct"."""
        return f"{self.evaluator}:{self.criterion}" if self.criterion else self.evaluator

    @property
    def age(self) -> tuple[int, str, int]:
        """The newest is the greatest: versions are counted, so a longer one is the later."""
        return len(self.version), self.version, self.rubric_version

    @property
    def is_judged(self) -> bool:
        """Whether a model said it."""
        return self.evaluator.startswith(("judge:", "wins:"))


def measure_of(key: Key) -> Measure:
    """What a key's numbers are. An evaluator that this version does not know counts as one by the sources."""
    if key.evaluator.startswith("wins:"):
        return Measure(key.name, f"wins as {_who(key)}", "share", Ground.JUDGED)
    if key.evaluator.startswith("judge:"):
        return Measure(key.name, f"labels by {_who(key)}", "share", Ground.JUDGED)
    return _BY_NAME.get(key.evaluator) or Measure(key.name, key.name, "share", Ground.SOURCES)


def _who(key: Key) -> str:
    judge = key.evaluator.partition(":")[2]
    return f"{judge} judges {key.criterion}" if key.criterion else f"{judge} judges"


def rank(measure: Measure) -> tuple[int, int, str]:
    """Its place in a report: what decides first comes first; of judges comparisons come before single labels."""
    if measure.ground is Ground.JUDGED:
        return int(measure.ground), int(not measure.name.startswith("wins:")), measure.name
    return int(measure.ground), _PLACES.get(measure.name, len(KNOWN)), measure.name


def is_wanted(key: Key, wanted: frozenset[str]) -> bool:
    """Whether a measure was asked for, by its name or by its judge's; everything is where nothing was named."""
    return not wanted or bool({key.name, key.evaluator} & wanted)
