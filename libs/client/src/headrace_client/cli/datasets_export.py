"""A snapshot as a folder that Hugging Face `datasets` loads: train and test as Parquet or JSON Lines, and the card.

It is written beside and takes its place once it is whole; every file is for its owner's eyes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import yaml
from headrace.feedback.v1.datasets_pb2 import Dataset, DatasetRow

from headrace_client.cli.datasets_words import describe, exclusion_rows, purpose_of, row_values, split_word
from headrace_client.errors import NotConfigured

FORMATS = ("parquet", "jsonl")
_OWNER_ONLY = 0o600
_LISTS = frozenset({"passages", "key_facts", "documents"})
_FLAGS = frozenset({"corrected", "unanswerable", "kind_stated"})
#: Every column in order, with its type as Hugging Face calls it.
COLUMNS = {name: "bool" if name in _FLAGS else "string" for name in row_values(DatasetRow())}


class Sink(Protocol):
    """Where the rows of one side go."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Puts rows behind those before."""

    def close(self) -> None:
        """Ends the file."""


class JsonLines:
    """One object a line."""

    def __init__(self, path: Path) -> None:
        self._file = _private(path, "w")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """See Sink."""
        self._file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def close(self) -> None:
        """See Sink."""
        self._file.close()


class Parquet:
    """A Parquet file. Raises NotConfigured where pyarrow is not installed."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415 - large, and needed for this format alone
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            raise NotConfigured("Parquet needs pyarrow, which is not installed; say --format jsonl.") from None
        kinds = {name: pa.bool_() if kind == "bool" else pa.string() for name, kind in COLUMNS.items()}
        lists = {name: pa.list_(pa.string()) for name in _LISTS}
        self._arrow, self._schema = pa, pa.schema(list((kinds | lists).items()))
        self._file = _private(path, "wb")
        self._writer = pq.ParquetWriter(self._file, self._schema)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """See Sink."""
        self._writer.write_table(self._arrow.Table.from_pylist(list(rows), schema=self._schema))

    def close(self) -> None:
        """See Sink."""
        self._writer.close()
        self._file.close()


class Folder:
    """An export under way."""

    def __init__(self, path: Path, form: str) -> None:
        self.path = path
        self._form = form
        self._sinks: dict[str, Sink] = {}
        self.rows: dict[str, int] = {}

    def add(self, rows: Sequence[DatasetRow]) -> None:
        """Puts rows to their sides."""
        for side in ("train", "test"):
            if mine := [row_values(row) for row in rows if split_word(row.split) == side]:
                self._sink(side).write(mine)
                self.rows[side] = self.rows.get(side, 0) + len(mine)

    def _sink(self, side: str) -> Sink:
        if side not in self._sinks:
            make = Parquet if self._form == "parquet" else JsonLines
            self._sinks[side] = make(self.path / f"{side}.{self._form}")
        return self._sinks[side]

    def close(self) -> None:
        """Ends the files."""
        for sink in self._sinks.values():
            sink.close()

    def describe(self, dataset: Dataset) -> None:
        """Writes the card."""
        with _private(self.path / "README.md", "w") as file:
            file.write(readme(dataset, self.rows, self._form))


@contextmanager
def written_whole(out: Path, form: str) -> Iterator[Folder]:
    """A folder that is there once the context ends well. Raises NotConfigured when something is there already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise NotConfigured(f"{out} is there already; name a folder that is not.")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, part, ignore_errors=True)
        folder = Folder(part, form)
        try:
            yield folder
        finally:
            folder.close()
        if out.exists():
            out.rmdir()
        part.rename(out)


def readme(dataset: Dataset, rows: Mapping[str, int], form: str) -> str:
    """The card, with the front matter that tells `datasets.load_dataset` which file is which side."""
    features = [
        {"name": name, "list": "string"} if name in _LISTS else {"name": name, "dtype": kind}
        for name, kind in COLUMNS.items()
    ]
    sides = [side for side in ("train", "test") if rows.get(side)]
    front = {
        "pretty_name": dataset.name,
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": side, "path": f"{side}.{form}"} for side in sides],
            }
        ],
        "dataset_info": {"config_name": "default", "features": features},
        "headrace": {"dataset_id": dataset.dataset_id, "purpose": purpose_of(dataset), "grants": list(dataset.grants)},
    }
    lines = ["---", yaml.safe_dump(front, sort_keys=False).rstrip(), "---", "", f"# {dataset.name}", ""]
    lines += [f"- {line}" for line in describe(dataset)]
    lines += [f"- left out: {why} ({tier}): {number}" for why, tier, number in exclusion_rows(dataset)]
    lines += [
        "",
        "This is a copy in the clear, out of Headrace's hands: when an erasure or the end of a grant touches the",
        "snapshot, delete it. `headrace datasets show` says whether it may still be used.",
        "",
    ]
    return "\n".join(lines)


def _private(path: Path, mode: str) -> IO[Any]:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    return os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8")
