"""How a backend does: what its completions take, how many it may be given, and when it is left alone. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from headrace_inference.domain import Spent

#: So many completions tell what the next will take, for so many seconds: a slow quarter of an hour must not keep a
#: variant passed over for ever, since what is passed over is not measured again.
KEPT = 100
FRESH_SECONDS = 300.0
#: What is expected holds for nine answers in ten.
EXPECTED_QUANTILE = 0.9
MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for a million tokens. cached_input: of those that a prefix cache had; None as any other."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached_input: Decimal | None = None

    def cost(self, spent: Spent) -> int:
        """What a completion costs, in millionths of a dollar, rounded up."""
        cached = min(spent.cached_input_tokens, spent.input_tokens)
        for_cached = self.input if self.cached_input is None else self.cached_input
        exact = self.input * (spent.input_tokens - cached) + for_cached * cached + self.output * spent.output_tokens
        return int(exact.to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class Expected:
    """What the next completion takes, by the last ones; 0 is unknown."""

    ms: float = 0.0
    cost_micro_usd: int = 0


@dataclass(slots=True)
class Meter:
    """The last completions of a backend, or of one variant. clock: seconds that never go back."""

    clock: Callable[[], float]
    completions: int = 0
    failures: int = 0
    _last: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=KEPT))
    # Every query that may go to a variant asks what to expect; sorting a hundred times for each would be a quarter of
    # what routing takes.
    _told: Expected | None = None
    _told_until: float = 0.0

    def note(self, ms: float, cost_micro_usd: int) -> None:
        """One more completion."""
        self.completions += 1
        self._last.append((self.clock(), ms, cost_micro_usd))
        self._told = None

    def fail(self) -> None:
        """One that failed."""
        self.completions += 1
        self.failures += 1

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the last completions stayed within; 0 where there are none."""
        taken = sorted(ms for _, ms, _ in self._last)
        return taken[min(len(taken) - 1, int(share * len(taken)))] if taken else 0.0

    def expected(self) -> Expected:
        """What nine in ten stayed within, and the mean cost."""
        now = self.clock()
        if self._told is None or now >= self._told_until:
            self._told = self._looked_up(now)
            self._told_until = min((at + FRESH_SECONDS for at, _, _ in list(self._last)[:1]), default=now)
        return self._told

    def _looked_up(self, now: float) -> Expected:
        while self._last and self._last[0][0] < now - FRESH_SECONDS:
            self._last.popleft()
        if not self._last:
            return Expected()
        cost = -(-sum(cost for _, _, cost in self._last) // len(self._last))
        return Expected(self.quantile(EXPECTED_QUANTILE), cost)


@dataclass(slots=True)
class CallLimit:
    """At most so many calls in any minute; 0 is no limit."""

    a_minute: int
    clock: Callable[[], float]
    _begun: deque[float] = field(default_factory=deque)

    @property
    def is_spent(self) -> bool:
        """Whether a call would be one too many."""
        while self._begun and self._begun[0] <= self.clock() - MINUTE:
            self._begun.popleft()
        return bool(self.a_minute) and len(self._begun) >= self.a_minute

    def take(self) -> bool:
        """Counts a call; False when it is one too many."""
        if self.is_spent:
            return False
        if self.a_minute:
            self._begun.append(self.clock())
        return True


@dataclass(slots=True)
class Breaker:
    """Leaves alone what failed several times in a row (Nygard, Release It!, 2007).

    after: failures in a row until it rests. seconds: for how long at first; each rest that one more failure ends in is
    twice as long, up to `longest`. After a rest one call tries, the others wait for how it goes.
    """

    clock: Callable[[], float]
    after: int = 3
    seconds: float = 5.0
    longest: float = 300.0
    _failures: int = 0
    _rests: int = 0
    _until: float = 0.0
    _is_trying: bool = False

    @property
    def is_resting(self) -> bool:
        """Whether a call would be turned away."""
        return bool(self._rests) and (self._is_trying or self.clock() < self._until)

    def begin(self) -> bool:
        """Whether a call may be made. The one that may after a rest must tell how it went."""
        if self.is_resting:
            return False
        self._is_trying = bool(self._rests)
        return True

    def succeeded(self) -> None:
        """It answered."""
        self._failures = self._rests = 0
        self._is_trying = False

    def failed(self) -> None:
        """It did not."""
        self._failures += 1
        if self._failures >= self.after or self._is_trying:
            self._rests += 1
            self._until = self.clock() + min(self.seconds * 2 ** (self._rests - 1), self.longest)
        self._is_trying = False

    def left(self) -> None:
        """The call ended before anybody could tell."""
        self._is_trying = False
