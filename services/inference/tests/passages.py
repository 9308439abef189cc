"""A small manual of our own, about a made-up language, for questions whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_inference.domain import Passage
from headrace_inference.grounding import Source
from headrace_privacy import Tier

YIELDING = (
    "The `pour` statement hands a value to the basin that called the sluice. It may stand only in the body of a sluice."
    " After 3 unread values the sluice waits.\n\n"
    "A sluice that was drained raises DryError. It is not possible to pour into a basin that was closed."
)
SCOPES = (
    "The `upstream` statement makes a name refer to the nearest enclosing sluice. It must come before the first use of"
    " the name.\n\nNames that no sluice binds are looked up in the river."
)
HISTORY = "The first mill stood at the upper weir. Its wheel had 24 buckets and turned a single pair of stones."
MENTIONS = "A basin keeps its values unless it is closed. The keeper goes to each gate in turn and notes its level."


def passage(index: int, text: str, *, about: str = "", similarity: float = 0.6, tier: Tier = Tier.PUBLIC) -> Passage:
    """One retrieved chunk of the manual."""
    return Passage(index, text, about, "race-manual", similarity, tier)


def source(text: str, *, about: str = "", similarity: float = 0.6) -> Source:
    """The same as grounding sees it."""
    return Source(text, about, similarity, "race-manual")


async def anything(tier: Tier, sources: Sequence[str]) -> bool:
    """Lets the model see all."""
    return True


MANUAL = [source(YIELDING), source(SCOPES), source(HISTORY), source(MENTIONS)]
PASSAGES = [passage(i, s.text) for i, s in enumerate(MANUAL)]
