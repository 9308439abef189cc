"""Where snapshots rest: a folder for each, under an address that fsspec knows (a path, s3://…).

`data.parquet` has the rows, each with its content sealed; `manifest.jsonl` says which; `card.json` and `card.md` what
they are like. A folder is there whole or not at all: on a disk it is written beside, synced, and renamed; elsewhere
nobody looks at it before the books have it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from headrace_privacy import Tier
from headrace_runtime.errors import Unavailable

from headrace_feedback.datasets.snapshots import Row, Split
from headrace_feedback.interaction import Versioned

DATA, MANIFEST = "data.parquet", "manifest.jsonl"
CARD_JSON, CARD_MARKDOWN = "card.json", "card.md"
#: Unfinished work, beside the snapshots.
WRITING = ".writing"
#: Rows of a row group: some megabytes, which is what a reader holds.
ROW_GROUP = 2_000

_SCHEMA = pa.schema(
    [
        ("row_id", pa.string()),
        ("split", pa.int8()),
        ("kind", pa.string()),
        ("tier", pa.int8()),
        ("group", pa.string()),
        ("corrected", pa.bool_()),
        ("grant_id", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("documents", pa.list_(pa.string())),
        ("cited", pa.list_(pa.string())),
        ("chunks", pa.list_(pa.string())),
        ("variant_name", pa.string()),
        ("variant_version", pa.string()),
        ("prompt_name", pa.string()),
        ("prompt_version", pa.string()),
        ("completed_at", pa.timestamp("us", tz="UTC")),
        ("content", pa.binary()),
        ("asked", pa.binary()),
        ("kind_stated", pa.bool_()),
    ]
)
_SPILL = pa.schema([("content", pa.binary()), ("asked", pa.binary()), ("words", pa.list_(pa.int32()))])


@dataclass(frozen=True, slots=True)
class Sealed:
    """A row's words at rest: the DatasetRow and the Query that asked, each a SealedBytes; and its words by number.

    asked: empty for a passage of a document, which nobody asked.
    """

    content: bytes = field(repr=False)
    asked: bytes = field(repr=False)
    words: Sequence[int] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as it rests. documents: all that it was made of; cited: of these what it names. asked: see Sealed."""

    row_id: str
    split: Split
    kind: str
    tier: Tier
    group: str
    corrected: bool
    grant_id: str
    sources: tuple[str, ...]
    documents: tuple[str, ...]
    cited: tuple[str, ...]
    chunks: tuple[str, ...]
    variant: Versioned
    prompt: Versioned
    completed_at: datetime
    content: bytes = field(repr=False)
    asked: bytes = field(repr=False)
    kind_stated: bool = False


class Spill:
    """Sealed rows on their way, on a disk: memory holds a batch of them. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None

    def write(self, rows: Sequence[Sealed]) -> None:
        """Puts rows behind those before."""
        if self._writer is None:
            self._writer = pa.ipc.new_stream(str(self.path), _SPILL)
        columns = [[row.content for row in rows], [row.asked for row in rows], [row.words for row in rows]]
        arrays = [pa.array(column, type=kind.type) for column, kind in zip(columns, _SPILL, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SPILL))

    def close(self) -> None:
        """Ends writing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def read(self) -> Iterator[Sequence[Sealed]]:
        """Goes through all rows in the order of writing."""
        self.close()
        if not self.path.exists():
            return
        with pa.ipc.open_stream(str(self.path)) as reader:
            for batch in reader:
                columns = [batch.column(name).to_pylist() for name in ("content", "asked", "words")]
                yield [Sealed(*one) for one in zip(*columns, strict=True)]


