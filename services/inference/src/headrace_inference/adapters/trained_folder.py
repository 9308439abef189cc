"""A trained model's files, brought to this machine: from wherever fsspec reaches into a folder, each one checked."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from headrace_inference.trained_ports import LoadFailed
from headrace_inference.trained_records import TrainedRecord

#: What is read of a model's folder: numbers and words. Other kinds of weights can run code, and are not even fetched.
SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".jinja", ".model"})
_BLOCK = 1 << 20
#: Under this name begins what is not whole yet.
_WRITING = ".writing-"
#: What nobody knows of goes when it is so many seconds old: another instance may know of it already.
_LEFT_SECONDS = 3_600.0


def fetch(record: TrainedRecord, shelf: Path) -> Path:
    """The model's folder under `shelf`, fetched if it is not there; every file is checked either way.

    Raises LoadFailed: "missing", "corrupt", or "unsupported" for a model without safetensors.
    """
    files = {name: sha256 for name, sha256 in record.files.items() if PurePosixPath(name).suffix in SUFFIXES}
    if any(PurePosixPath(name).name != name or name.startswith(".") for name in files):
        raise LoadFailed("unsupported")
    if not any(name.endswith(".safetensors") for name in files):
        raise LoadFailed("unsupported")
    folder = folder_of(record, shelf)
    if not _is_whole(folder, files):
        shutil.rmtree(folder, ignore_errors=True)
        _bring(record.address, files, folder)
    return folder


def folder_of(record: TrainedRecord, shelf: Path) -> Path:
    """Where its files are kept."""
    return shelf / record.tenant / record.model


def keep_only(records: Collection[TrainedRecord], shelf: Path) -> None:
    """Deletes the folders of all other models, and what somebody who died was writing, unless they are young."""
    kept = {folder_of(record, shelf) for record in records}
    for folder in shelf.glob("*/*"):
        if folder not in kept and not _is_young(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_young(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime < _LEFT_SECONDS
    except OSError:  # it is gone
        return True


def _is_whole(folder: Path, files: dict[str, str]) -> bool:
    try:
        return all(_sha256(folder / name) == sha256 for name, sha256 in files.items())
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bring(address: str, files: dict[str, str], folder: Path) -> None:
    """The folder appears whole or not at all, however many instances bring it."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    writing = Path(tempfile.mkdtemp(prefix=_WRITING, dir=folder.parent))
    try:
        with _reaching():
            filesystem, root = fsspec.core.url_to_fs(address)
            for name, sha256 in files.items():
                _copy(filesystem, f"{root.rstrip('/')}/{name}", writing / name, sha256)
        _place(writing, folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def _place(writing: Path, folder: Path) -> None:
    try:
        writing.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another instance was first, with the same files
            raise LoadFailed("missing") from None


def _copy(filesystem: Any, source: str, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with filesystem.open(source, "rb") as found, target.open("wb") as kept:
        while block := found.read(_BLOCK):
            digest.update(block)
            kept.write(block)
    if digest.hexdigest() != sha256:
        raise LoadFailed("corrupt")


@contextmanager
def _reaching() -> Iterator[None]:
    """An address that does not answer has nothing now. It is tried again."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError):
        raise LoadFailed("missing") from None
