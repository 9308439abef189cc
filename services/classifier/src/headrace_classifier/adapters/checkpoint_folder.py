"""Checkpoints as files of a folder outside the database, 000000000001.jws and on; seals as seal-….txt. Blocking.

A checkpoint's file is written once and never again. A seal's has two places that are written in turn, so that one of
them is whole whenever the machine dies: nothing is made or renamed, and the disk has it in a tenth of a millisecond.

The folder is shared by all instances; a copy on a medium that can only be written once, and that the database's
administrators cannot reach, is worth having.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace_runtime.errors import Conflict

from headrace_classifier.checkpoints import Signed

_NAME = re.compile(r"(\d{12})\.jws")
_SEAL = re.compile(r"seal-([0-9a-z]{1,64})\.txt")
#: A place of a seal, in bytes: one block of a disk, so that writing one leaves the other alone.
_PLACE = 4_096
#: A checkpoint has some 400 characters. What is longer is none, and is not read whole.
_MOST_CHARACTERS = 8_192


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """The folder."""

    path: Path

    def prepare(self) -> None:
        """Makes it where there is none. Raises Conflict when it cannot be written to."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise Conflict(f"checkpoints cannot be written to {self.path} ({error.strerror}): choose another") from None

    def read_all(self) -> list[Signed]:
        """Every checkpoint that is there, by number. A file that cannot be read counts as empty: nobody signed it."""
        return [Signed(number, _read(path)) for number, path in sorted(self._files())]

    def last(self) -> Signed | None:
        """The one with the highest number."""
        found = max(self._files(), default=None)
        return Signed(found[0], _read(found[1])) if found else None

    def write(self, signed: Signed) -> None:
        """Writes a new checkpoint, whole and on the disk, or not at all. Raises FileExistsError when it is there."""
        handle, name = tempfile.mkstemp(dir=self.path, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(signed.text)
                file.flush()
                os.fsync(file.fileno())
            os.link(name, self.path / f"{signed.number:012d}.jws")  # never in place of another, as a rename would be
        finally:
            Path(name).unlink()
        _sync(self.path)

    def read_seals(self) -> dict[str, list[str]]:
        """What stands in the places of every seal, by its name. One of them may be torn."""
        named = ((_SEAL.fullmatch(path.name), path) for path in sorted(self.path.iterdir()))
        return {match[1]: _read_places(path) for match, path in named if match}

    def write_seal(self, name: str, text: str, *, place: int) -> None:
        """Writes a seal to place 0 or 1 of its file; returns when the disk has it."""
        padded = text.encode("ascii").ljust(_PLACE - 1) + b"\n"
        handle = os.open(self._seal(name), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            is_new = os.fstat(handle).st_size == 0
            if is_new:
                os.write(handle, b"\n".rjust(2 * _PLACE))
            os.pwrite(handle, padded, place * _PLACE)
            os.fdatasync(handle)
        finally:
            os.close(handle)
        if is_new:
            _sync(self.path)

    def remove_seal(self, name: str) -> None:
        """Removes a seal, if it is there."""
        self._seal(name).unlink(missing_ok=True)

    def _seal(self, name: str) -> Path:
        return self.path / f"seal-{name}.txt"

    def _files(self) -> Iterator[tuple[int, Path]]:
        for path in self.path.iterdir():
            if match := _NAME.fullmatch(path.name):
                yield int(match[1]), path


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(_MOST_CHARACTERS)
    except (OSError, UnicodeDecodeError):
        return ""


def _read_places(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(2 * _PLACE).decode("ascii", "replace")
    except OSError:
        return []
    return [content[:_PLACE].strip(), content[_PLACE:].strip()]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
