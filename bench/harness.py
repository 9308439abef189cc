"""What a group of measurements is written with: the budget, the row, and the pairing with a peer.

A machine's speed wanders by tens of percent within minutes, so an absolute number means little and a number measured
after its peer's means less. Hence pairs: ours, peer, ours, peer, …; the ratio of each pair; the median of those.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, TypeVar

T = TypeVar("T")

GoalOf = Literal["ratio", "ours"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much time a run may take: QUICK shows that everything works, FULL gives numbers to quote."""

    name: Literal["quick", "full"]
    repeats: int

    def pick(self, *, quick: T, full: T) -> T:
        """Chooses a size, for example `budget.pick(quick=100, full=10_000)`."""
        return quick if self.name == "quick" else full


QUICK = Budget("quick", repeats=2)
#: Medians of fewer than five pairs move by more than 10 % between runs on two noisy cores.
FULL = Budget("full", repeats=5)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `ratio` is always ours / peer (None where there is no peer). `goal` is what the ratio must reach or, with
    `goal_of="ours"`, what our own number must reach: at least when `higher_is_better`, at most otherwise.
    `extra` holds what belongs to the number but not in the table (spread, sizes, settings); JSON types only.
    """

    group: str
    name: str
    ours: float
    peer: float | None
    unit: str
    ratio: float | None
    goal: float | None = None
    higher_is_better: bool = True
    note: str = ""
    goal_of: GoalOf = "ratio"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal, or without the number that it is about."""
        value = self.ratio if self.goal_of == "ratio" else self.ours
        if self.goal is None or value is None:
            return None
        return value >= self.goal if self.higher_is_better else value <= self.goal


@dataclass(frozen=True, slots=True)
class Paired:
    """Medians over the pairs. `ratio` is the median of the pairs' own ratios, not the ratio of the medians."""

    ours: float
    peer: float
    ratio: float
    pairs: tuple[tuple[float, float], ...]

    @property
    def extra(self) -> dict[str, Any]:
        """The pairs themselves, for `Row.extra`."""
        return {"pairs": [list(pair) for pair in self.pairs]}


def paired(ours: Callable[[], float], peer: Callable[[], float], repeats: int = 5) -> Paired:
    """Measures ours and peer by turns, after one unmeasured turn each.

    Both return the number that they measured (seconds, tokens per second, …), above 0. To time a plain function give
    `seconds(function)`.
    """
    ours(), peer()
    return _summarise(tuple((ours(), peer()) for _ in range(repeats)))


async def paired_async(
    ours: Callable[[], Awaitable[float]], peer: Callable[[], Awaitable[float]], repeats: int = 5
) -> Paired:
    """As `paired`, for coroutines."""
    await ours()
    await peer()
    return _summarise(tuple([(await ours(), await peer()) for _ in range(repeats)]))


def seconds(function: Callable[[], object]) -> Callable[[], float]:
    """Makes a function that runs `function` and returns how long it took, in seconds of wall time."""

    def timed() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return timed


def seconds_async(function: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
    """As `seconds`, for coroutines."""

    async def timed() -> float:
        start = time.perf_counter()
        await function()
        return time.perf_counter() - start

    return timed


def _summarise(pairs: tuple[tuple[float, float], ...]) -> Paired:
    return Paired(
        ours=median(a for a, _ in pairs),
        peer=median(b for _, b in pairs),
        ratio=median(a / b for a, b in pairs),
        pairs=pairs,
    )
