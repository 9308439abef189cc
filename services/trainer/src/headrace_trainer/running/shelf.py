"""Where models rest: a folder for each version, at an address that fsspec knows."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

import fsspec
from headrace_runtime.errors import Unavailable

from headrace_trainer.running.failures import Stopped

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileShelf:
    """See ports.Shelf. root: a folder, or an address such as s3://…; the credentials are the environment's."""

    root: str

    async def put(self, folder: Path, *, model: str, files: Mapping[str, str]) -> str:
        """See ports.Shelf. A version's files are named by their hashes, so writing them again changes nothing."""
        try:
            return await asyncio.to_thread(_put, self.root, folder, model, files)
        except OSError as error:
            if error.errno in (ENOSPC, EDQUOT):
                raise Stopped("disk_full") from None
            raise Unavailable("the folder of models") from None


def _put(root: str, folder: Path, model: str, files: Mapping[str, str]) -> str:
    system, path = fsspec.core.url_to_fs(root)
    target = f"{path.rstrip('/')}/{model}"
    system.makedirs(target, exist_ok=True)
    for name, digest in files.items():
        there = f"{target}/{name}"
        system.makedirs(there.rpartition("/")[0], exist_ok=True)
        system.put_file(str(folder / name), there)
        if _digest(system, there) != digest:
            raise Stopped("corrupt_weights")
    address: str = system.unstrip_protocol(target)
    return address


def _digest(system: Any, path: str) -> str:
    """Of what is read back: caches of fsspec may not answer for it."""
    digest = hashlib.sha256()
    with system.open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
