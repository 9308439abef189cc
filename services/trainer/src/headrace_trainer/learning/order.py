"""Which rows make which step, and which share a sequence. Pure, and decided by the seed alone.

Rows of one pack stand behind the turns that they all begin with, which are computed once: with the prompt's fixed turns
half of a row, that alone saves a third. The masks (attention.py) and positions make it exact.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sample:
    """A row as tokens. The first `shared` are the prompt's fixed turns; those from `start` on are learned."""

    ids: tuple[int, ...] = field(repr=False)
    shared: int
    start: int

    @property
    def prefix(self) -> tuple[int, ...]:
        """What it may share with others."""
        return self.ids[: self.shared]

    @property
    def learned(self) -> int:
        """How many tokens are learned."""
        return len(self.ids) - self.start


@dataclass(frozen=True, slots=True)
class Pack:
    """Samples of one prefix, computed in one sequence."""

    samples: tuple[Sample, ...]

    @property
    def shared(self) -> int:
        """The length of the prefix that they share."""
        return self.samples[0].shared

    @property
    def computed(self) -> int:
        """Tokens of the sequence."""
        return self.shared + sum(len(s.ids) - s.shared for s in self.samples)

    @property
    def tokens(self) -> int:
        """Tokens of the rows, each counted as if it stood alone."""
        return sum(len(s.ids) for s in self.samples)

    @property
    def learned(self) -> int:
        """Tokens that are learned."""
        return sum(s.learned for s in self.samples)


def pack(samples: Sequence[Sample], *, context: int) -> list[Pack]:
    """Samples in as few packs as first-fit decreasing finds, of at most `context` computed tokens.

    A sample that is longer than that is a pack by itself. Johnson 1973: never more than 11/9 of the fewest, plus one.
    """
    bins: list[list[Sample]] = []
    room: list[int] = []
    for sample in sorted(samples, key=_longest_first):
        own = len(sample.ids) - sample.shared
        fits = (i for i, b in enumerate(bins) if room[i] >= own and b[0].prefix == sample.prefix)
        place = next(fits, None)
        if place is None:
            bins.append([sample])
            room.append(context - len(sample.ids))
        else:
            bins[place].append(sample)
            room[place] -= own
    return [Pack(tuple(b)) for b in bins]


def deal(packs: Sequence[Pack], *, hands: int, context: int) -> list[list[tuple[Pack, float]]]:
    """What each of several processes computes of some packs, and how much each pack counts.

    Everybody gets as many packs, for processes that hold a model together compute together. The samples are packed
    anew for that, longest first and each where least is computed yet (Graham 1969), so that nobody waits long for the
    others: two of three packs as they stand would keep one process for twice as long as needed. Where there are fewer
    samples than processes the others compute the smallest pack once more, which counts for nothing.
    """
    if hands == 1 or not packs:
        return [[(pack, 1.0) for pack in packs] for _ in range(hands)]
    even = _even([s for p in packs for s in p.samples], hands=hands, most=len(packs), context=context)
    dealt = sorted(even or packs, key=lambda p: p.computed, reverse=True)
    counted = [(pack, 1.0) for pack in dealt] + [(dealt[-1], 0.0)] * (-len(dealt) % hands)
    # Back and forth: who got the largest of one round gets the smallest of the next.
    rounds = [counted[i : i + hands] for i in range(0, len(counted), hands)]
    return [[r[hand] if n % 2 == 0 else r[hands - 1 - hand] for n, r in enumerate(rounds)] for hand in range(hands)]


def _even(samples: Sequence[Sample], *, hands: int, most: int, context: int) -> list[Pack]:
    """The fewest packs that are a multiple of `hands`, of about the same size each; none where that cannot be had."""
    for count in range(hands, most + hands, hands):
        bins: list[list[Sample]] = [[] for _ in range(count)]
        for sample in sorted(samples, key=_longest_first):
            fits = [b for b in bins if _computed(b, sample) <= context and (not b or b[0].prefix == sample.prefix)]
            if not fits:
                break
            min(fits, key=lambda b: _computed(b, sample)).append(sample)
        else:
            if all(bins):
                return [Pack(tuple(b)) for b in bins]
    return []


def _computed(bin_: Sequence[Sample], sample: Sample) -> int:
    """Tokens of a sequence with one more sample in it."""
    return Pack((*bin_, sample)).computed


def _longest_first(sample: Sample) -> tuple[int, tuple[int, ...]]:
    return -len(sample.ids), sample.ids


def steps(samples: Sequence[Sample], *, epochs: float, tokens_a_step: int, context: int, seed: int) -> list[list[Pack]]:
    """What each optimiser step computes: all samples once an epoch, in an order of the epoch's own.

    Steps have about the same number of tokens; a part of an epoch takes that part of its samples.
    """
    stream = list(_stream(samples, epochs=epochs, seed=seed))
    total = sum(len(s.ids) for s in stream)
    count = max(1, min(len(stream), round(total / tokens_a_step)))
    cut: list[list[Sample]] = [[] for _ in range(count)]
    seen = 0
    for sample in stream:
        cut[min(count - 1, (seen + len(sample.ids) // 2) * count // total)].append(sample)
        seen += len(sample.ids)
    return [pack(step, context=context) for step in cut if step]


def _stream(samples: Sequence[Sample], *, epochs: float, seed: int) -> Iterator[Sample]:
    left = max(1, round(epochs * len(samples)))
    epoch = 0
    while left > 0:
        shuffled = list(samples)
        random.Random(f"{seed} {epoch}").shuffle(shuffled)  # noqa: S311 - an order to repeat, no secret
        yield from shuffled[:left]
        left -= len(shuffled)
        epoch += 1
