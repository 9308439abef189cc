"""Which files of a folder are documents, and why the others are not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEDIA_TYPES = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".txt": "text/plain",
    ".text": "text/plain",
    ".htm": "text/html",
    ".html": "text/html",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}

#: The limits of the contract.
MAX_BYTES = 4 * 1024 * 1024
MAX_ID = 512


@dataclass(frozen=True, slots=True)
class Found:
    """A file to put; its document id is its path below the folder that was named."""

    path: Path
    document_id: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that is left out, and why."""

    path: Path
    reason: str


def scan(paths: list[Path]) -> Iterator[Found | Skipped]:
    """Everything below the paths, each folder by name. A path that is named itself is taken though it is hidden."""
    for path in paths:
        if path.is_dir():
            yield from _folder(path, path)
        else:
            yield _file(path, path.name)


def _folder(folder: Path, root: Path) -> Iterator[Found | Skipped]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield Skipped(folder, _unreadable(error))
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            yield Skipped(path, "hidden")
        elif entry.is_dir(follow_symlinks=False):
            yield from _folder(path, root)
        elif entry.is_symlink() and path.is_dir():
            yield Skipped(path, "a link to a folder")  # it may lead back to here
        else:
            yield _file(path, path.relative_to(root).as_posix())


def _file(path: Path, document_id: str) -> Found | Skipped:
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        return Skipped(path, f"unsupported type {path.suffix or '(no extension)'}")
    if len(document_id) > MAX_ID:
        return Skipped(path, f"its path is longer than {MAX_ID} characters")
    if not document_id.isprintable():  # what is not UTF-8 comes as lone surrogates, which no message can carry
        return Skipped(path, "its name cannot be written as text")
    return _sized(path, document_id, media_type)


def _sized(path: Path, document_id: str, media_type: str) -> Found | Skipped:
    try:
        size = path.stat().st_size
    except OSError as error:
        return Skipped(path, _unreadable(error))
    if size == 0:
        return Skipped(path, "empty")
    if size > MAX_BYTES:
        return Skipped(path, f"too large: {size / 1024 / 1024:.1f} MiB, at most 4 MiB")
    return Found(path, document_id, media_type)


def read(found: Found) -> bytes | Skipped:
    """The file's content, or why it cannot be had."""
    try:
        return found.path.read_bytes()
    except OSError as error:
        return Skipped(found.path, _unreadable(error))


def _unreadable(error: OSError) -> str:
    return f"unreadable: {(error.strerror or type(error).__name__).lower()}"
