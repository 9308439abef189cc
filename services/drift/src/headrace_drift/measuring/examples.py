"""Queries to look at, by id: a sample in which each query is as likely as any other, in whatever order they come.

The queries with the smallest hashes of their ids stay (bottom-k sampling; E. Cohen, H. Kaplan, PODC 2007).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from headrace_drift.measuring import layout
from headrace_drift.measuring.observation import Observation
from headrace_drift.measuring.tables import bins_of

#: What `Example.grounded` and `Example.nearest` hold while there is no answer, or no passage.
UNKNOWN = -128


class Example(NamedTuple):
    """A query of the sample: no text, and of its words only some bins.

    `nearest` is the nearest passage's cosine in hundredths, `grounded` 0 or 1; `UNKNOWN` where nobody knows.
    """

    place: int
    query_id: str
    conversation: int
    trace_parent: str
    tier: int
    kind: str
    grounded: int
    nearest: int
    words: tuple[int, ...]


@dataclass(slots=True)
class Examples:
    """At most `layout.EXAMPLES` of them, ordered by their place in the sample."""

    found: list[Example] = field(default_factory=list)

    def add(self, observation: Observation) -> None:
        """Takes a query that was asked, if it belongs to the sample."""
        place = _place(observation.query_id)
        if len(self.found) < layout.EXAMPLES or place <= self.found[-1].place:
            insort(self.found, _example(observation, place))
            del self.found[layout.EXAMPLES :]

    def merge(self, others: Iterable[Examples]) -> None:
        """Takes those of the others that belong to the sample of all."""
        everything = set(self.found).union(*(other.found for other in others))
        self.found = sorted(everything)[: layout.EXAMPLES]

    def without(self, query_ids: Collection[str]) -> Examples:
        """The others."""
        return Examples([example for example in self.found if example.query_id not in query_ids])


def _place(query_id: str) -> int:
    # 63 bits: they fit a signed integer of whatever reads them.
    return int.from_bytes(blake2b(query_id.encode(errors="replace"), digest_size=8).digest(), "little") >> 1


def _example(observation: Observation, place: int) -> Example:
    asked, answer = observation.question, observation.answer
    words = () if asked is None else tuple(sorted(set(bins_of(asked.words, layout.WORDS).tolist())))
    nearest = None if answer is None else answer.nearest
    return Example(
        place,
        observation.query_id[: layout.LONGEST_ID],
        observation.conversation,
        observation.trace_parent[: layout.LONGEST_ID],
        int(observation.tier),
        observation.kind[: layout.LONGEST_NAME],
        UNKNOWN if answer is None else int(answer.is_grounded),
        UNKNOWN if nearest is None else round(100 * min(1.0, max(-1.0, nearest))),
        words[:: max(1, -(-len(words) // layout.EXAMPLE_WORDS))],
    )
