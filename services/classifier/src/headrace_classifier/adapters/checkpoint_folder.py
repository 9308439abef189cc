"""Checkpoints as files of a folder outside the database, 000000000001.jws and on; seals as seal-….jws. Blocking.

A checkpoint's file is written once and never again, a seal's is replaced. The folder is shared by all instances; a copy
on a medium that can only be written once, and that the database's administrators cannot reach, is worth having.
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
_SEAL = re.compile(r"seal-([0-9a-z]{1,64})\.jws")
#: A checkpoint or a seal has some 400 characters. What is longer is none, and is not read whole.
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
        name = self._write_aside(signed.text)
        try:
            os.link(name, self.path / f"{signed.number:012d}.jws")  # never in place of another, as a rename would be
        finally:
            name.unlink()
        _sync(self.path)

    def read_seals(self) -> dict[str, str]:
        """Every seal that is there, by its name; as read_all."""
        named = ((_SEAL.fullmatch(path.name), path) for path in sorted(self.path.iterdir()))
        return {match[1]: _read(path) for match, path in named if match}

    def write_seal(self, name: str, text: str) -> None:
        """Puts a seal in place of the one of that name, whole and on the disk, or not at all."""
        self._write_aside(text).replace(self._seal(name))
        _sync(self.path)

    def remove_seal(self, name: str) -> None:
        """Removes a seal, if it is there."""
        self._seal(name).unlink(missing_ok=True)

    def _seal(self, name: str) -> Path:
        return self.path / f"seal-{name}.jws"

    def _write_aside(self, text: str) -> Path:
        """Writes a file that is on the disk, but not yet in its place."""
        handle, name = tempfile.mkstemp(dir=self.path, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            Path(name).unlink()
            raise
        return Path(name)

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


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
