"""A section's blocks: what blank lines set apart, and which of them belong together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from headrace_embedder.headings import outside_fences


def blocks(text: str) -> list[str]:
    """Cuts a text after its blank lines, fenced code kept whole. Joined, the blocks are the text."""
    lines = text.splitlines(keepends=True)
    outside = set(outside_fences(lines))
    starts = [n for n in range(1, len(lines)) if lines[n].strip() and not lines[n - 1].strip() and n - 1 in outside]
    edges = [0, *starts, len(lines)]
    return ["".join(lines[start:end]) for start, end in pairwise(edges) if start < end]


def runs(parts: Sequence[str]) -> list[list[str]]:
    """Puts a block that leads in to the next with it: a term before its definition, a line that ends in a colon."""
    together: list[list[str]] = []
    for part in parts:
        if together and _leads_in(together[-1][-1], part):
            together[-1].append(part)
        else:
            together.append([part])
    return together


def _leads_in(block: str, following: str) -> bool:
    return block.rstrip().endswith(":") or _indent(following) > _indent(block)


def _indent(block: str) -> int:
    """The columns before the first line that is not blank."""
    line = next((line for line in block.expandtabs(4).splitlines() if line.strip()), "")
    return len(line) - len(line.lstrip())
