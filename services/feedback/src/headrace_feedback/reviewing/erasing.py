"""The queue's part in an erasure: it goes with the interactions that it holds, labels and comments included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from headrace_database import Connection
from headrace_stream.erasing import Erasure, Names

from headrace_feedback.erasing import deleted, meant_by

ITEMS = "feedback.review_items"
LABELS = "feedback.review_labels"


@dataclass(frozen=True, slots=True)
class ReviewPart:
    """See headrace_feedback.erasing.Part."""

    how: Mapping[str, str] = field(
        default_factory=lambda: {ITEMS: "deleted and vacuumed", LABELS: "deleted and vacuumed"}
    )
    tables: Sequence[str] = ("review_items", "review_claims", "review_labels")

    async def remove(
        self, connection: Connection, erasure: Erasure, names: Names, *, queries: Sequence[UUID]
    ) -> Mapping[str, int]:
        """See Part.remove."""
        del names
        by_id = "WHERE tenant = $1 AND query_id = ANY($2)"
        return {
            LABELS: await deleted(connection, f"DELETE FROM review_labels {by_id}", erasure.tenant, queries),  # noqa: S608
            ITEMS: await deleted(connection, f"DELETE FROM review_items {by_id}", erasure.tenant, queries),  # noqa: S608
        }

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Part.left."""
        del names
        meant = meant_by(erasure)
        left = await connection.fetchval(
            f"SELECT count(*) FROM review_items r JOIN interactions i USING (tenant, query_id)"  # noqa: S608
            f" WHERE i.tenant = $1 AND {meant.interactions}",
            erasure.tenant,
            *meant.values,
        )
        return {ITEMS: left}
