"""The datasets' part in an erasure: a snapshot that it touches ends, and its files go, whosever the other rows are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from headrace_database import Connection
from headrace_privacy import Erased, Vault
from headrace_runtime.errors import Conflict
from headrace_stream import Unit
from headrace_stream.erasing import Document, Erasure, Expired, Kind, Names, Source, Subject, keep_out, names_of

from headrace_feedback.datasets.keeping import Library, ended_event
from headrace_feedback.datasets.snapshots import Row, State

DATASETS = "datasets"
LINEAGE = "feedback.snapshot_rows"
#: What people read before. It is listed so that whoever asked for the erasure knows whom to ask.
COPIES = "exports of datasets"

HOW = {
    DATASETS: "marked as erased, files deleted",
    LINEAGE: "deleted and vacuumed",
    COPIES: "copies that people took, out of the house's hands: not deleted",
}

# Rows that people wrote: the source "dataset:NAME", and in it the document "rows".
_OF_IMPORT = (
    "r.dataset_id IN (SELECT s.dataset_id FROM snapshots s WHERE s.tenant = $1 AND s.query = '' AND {series} = $2)"
)
#: Rows `r` of a source, and of a document ("source/id"), $2.
OF_SOURCE = f"($2 = ANY(r.sources) OR {_OF_IMPORT})".format(series="'dataset:' || s.name")
OF_DOCUMENT = f"($2 = ANY(r.documents) OR {_OF_IMPORT})".format(series="'dataset:' || s.name || '/rows'")


@dataclass(frozen=True, slots=True)
class Meant:
    """An SQL condition on a row `r`, and its values, from $2 on."""

    rows: str
    values: tuple[object, ...] = field(repr=False)


def meant_by(erasure: Erasure, names: Names) -> Meant:
    """Returns which rows an erasure means. A row is as old as its question."""
    match erasure.what:
        case Subject(name):
            return Meant("r.subject = $2 AND r.asked_at <= $3", (names.subject(name), erasure.until))
        case Source(source):
            return Meant(OF_SOURCE, (source,))
        case Document(source, document_id):
            return Meant(OF_DOCUMENT, (f"{source}/{document_id}",))
        case Expired(tier, before):
            return Meant("r.tier = $2 AND r.asked_at < $3", (int(tier), before))


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """See headrace_feedback.erasing.Part: the books. The files are DatasetFiles'."""

    how: Mapping[str, str] = field(default_factory=lambda: dict(HOW))
    tables: Sequence[str] = ("snapshot_rows",)

    async def remove(
        self, connection: Connection, erasure: Erasure, names: Names, *, queries: Sequence[UUID]
    ) -> Mapping[str, int]:
        """See Part.remove. What has ended by a grant ends anew: now its rows are gone."""
        meant = meant_by(erasure, names)
        touched = await connection.fetch(
            f"SELECT DISTINCT r.dataset_id FROM snapshot_rows r WHERE r.tenant = $1 AND {meant.rows}"  # noqa: S608 - our own words
            " UNION SELECT dataset_id FROM snapshot_rows"
            f" WHERE tenant = $1 AND row_id = ANY(${len(meant.values) + 2})",
            erasure.tenant,
            *meant.values,
            [str(query) for query in queries],
        )
        ids = [row["dataset_id"] for row in touched]
        if not ids:
            return {}
        await connection.execute(
            "UPDATE snapshots SET state = 3, ended_by = $3, ended_at = $4, is_told = false"
            " WHERE tenant = $1 AND dataset_id = ANY($2)",
            erasure.tenant,
            ids,
            f"erasure {erasure.erasure_id}",
            erasure.now,
        )
        copies = await connection.fetchval(
            "SELECT count(*) FROM exports WHERE tenant = $1 AND dataset_id = ANY($2) AND rows > 0"
            " AND NOT starts_with(role, 'service:')",
            erasure.tenant,
            ids,
        )
        gone = await connection.execute(
            "DELETE FROM snapshot_rows WHERE tenant = $1 AND dataset_id = ANY($2)", erasure.tenant, ids
        )
        return {DATASETS: len(ids), LINEAGE: int(gone.rpartition(" ")[2]), COPIES: copies}

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Part.left."""
        meant = meant_by(erasure, names)
        count = f"SELECT count(*) FROM snapshot_rows r WHERE r.tenant = $1 AND {meant.rows}"  # noqa: S608 - our own words
        return {LINEAGE: await connection.fetchval(count, erasure.tenant, *meant.values)}


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """See headrace_feedback.erasing.Elsewhere: the files, and the word of what ended."""

    library: Library

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """Deletes the files of what is erased, and of what no book knows; then says what ended."""
        await self.tidy(erasure.tenant)
        return {}

    async def tidy(self, tenant: str) -> None:
        """The same, for one tenant, whoever erased."""
        library = self.library
        async with library.ledger.unit(tenant=tenant) as unit:
            books = library.books_on(unit)
            # Nobody keeps a snapshot meanwhile: what is there and in no book was left by somebody who died.
            await books.exclude_keepers(tenant)
            known = set(await books.ids(tenant))
            erased = await books.ids(tenant, State.ERASED)
            for dataset_id in [*erased, *(set(await library.store.ids(tenant)) - known)]:
                await library.store.delete(tenant, dataset_id)
            ended = await books.untold(tenant)
            unit.emit(*(ended_event(one) for one in ended))
            await books.told(tenant, [one.dataset_id for one in ended])

    async def left(self, erasure: Erasure) -> Mapping[str, int]:
        """Reads back how many erased snapshots still have files."""
        library, tenant = self.library, erasure.tenant
        async with library.ledger.unit(tenant=tenant) as unit:
            erased = await library.books_on(unit).ids(tenant, State.ERASED)
        left = [dataset_id for dataset_id in erased if await library.store.has_rows(tenant, dataset_id)]
        return {DATASETS: len(left)}


@dataclass(frozen=True, slots=True)
class DatasetTombstones:
    """See ports.Tombstones."""

    vault: Vault

    async def keep_out_rows(self, unit: Unit, tenant: str, rows: Sequence[Row]) -> None:
        """See ports.Tombstones."""
        names = await names_of(self.vault, tenant)
        documents = {document for row in rows for document in row.documents}
        sources = {source for row in rows for source in row.sources}
        asked = max((row.asked_at for row in rows), default=None)
        lasting = [(Kind.DOCUMENT, names.document(*document.split("/", 1))) for document in sorted(documents)]
        lasting += [(Kind.QUERY, names.query(UUID(row.row_id))) for row in rows if _is_uuid(row.row_id)]
        try:
            await keep_out(unit.connection, tenant, lasting, at=asked)
            for subject, asked_at in _earliest(rows).items():
                await keep_out(unit.connection, tenant, [(Kind.SUBJECT, subject)], at=asked_at)
            await keep_out(unit.connection, tenant, [(Kind.SOURCE, names.source(one)) for one in sources], at=asked)
        except Erased:
            raise Conflict("something in it was erased meanwhile; build it again") from None


def _earliest(rows: Sequence[Row]) -> dict[bytes, datetime]:
    """Each subject's earliest question: what came before an erasure is meant by it."""
    earliest: dict[bytes, datetime] = {}
    for row in rows:
        if row.subject:
            earliest[row.subject] = min(earliest.get(row.subject, row.asked_at), row.asked_at)
    return earliest


def _is_uuid(row_id: str) -> bool:
    try:
        UUID(row_id)
    except ValueError:
        return False
    return True
