"""What something was made of, and which snapshots hold it: ids and counts, no word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from headrace_feedback.datasets.snapshots import Snapshot

#: Of what somebody asks; the fields of headrace.feedback.v1.TraceRowsRequest.what.
Kind = Literal["dataset", "source", "document", "subject", "query_id", "model_version"]

#: So many of each are named.
SNAPSHOTS, DOCUMENTS, EXAMPLES = 1_000, 1_000, 100


@dataclass(frozen=True, slots=True)
class Asked:
    """Of what somebody asks. name: a snapshot's id, a source, "source/document", an end user, a query, a version."""

    kind: Kind
    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Holder:
    """A snapshot that holds it. rows: how many of its rows are of it; row_ids: some of these."""

    snapshot: Snapshot
    rows: int
    row_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of it. query_ids: some of these, newest first."""

    count: int = 0
    query_ids: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of it. holders: newest first. documents: "source/document" behind a snapshot or an interaction."""

    holders: Sequence[Holder]
    answers: Answers
    documents: Sequence[str]
