"""Whether the audit log is what was written: every row's hash, every checkpoint's signature, each against the other.

What is found, and by what:

    edited     the row's hash does not fit its content; or a checkpoint sealed another row in this place
    reordered  the row's hash fits, but for another place in the log
    missing    a number is left out
    truncated  a checkpoint, or a seal, names a row after the last one that is there
    checkpoint_forged, checkpoint_missing
               a file that the classifier did not sign, or one that is gone; the checkpoints' own chain tells
    seal_forged
               a seal that the classifier did not sign, or that stands under another's name

What cannot be found: rows cut off the end before their seal is written, which takes milliseconds, or whose seal could
not be; and rows that no checkpoint has sealed yet, by somebody who removes or puts back the seals' files too.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from headrace_classifier.audit import GENESIS, Row, link
from headrace_classifier.checkpoints import Checkpoint, Seal, Signed

FaultKind = Literal[
    "edited", "missing", "reordered", "truncated", "checkpoint_forged", "checkpoint_missing", "seal_forged"
]

#: Of so many rows that do not fit it is looked where they would; of those after them it is only said that they do not.
MOST_EXAMINED = 60
#: A row is looked for so far from where it stands.
NEAR = 8


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong with the log, at a row's number, in a sentence for people."""

    sequence: int
    kind: FaultKind
    description: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification read, and what it found. head: the last row's hash."""

    entries: int
    checkpoints: int
    faults: tuple[Fault, ...]
    head: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known from outside the database: each file and what its signature proves, None where it proves nothing.

    noted: the numbers of the checkpoints that the database remembers, each with the row that it sealed. seals: by the
    name of each one's file, None for what proves nothing.
    """

    files: Sequence[tuple[Signed, Checkpoint | None]] = ()
    noted: Mapping[int, int] = field(default_factory=dict)
    seals: Mapping[str, Seal | None] = field(default_factory=dict)


@dataclass(slots=True)
class ChainReader:
    """Reads the log row by row, from the first to the last."""

    key: bytes = field(repr=False)
    sealed: Mapping[int, Sequence[Checkpoint | Seal]]
    rows: int = 0
    last: Row | None = None
    faults: list[Fault] = field(default_factory=list)
    _suspects: list[tuple[Row, bytes]] = field(default_factory=list)

    def read(self, row: Row) -> None:
        """Takes the next row."""
        expected = self.last.sequence + 1 if self.last else 1
        previous = self.last.hash if self.last else GENESIS
        if row.sequence > expected:
            self.faults.append(_missing(expected, row.sequence - 1))
        elif not _fits(self.key, previous, row):
            self._suspects.append((row, previous))
        self.faults += _against_seals(row, self.sealed.get(row.sequence, ()))
        self.rows, self.last = self.rows + 1, row

    def finish(self) -> list[Fault]:
        """All faults of the rows. Ends the reading."""
        return [*self.faults, *self._examined(), *self._cut_off()]

    def _examined(self) -> Iterator[Fault]:
        examined, others = self._suspects[:MOST_EXAMINED], self._suspects[MOST_EXAMINED:]
        hashes = {row.hash for row, _ in examined} | {previous for _, previous in examined}
        places = {row.sequence for row, _ in examined}
        for row, _ in examined:
            place = self._fitting_place(row, places, hashes)
            if place is None:
                yield _edited(row)
            elif place != row.sequence:
                yield Fault(row.sequence, "reordered", f"Row {row.sequence} was written as row {place}.")
        for row, _ in others:
            yield _edited(row)

    def _fitting_place(self, row: Row, places: Iterable[int], hashes: Iterable[bytes]) -> int | None:
        """The place that a row's hash was made for: its own where only the row before it is wrong."""
        near = range(max(1, row.sequence - NEAR), row.sequence + NEAR + 1)
        candidates: list[int] = [row.sequence, *sorted({*places, *near})]
        for place in candidates:
            moved = row.at(place)
            if any(_fits(self.key, previous, moved) for previous in hashes):
                return place
        return None

    def _cut_off(self) -> Iterator[Fault]:
        end = self.last.sequence if self.last else 0
        beyond = [sequence for sequence in self.sealed if sequence > end]
        if beyond:
            last = max(beyond)
            who = next((str(one) for one in self.sealed[last]), "a checkpoint")
            said = f"The log ends at row {end}, but {who} has sealed row {last}."
            yield Fault(end + 1, "truncated", said)


