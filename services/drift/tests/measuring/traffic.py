"""Traffic that never was: conversations about a few kinds of things, in words as Zipf has them, by day and night."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
from headrace_drift.measuring import Answer, Hashing, Observation, Reader, Score
from headrace_privacy import Tier

KEY = b"a tenant's secret of 32 bytes .."
HASHING = Hashing(KEY)
READER = Reader(HASHING)
KINDS = ("how-to", "error", "concept", "release")
PRODUCTS = ("docs", "shop")
Conversation = tuple[Observation, ...]


@dataclass(frozen=True, slots=True)
class Habit:
    """How people of one kind of conversation talk, and how they fare."""

    words: Sequence[str]
    length: float
    grounded: float
    seconds: float
    centre: np.ndarray


def zipf(rng: random.Random, words: Sequence[str], count: int) -> list[str]:
    """So many words, the n-th as often as 1 / n."""
    return rng.choices(words, cum_weights=_weights(len(words)), k=count)


_CUMULATIVE: dict[int, list[float]] = {}


def _weights(count: int) -> list[float]:
    if count not in _CUMULATIVE:
        _CUMULATIVE[count] = list(accumulate(1 / (n + 2) for n in range(count)))
    return _CUMULATIVE[count]


def made_word(rng: random.Random) -> str:
    """A word that can be said."""
    return "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(rng.randint(1, 4)))


@dataclass
class World:
    """A pool of conversations of each kind; traffic draws from it anew each time, so that weeks are exchangeable."""

    seed: int
    conversations: int = 600
    pool: dict[str, list[Conversation]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng, generator = random.Random(self.seed), np.random.default_rng(self.seed)
        common = [made_word(rng) for _ in range(150)]
        for place, kind in enumerate(KINDS):
            own = [made_word(rng) + rng.choice("xyz") for _ in range(1500)]
            mixed = [word for pair in zip(common, own, strict=False) for word in pair] + own[len(common) :]
            habit = Habit(mixed, 6 + 3 * place, 0.85 - 0.1 * place, 1.0 + place, generator.normal(size=32))
            self.pool[kind] = [self._conversation(rng, generator, kind, habit) for _ in range(self.conversations)]

    def _conversation(
        self, rng: random.Random, generator: np.random.Generator, kind: str, habit: Habit
    ) -> Conversation:
        """Its questions share words, a place near each other, and their luck."""
        about = zipf(rng, habit.words, 6)
        luck = min(1.0, max(0.0, rng.gauss(habit.grounded, 0.2)))
        patience, offset = rng.lognormvariate(0, 0.3), generator.normal(size=32)
        tier = rng.choices((Tier.PUBLIC, Tier.TIER_1, Tier.TIER_2), (2, 5, 3))[0]
        found = []
        while True:
            words = zipf(rng, habit.words, max(2, int(rng.gauss(habit.length, 2)))) + rng.sample(about, 2)
            rng.shuffle(words)
            vector = habit.centre + 0.7 * offset + generator.normal(size=32)
            grounded = rng.random() < luck
            answer = Answer(
                is_grounded=grounded,
                is_refused=not grounded and rng.random() < 0.4,
                seconds=habit.seconds * patience * rng.lognormvariate(0, 0.5),
                nearest=min(1.0, rng.gauss(0.55 + 0.1 * grounded, 0.1)),
                model="m@1",
                prompt="p@1",
            )
            found.append(
                Observation(
                    "",
                    0,
                    tier,
                    kind,
                    READER.read(" ".join(words) + "?"),
                    answer,
                    (vector / np.linalg.norm(vector)).astype(np.float32),
                    thumb_up=(rng.random() < luck) if rng.random() < 0.3 else None,
                    scores=(Score("relevance", min(1.0, max(0.0, rng.gauss(luck, 0.2)))),),
                )
            )
            if rng.random() < 0.4:
                return tuple(found)

    def hour(self, hour: int, rng: random.Random, *, queries: float) -> list[Observation]:
        """An hour's traffic: about so many queries at noon, a fifth at midnight; more errors by night."""
        day = 0.6 - 0.4 * np.cos(2 * np.pi * (hour % 24) / 24)
        found: list[Observation] = []
        for _ in range(np.random.default_rng(rng.getrandbits(32)).poisson(queries * day / 2.5)):
            kind = rng.choices(KINDS, (4, 1 + 3 * (1 - day), 2, 1 + day))[0]
            found += anew(rng.choice(self.pool[kind]), rng)
        return found


def anew(conversation: Conversation, rng: random.Random) -> list[Observation]:
    """The same conversation, held by somebody else."""
    who = rng.getrandbits(64)
    return [replace(one, query_id=f"{rng.getrandbits(128):032x}", conversation=who) for one in conversation]
