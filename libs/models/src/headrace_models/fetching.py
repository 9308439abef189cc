"""A model's files, brought to this machine: from wherever fsspec reaches into a folder, each one checked."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import fsspec

Failure = Literal["missing", "corrupt", "unsupported"]

#: What is read of a model's folder: numbers and words. Other kinds of weights can run code, and are not even fetched.
SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".jinja", ".model"})
_BLOCK = 1 << 20
#: Under this name begins what is not whole yet.
_WRITING = ".writing-"
#: What nobody knows of goes when it is so many seconds old: another instance may know of it already.
_LEFT_SECONDS = 3_600.0


class FetchFailed(Exception):
    """Files could not be brought. Its text is one of Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def fetch(address: str, files: Mapping[str, str], folder: Path, *, depth: int = 1) -> Path:
    """Returns `folder` with the files in it, fetched if they are not there; every file is checked either way.

    files: SHA-256 by name; a name has up to `depth` parts. Raises FetchFailed: "missing", "corrupt", or "unsupported"
    for names that lead elsewhere and for a model without safetensors.
    """
    wanted = {name: sha256 for name, sha256 in files.items() if PurePosixPath(name).suffix in SUFFIXES}
    if not all(_is_inside(name, depth) for name in wanted):
        raise FetchFailed("unsupported")
    if not any(name.endswith(".safetensors") for name in wanted):
        raise FetchFailed("unsupported")
    if not _is_whole(folder, wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _bring(address, wanted, folder)
    return folder


def is_below(address: str, root: str) -> bool:
    """Whether an address is of something below another, however the two are written. Below "" there is nothing."""
    if not root or ".." in PurePosixPath(address).parts:
        return False
    try:
        (where, path), (at, top) = fsspec.core.url_to_fs(address), fsspec.core.url_to_fs(root)
    except (OSError, ValueError, ImportError, RuntimeError):
        return False
    below = PurePosixPath(path).parts[: len(PurePosixPath(top).parts)] == PurePosixPath(top).parts
    return bool(where == at and below and PurePosixPath(path) != PurePosixPath(top))


def keep_only(folders: Collection[Path], shelf: Path) -> None:
    """Deletes all other folders two levels below `shelf`, and what somebody who died was writing, unless they are
    young."""
    for folder in shelf.glob("*/*"):
        if folder not in folders and not _is_young(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_inside(name: str, depth: int) -> bool:
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and path.as_posix() == name
        and len(path.parts) <= depth
        and not any(part.startswith(".") for part in path.parts)
    )


def _is_young(folder: Path) -> bool:
    try:
        return time.time() - folder.stat().st_mtime < _LEFT_SECONDS
    except OSError:  # it is gone
        return True


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    try:
        return all(_sha256(folder / name) == sha256 for name, sha256 in files.items())
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _bring(address: str, files: Mapping[str, str], folder: Path) -> None:
    """The folder appears whole or not at all, however many instances bring it."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    writing = Path(tempfile.mkdtemp(prefix=_WRITING, dir=folder.parent))
    try:
        with _reaching():
            filesystem, root = fsspec.core.url_to_fs(address)
            for name, sha256 in files.items():
                (writing / name).parent.mkdir(exist_ok=True)
                _copy(filesystem, f"{root.rstrip('/')}/{name}", writing / name, sha256)
        _place(writing, folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)


def _place(writing: Path, folder: Path) -> None:
    try:
        writing.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another instance was first, with the same files
            raise FetchFailed("missing") from None


def _copy(filesystem: Any, source: str, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with filesystem.open(source, "rb") as found, target.open("wb") as kept:
        while block := found.read(_BLOCK):
            digest.update(block)
            kept.write(block)
    if digest.hexdigest() != sha256:
        raise FetchFailed("corrupt")


@contextmanager
def _reaching() -> Iterator[None]:
    """An address that does not answer has nothing now. It is tried again."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError):
        raise FetchFailed("missing") from None
