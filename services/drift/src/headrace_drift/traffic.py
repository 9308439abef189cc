"""What one event adds to the traffic, and where it belongs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from headrace_privacy import Tier

from headrace_drift.measuring import Observation, Sketch, Slice


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """The smallest part of a tenant's traffic that is counted by itself; empty where an event does not say."""

    product: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A cell in a bucket of time, by the bucket's beginning."""

    bucket: datetime
    cell: Cell


@dataclass(frozen=True, slots=True)
class Seen:
    """What one event says of a query.

    at: by the event's own time. subject: whose query it is, as a keyed hash of 32 bytes; None where nobody was named,
    or the event does not say. words: those of a question of at most TIER_1, in the clear, for the lexicon alone.
    """

    tenant: str
    cell: Cell
    at: datetime
    observation: Observation
    subject: bytes | None = field(default=None, repr=False)
    words: Mapping[int, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Sample:
    """A query that is kept by id: whose, how strict, and when it was asked."""

    query_id: str
    subject: bytes | None
    tier: Tier
    asked_at: datetime


def slices_of(tenant: str, cells: Iterable[Cell]) -> dict[Slice, frozenset[Cell]]:
    """The slices that these cells make, each with its cells: the whole, each product, each kind, and each kind of a
    product. Where there is only one product, or one kind, its slice would be the whole once more, and is left out."""
    found = set(cells)
    products = {cell.product for cell in found if cell.product}
    kinds = {cell.kind for cell in found if cell.kind}
    names = [Slice(tenant)]
    if len(products) > 1:
        names += [Slice(tenant, product) for product in sorted(products)]
    if len(kinds) > 1:
        names += [Slice(tenant, "", kind) for kind in sorted(kinds)]
    if len(products) > 1 and len(kinds) > 1:
        names += [Slice(tenant, cell.product, cell.kind) for cell in sorted(found) if cell.product and cell.kind]
    return {name: frozenset(cell for cell in found if _belongs(cell, name)) for name in names}


def _belongs(cell: Cell, to: Slice) -> bool:
    return to.product in {"", cell.product} and to.kind in {"", cell.kind}


def rolled(cells: Mapping[Cell, Sketch], members: Iterable[Cell]) -> Sketch:
    """One sketch of those of the members that there are."""
    return Sketch.merged(cells[cell] for cell in sorted(set(members) & cells.keys()))
