"""Models that the trainer made for a tenant: how they stand, and which of them are to be loaded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from headrace_privacy import Tier

Standing = Literal["candidate", "canary", "live", "rolled_back", "retired", "deleted"]
Target = Literal["generator", "kinds", "embedder"]
#: Why a model could not be loaded.
Failure = Literal["missing", "corrupt", "no_memory", "unsupported"]

#: What answers now comes before what only might.
_FIRST: Sequence[Standing] = ("live", "canary", "candidate", "rolled_back")
#: How long a model that could not be loaded is left alone at first, and at the longest, in seconds.
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0


@dataclass(frozen=True, slots=True)
class TrainedRecord:
    """A trained model as model.changed told of it last.

    tier: the strictest that it learned from. address: of its folder, by fsspec. files: SHA-256 by name. carrier: the
    W3C headers of the event.
    """

    tenant: str
    name: str
    version: str
    tier: Tier
    standing: Standing
    changed_at: datetime
    target: Target = "generator"
    address: str = ""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    carrier: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def key(self) -> Key:
        """What a variant finds it by."""
        return self.tenant, self.version

    @property
    def model(self) -> str:
        """Its name in full."""
        return f"{self.name}@{self.version}"

    @property
    def is_over(self) -> bool:
        """Whether it answers no more, so that nothing of it need be kept."""
        return self.standing in ("retired", "deleted")


Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Bounds:
    """most: so many are in memory at a time. grace: how long one that was rolled back stays there."""

    most: int
    grace: timedelta


def is_wanted(record: TrainedRecord, bounds: Bounds, *, now: datetime) -> bool:
    """Whether a model is to be in memory, if there is room. The base has no address: a backend serves it anyway."""
    if record.standing == "rolled_back":
        return now < record.changed_at + bounds.grace
    return bool(record.address) and not record.is_over


def ranked(records: Iterable[TrainedRecord], bounds: Bounds, *, now: datetime) -> list[TrainedRecord]:
    """Those that are wanted, the most needed first: the first `most` of them have room."""
    wanted = [record for record in records if is_wanted(record, bounds, now=now)]
    return sorted(wanted, key=lambda r: (_FIRST.index(r.standing), -r.changed_at.timestamp(), r.key))


def wait_after(failures: int) -> float:
    """How long a model is left alone after so many failures in a row, in seconds: twice as long each time."""
    return min(FIRST_WAIT * 2.0 ** (min(failures, 64) - 1), LONGEST_WAIT)
