"""From labels and findings to numbers. Recall and precision are over characters, as PIIMB has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.privacy.finders import Found
from bench.privacy.labelled import Label, Sample

STRUCTURED = ("email", "phone", "card", "iban", "ip", "national")
NAMED = ("person", "address")
#: What is masked wherever it stands: its text need not be TIER_2.
MASKED = frozenset({"card", "secret"})


@dataclass(slots=True)
class Tally:
    """Characters of one kind: labelled, covered by any finding, by one of its kind; found, and of those labelled."""

    labelled: int = 0
    covered: int = 0
    same: int = 0
    found: int = 0
    right: int = 0
    labels: int = 0

    def recall(self) -> float:
        """Whatever the finding was called."""
        return self.covered / self.labelled if self.labelled else 1.0

    def recall_same(self) -> float:
        """Only what was called by its kind."""
        return self.same / self.labelled if self.labelled else 1.0

    def precision(self) -> float:
        """Of what was found, how much lies in a label of any kind."""
        return self.right / self.found if self.found else 1.0

    def as_json(self) -> dict[str, float]:
        """For machines."""
        return {
            "labels": self.labels,
            "recall": self.recall(),
            "recall_same_kind": self.recall_same(),
            "precision": self.precision(),
        }

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            *(
                getattr(self, name) + getattr(other, name)
                for name in ("labelled", "covered", "same", "found", "right", "labels")
            )
        )


@dataclass(slots=True)
class Score:
    """All numbers of one finder over one set of texts."""

    kinds: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    with_personal: int = 0
    missed: int = 0
    without: int = 0
    alarms: int = 0
    code_texts: int = 0
    code_found: int = 0
    code_alarms: int = 0

    def of(self, kinds: Iterable[str]) -> Tally:
        """Several kinds together."""
        total = Tally()
        for kind in kinds:
            total += self.kinds[kind]
        return total

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "kinds": {kind: tally.as_json() for kind, tally in sorted(self.kinds.items())},
            "structured": {
                "recall": self.of(STRUCTURED).recall(),
                "precision": self.of((*STRUCTURED, "device", "wallet")).precision(),
            },
            "names_and_addresses": {"recall": self.of(NAMED).recall(), "precision": self.of(NAMED).precision()},
            "tier_2_misses": self.missed / max(1, self.with_personal),
            "false_tier_2": self.alarms / max(1, self.without),
            "code_recall": self.code_found / max(1, self.code_texts),
            "code_false": self.code_alarms / max(1, self.without),
        }  # fmt: skip


def score(samples: Sequence[Sample], found: Sequence[Found]) -> Score:
    """Counts. A text with code alone is judged for code only."""
    total = Score()
    for sample, finding in zip(samples, found, strict=True):
        _count_characters(total, sample, finding)
        if sample.carrier == "code":
            total.code_texts += 1
            total.code_found += finding.code
        else:
            _count_text(total, sample, finding)
    return total


def _count_characters(total: Score, sample: Sample, finding: Found) -> None:
    everything = _covered((start, end) for start, end, _ in finding.places)
    labelled = _covered((label.start, label.end) for label in sample.labels)
    for label in sample.labels:
        tally = total.kinds[label.kind]
        same = _covered((start, end) for start, end, kind in finding.places if kind == label.kind)
        place = range(label.start, label.end)
        tally.labels += 1
        tally.labelled += len(place)
        tally.covered += sum(p in everything for p in place)
        tally.same += sum(p in same for p in place)
    for start, end, kind in finding.places:
        total.kinds[kind].found += end - start
        total.kinds[kind].right += sum(place in labelled for place in range(start, end))


def _count_text(total: Score, sample: Sample, finding: Found) -> None:
    if not sample.labels:
        total.without += 1
        total.alarms += finding.strict
        total.code_alarms += finding.code and sample.carrier not in {"trace", "sql"}
        return
    total.with_personal += 1
    total.missed += not finding.strict and not _is_masked(sample.labels, finding)


def _is_masked(labels: Sequence[Label], finding: Found) -> bool:
    """Whether all that the text holds is masked, so that nothing is left to be strict about."""
    masked = _covered((start, end) for start, end, kind in finding.places if kind in MASKED)
    return all(place in masked for label in labels for place in range(label.start, label.end))


def _covered(places: Iterable[tuple[int, int]]) -> set[int]:
    return {place for start, end in places for place in range(start, end)}


def by(samples: Sequence[Sample], found: Sequence[Found], group: Callable[[Sample, Label], str]) -> dict[str, Tally]:
    """Recall of labels in groups of any making; a label whose group is empty is left out."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for sample, finding in zip(samples, found, strict=True):
        everything = _covered((start, end) for start, end, _ in finding.places)
        for label in sample.labels:
            if name := group(sample, label):
                place = range(label.start, label.end)
                tallies[name] += Tally(len(place), sum(p in everything for p in place), labels=1)
    return dict(sorted(tallies.items()))
