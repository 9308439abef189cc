"""Which of the rows that may go into a snapshot do: near-duplicates out, kinds balanced, a limit, and two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from headrace_feedback.datasets.similarity import Hashes, without_near_duplicates
from headrace_feedback.datasets.snapshots import Row, Wanted
from headrace_feedback.datasets.splitting import grouped, lot, split


def select(
    rows: Sequence[Row],
    shingles: Sequence[Hashes],
    wanted: Wanted,
    *,
    seed: int,
    name: Callable[[str], str],
    leave_out: Callable[[str, Row], None],
) -> list[Row]:
    """Returns the snapshot's rows in order, each with its group and its side. leave_out: counts the others."""
    stay = _different(rows, shingles, wanted.near_duplicates, seed=seed)
    for place in range(len(rows)):
        if place not in stay:
            leave_out("near_duplicate", rows[place])
    drawn = _drawn([rows[place] for place in sorted(stay)], wanted, seed=seed)
    for place in sorted(stay):
        if rows[place].row_id not in drawn:
            leave_out("over_limit", rows[place])
    chosen = [rows[place] for place in sorted(stay) if rows[place].row_id in drawn]
    return split(grouped(chosen, name=name), test_share=wanted.test_share, seed=seed)


def _different(rows: Sequence[Row], shingles: Sequence[Hashes], threshold: float, *, seed: int) -> set[int]:
    """Of those that are nearly one, the corrected stays; among equals the newest."""
    if threshold > 1:
        return set(range(len(rows)))
    order = sorted(range(len(rows)), key=lambda place: (not rows[place].corrected, -place))
    return without_near_duplicates(shingles, order=order, threshold=threshold, seed=seed)


def _drawn(rows: Sequence[Row], wanted: Wanted, *, seed: int) -> set[str]:
    """Balanced first, then limited, both by the same lots, so that a smaller snapshot is part of a larger."""
    kinds: Counter[str] = Counter()
    drawn: set[str] = set()
    for row in sorted(rows, key=lambda one: lot(one.row_id, seed)):
        if len(drawn) >= wanted.limit:
            break
        kinds[row.kind] += 1
        if not wanted.most_a_kind or kinds[row.kind] <= wanted.most_a_kind:
            drawn.add(row.row_id)
    return drawn
