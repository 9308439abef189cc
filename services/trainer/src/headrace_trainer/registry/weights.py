"""Where models rest: a folder of its own for each, at an address that fsspec knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
from headrace_runtime.errors import Unavailable


class FsspecWeights:
    """See ports.Weights."""

    async def delete(self, address: str) -> None:
        """See Weights."""
        with _reached():
            await asyncio.to_thread(_delete, address)

    async def is_there(self, address: str) -> bool:
        """See Weights."""
        with _reached():
            return await asyncio.to_thread(_is_there, address)


def _delete(address: str) -> None:
    filesystem, folder = fsspec.core.url_to_fs(address)
    if "@" not in folder.rstrip("/").rpartition("/")[2]:
        raise ValueError("an address that ends with no NAME@VERSION is nobody's model")
    if filesystem.exists(folder):
        filesystem.rm(folder, recursive=True)


def _is_there(address: str) -> bool:
    filesystem, folder = fsspec.core.url_to_fs(address)
    return bool(filesystem.exists(folder))


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        # Somebody else was deleting it, and is done.
        return
    except OSError:
        raise Unavailable("where models rest") from None