def check_evidence(evidence: Evidence) -> tuple[list[Checkpoint], list[Fault]]:
    """The checkpoints that the classifier signed, in order, and what is wrong with the others."""
    faults: list[Fault] = []
    good: list[Checkpoint] = []
    before: Signed | None = None
    for signed, checkpoint in sorted(evidence.files, key=lambda one: one[0].number):
        expected = before.number + 1 if before else 1
        if signed.number > expected:
            faults.append(_checkpoints_missing(expected, signed.number - 1, evidence.noted))
        if checkpoint is None or checkpoint.number != signed.number:
            faults.append(_forged(signed, evidence.noted))
        else:
            good.append(checkpoint)
            if signed.number == expected and checkpoint.previous != (before.sha256 if before else ""):
                faults.append(_forged_before(checkpoint))
        before = signed
    end = before.number if before else 0
    if later := [number for number in evidence.noted if number > end]:
        faults.append(_checkpoints_missing(end + 1, max(later), evidence.noted))
    return good, faults


def check_seals(evidence: Evidence) -> tuple[list[Seal], list[Fault]]:
    """The seals that the classifier made, and what is wrong with the others."""
    good = [seal for name, seal in evidence.seals.items() if seal is not None and seal.name == name]
    bad = sorted(evidence.seals.keys() - {seal.name for seal in good})
    return good, [Fault(0, "seal_forged", f"Seal {name} does not bear the classifier's signature.") for name in bad]


def by_row(sealed: Iterable[Checkpoint | Seal], noted: Mapping[int, int]) -> dict[int, list[Checkpoint | Seal]]:
    """Checkpoints and seals by the row that they sealed. A row that only the database remembers has none."""
    found: dict[int, list[Checkpoint | Seal]] = {sequence: [] for sequence in noted.values()}
    for one in sealed:
        found.setdefault(one.sequence, []).append(one)
    return found


def _fits(key: bytes, previous: bytes, row: Row) -> bool:
    return hmac.compare_digest(link(key, previous, sequence=row.sequence, entry=row.entry), row.hash)


def _against_seals(row: Row, sealed: Iterable[Checkpoint | Seal]) -> Iterator[Fault]:
    for one in sealed:
        if one.hash != row.hash.hex():
            said = f"Row {row.sequence} is not the one that {one} sealed."
            yield Fault(row.sequence, "edited", said)


def _edited(row: Row) -> Fault:
    return Fault(row.sequence, "edited", f"Row {row.sequence} is not what was written: its hash does not fit.")


def _missing(first: int, last: int) -> Fault:
    rows = f"Row {first} is" if first == last else f"Rows {first} to {last} are"
    return Fault(first, "missing", f"{rows} not there.")


def _checkpoints_missing(first: int, last: int, noted: Mapping[int, int]) -> Fault:
    files = f"Checkpoint {first} is" if first == last else f"Checkpoints {first} to {last} are"
    return Fault(noted.get(first, 0), "checkpoint_missing", f"{files} not in the folder.")


def _forged(signed: Signed, noted: Mapping[int, int]) -> Fault:
    said = f"Checkpoint {signed.number} does not bear the classifier's signature."
    return Fault(noted.get(signed.number, 0), "checkpoint_forged", said)


def _forged_before(checkpoint: Checkpoint) -> Fault:
    said = f"Checkpoint {checkpoint.number - 1} is not the one that checkpoint {checkpoint.number} follows."
    return Fault(checkpoint.sequence, "checkpoint_forged", said)