def write_data(path: Path, rows: Sequence[Row], places: Sequence[int], spill: Spill) -> tuple[set[int], int]:
    """Writes data.parquet: rows whose sealed words lie at these places of the spill, in order.

    Returns the numbers of the different words in it, and how many words there are.
    """
    wanted = dict(zip(places, rows, strict=True))
    different: set[int] = set()
    total = place = 0
    with pq.ParquetWriter(str(path), _SCHEMA, compression="zstd") as writer:
        waiting: list[tuple[Row, Sealed]] = []
        for batch in spill.read():
            for sealed in batch:
                if place in wanted:
                    waiting.append((wanted[place], sealed))
                    different.update(sealed.words)
                    total += len(sealed.words)
                place += 1
            while len(waiting) >= ROW_GROUP:
                writer.write_table(_table(waiting[:ROW_GROUP]))
                del waiting[:ROW_GROUP]
        writer.write_table(_table(waiting))
    return different, total


def _table(rows: Sequence[tuple[Row, Sealed]]) -> pa.Table:
    return pa.Table.from_pylist([_cells(row, sealed) for row, sealed in rows], schema=_SCHEMA)


def _cells(row: Row, sealed: Sealed) -> dict[str, object]:
    return {
        "row_id": row.row_id,
        "split": int(row.split),
        "kind": row.kind,
        "tier": int(row.tier),
        "group": row.group,
        "corrected": row.corrected,
        "grant_id": row.grant_id,
        "sources": row.sources,
        "documents": row.documents,
        "cited": row.cited,
        "chunks": row.chunks,
        "variant_name": row.variant.name,
        "variant_version": row.variant.version,
        "prompt_name": row.prompt.name,
        "prompt_version": row.prompt.version,
        "completed_at": row.completed_at,
        "content": sealed.content,
        "asked": sealed.asked,
        "kind_stated": row.kind_stated,
    }


def _stored(cells: Mapping[str, Any]) -> Stored:
    return Stored(
        row_id=cells["row_id"],
        split=Split(cells["split"]),
        kind=cells["kind"],
        tier=Tier(cells["tier"]),
        group=cells["group"],
        corrected=cells["corrected"],
        grant_id=cells["grant_id"],
        sources=tuple(cells["sources"]),
        documents=tuple(cells["documents"]),
        cited=tuple(cells["cited"]),
        chunks=tuple(cells["chunks"]),
        variant=Versioned(cells["variant_name"], cells["variant_version"]),
        prompt=Versioned(cells["prompt_name"], cells["prompt_version"]),
        completed_at=cells["completed_at"].astimezone(UTC),
        content=cells["content"],
        asked=cells["asked"],
        # Of snapshots from before anybody could state one, the column is not there.
        kind_stated=bool(cells.get("kind_stated")),
    )


