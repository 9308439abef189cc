"""What is stored of routes and kinds: versions that never change, and who made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from headrace_inference.kinds import Embedder, Kind, Matrix, Quality, Recogniser
from headrace_inference.routing import Route


@dataclass(frozen=True, slots=True)
class RouteRecord:
    """A version of a route as it is stored. deleted: this version took the route away."""

    route: Route
    created_by: str
    created_at: datetime
    reason: str = ""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class KindSet:
    """A version of a tenant's kinds."""

    version: int
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class KindVectors:
    """What one embedder made of a version's texts, in the order of kinds.texts_of. texts_hash: which texts."""

    embedder: Embedder
    texts_hash: bytes
    vectors: Matrix = field(repr=False)


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learned from the vectors of one embedder."""

    embedder: Embedder
    recogniser: Recogniser
    quality: tuple[Quality, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """How a tenant's queries are routed. learned: by the embedder's hash."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    kinds: KindSet | None = None
    learned: Mapping[str, Learned] = field(default_factory=dict)

    @property
    def kinds_version(self) -> int:
        """The version of the kinds in force; 0 where there are none."""
        return self.kinds.version if self.kinds else 0


#: Of a tenant that has defined nothing.
NO_TABLE = Table()


def in_force(records: Sequence[RouteRecord]) -> dict[str, Route]:
    """The routes in force, by kind, of records that hold the newest of each."""
    return {record.route.kind: record.route for record in records if not record.deleted}