class Shelf:
    """The folders under one address. `open_shelf` makes one. Raises Unavailable where the address does not answer."""

    def __init__(self, filesystem: fsspec.AbstractFileSystem, root: str) -> None:
        self._files = filesystem
        self._root = root.rstrip("/")

    @property
    def _is_local(self) -> bool:
        return isinstance(self._files, LocalFileSystem)

    def _folder(self, tenant: str, dataset_id: str) -> str:
        return f"{self._root}/{tenant}/{dataset_id}"

    @asynccontextmanager
    async def workplace(self) -> AsyncIterator[Path]:
        """A folder on a local disk for work under way; it goes when the context ends."""
        folder = await asyncio.to_thread(self._make_workplace)
        try:
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _make_workplace(self) -> Path:
        with _reached():
            if not self._is_local:
                return Path(tempfile.mkdtemp(prefix="headrace-dataset-"))
            folder = Path(self._root) / WRITING / uuid4().hex
            folder.mkdir(parents=True, mode=0o700)
            return folder

    async def sweep(self, *, older_than: float) -> int:
        """Deletes what a process that died has left of its work, once it is so many seconds old; returns how many."""
        return await asyncio.to_thread(self._sweep, older_than) if self._is_local else 0

    def _sweep(self, older_than: float) -> int:
        folder = Path(self._root) / WRITING
        if not folder.is_dir():
            return 0
        limit = datetime.now(UTC).timestamp() - older_than
        old = [one for one in folder.iterdir() if one.stat().st_mtime < limit]
        for one in old:
            shutil.rmtree(one, ignore_errors=True)
        return len(old)

    async def put(self, tenant: str, dataset_id: str, folder: Path) -> None:
        """Makes a finished folder the snapshot's, whole or not at all."""
        place = self._move if self._is_local else self._upload
        await asyncio.to_thread(place, folder, self._folder(tenant, dataset_id))

    def _move(self, folder: Path, final: str) -> None:
        with _reached():
            for one in folder.iterdir():
                _sync(one)
            _sync(folder)
            target = Path(final)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if target.exists():  # left by somebody who died before the books had it
                target.rename(folder.with_name(f"{folder.name}.old"))
            folder.rename(target)
            _sync(target.parent)
            shutil.rmtree(folder.with_name(f"{folder.name}.old"), ignore_errors=True)

    def _upload(self, folder: Path, final: str) -> None:
        with _reached():
            for one in sorted(folder.iterdir()):
                self._files.put_file(str(one), f"{final}/{one.name}")

    async def read(
        self, tenant: str, dataset_id: str, *, batch: int, split: Split = Split.UNSPECIFIED
    ) -> AsyncIterator[Sequence[Stored]]:
        """The rows in order, so many at a time. Raises FileNotFoundError when the data is gone."""
        rows = self._read(f"{self._folder(tenant, dataset_id)}/{DATA}", batch, split)
        while (found := await asyncio.to_thread(next, rows, None)) is not None:
            yield found

    def _read(self, path: str, batch: int, split: Split) -> Iterator[Sequence[Stored]]:
        with _reached(), self._files.open(path, "rb") as file:
            waiting: list[Stored] = []
            for part in pq.ParquetFile(file).iter_batches(batch_size=batch):
                rows = map(_stored, part.to_pylist())
                waiting += [row for row in rows if split in (Split.UNSPECIFIED, row.split)]
                while len(waiting) >= batch:
                    yield waiting[:batch]
                    del waiting[:batch]
            if waiting:
                yield waiting

    async def manifest(self, tenant: str, dataset_id: str) -> bytes:
        """The manifest. Raises FileNotFoundError when it is gone."""
        return await asyncio.to_thread(self._manifest, f"{self._folder(tenant, dataset_id)}/{MANIFEST}")

    def _manifest(self, path: str) -> bytes:
        with _reached():
            found: bytes = self._files.cat_file(path)
            return found

    async def ids(self, tenant: str) -> Sequence[str]:
        """The ids of all folders of a tenant's that hold rows."""
        return await asyncio.to_thread(self._ids, f"{self._root}/{tenant}")

    def _ids(self, folder: str) -> list[str]:
        with _reached():
            self._files.invalidate_cache()
            if not self._files.exists(folder):
                return []
            names = [one.rstrip("/").rpartition("/")[2] for one in self._files.ls(folder, detail=False)]
        return [name for name in names if self._has_rows(f"{folder}/{name}")]

    async def delete(self, tenant: str, dataset_id: str) -> None:
        """Deletes what names or holds rows; the card stays. What is gone already is no error."""
        await asyncio.to_thread(self._delete, self._folder(tenant, dataset_id))

    def _delete(self, folder: str) -> None:
        with _reached():
            for name in (DATA, MANIFEST):
                if self._files.exists(f"{folder}/{name}"):
                    self._files.rm_file(f"{folder}/{name}")
            self._files.invalidate_cache()

    async def has_rows(self, tenant: str, dataset_id: str) -> bool:
        """Reads back whether anything that names or holds rows is there."""
        return await asyncio.to_thread(self._has_rows, self._folder(tenant, dataset_id))

    def _has_rows(self, folder: str) -> bool:
        with _reached():
            self._files.invalidate_cache()
            return any(self._files.exists(f"{folder}/{name}") for name in (DATA, MANIFEST))


def open_shelf(address: str) -> Shelf:
    """Opens an address. Touches nothing yet. Raises ValueError for one that no installed filesystem knows."""
    filesystem, root = fsspec.core.url_to_fs(address)
    return Shelf(filesystem, root)


def sha256_of(path: Path) -> str:
    """The hash of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reached() -> Iterator[None]:
    """What is missing is the caller's to explain; any other fault of the disk or the network is an outage."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError:
        raise Unavailable("the store of datasets") from None
