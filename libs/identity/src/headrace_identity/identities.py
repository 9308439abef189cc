"""The keys that are believed: a set in a file or at an address, kept fresh off the event loop."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import structlog

from headrace_identity.errors import UnusableKey
from headrace_identity.keys import PublicKey, parse_key_set

log = structlog.get_logger()

#: A key that nobody knows has the set read again, but not more often than so, in seconds.
REFRESH_AT_MOST_EVERY = 30.0
#: How often a file, and an address, are read anyway: a key that was removed is believed for so long, in seconds.
FILE_EVERY = 5.0
ADDRESS_EVERY = 300.0
_TIMEOUT = 5.0
_MOST_BYTES = 1_048_576

Read = Callable[[], str]


class Identities:
    """The keys that are believed now. `generation` counts their changes."""

    def __init__(self, keys: Mapping[str, PublicKey], read: Read, *, origin: str, clock: Callable[[], float]) -> None:
        self._keys = dict(keys)
        self._read = read
        self._origin = origin
        self._clock = clock
        self._asked_at = clock()
        self._content = ""
        self._reading = asyncio.Lock()
        self.generation = 0

    def known(self, kid: str) -> PublicKey | None:
        """Returns the key if it is known already."""
        return self._keys.get(kid)

    async def find(self, kid: str) -> PublicKey | None:
        """Returns the key; an unknown one has the set read again, at most every 30 s."""
        if (key := self._keys.get(kid)) is not None:
            return key
        async with self._reading:
            if kid not in self._keys and self._clock() - self._asked_at >= REFRESH_AT_MOST_EVERY:
                await self._refresh()
        return self._keys.get(kid)

    async def refresh(self) -> None:
        """Reads the set again. Keys that cannot be read leave those in force that were."""
        async with self._reading:
            await self._refresh()

    async def _refresh(self) -> None:
        self._asked_at = self._clock()
        try:
            content = await asyncio.to_thread(self._read)
            keys = self._keys if content == self._content else parse_key_set(content, origin=self._origin)
        except UnusableKey as error:
            log.warning("identities not refreshed", reason=str(error))
            return
        self._content = content
        if keys is not self._keys:
            self._keys = dict(keys)
            self.generation += 1


@asynccontextmanager
async def open_identities(location: str, *, clock: Callable[[], float] = time.monotonic) -> AsyncIterator[Identities]:
    """Opens the set at a path or an http(s) address, and keeps it fresh. Raises UnusableKey."""
    is_address = location.startswith(("https://", "http://"))
    read = _reader_of_address(location) if is_address else _reader_of_file(Path(location))
    keys = parse_key_set(await asyncio.to_thread(read), origin=location)
    identities = Identities(keys, read, origin=location, clock=clock)
    task = asyncio.create_task(_keep_fresh(identities, ADDRESS_EVERY if is_address else FILE_EVERY))
    try:
        yield identities
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _keep_fresh(identities: Identities, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await identities.refresh()


def _reader_of_file(path: Path) -> Read:
    def read() -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UnusableKey(f"the set of keys {path} cannot be read ({type(error).__name__})") from error

    return read


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Keys come from where one said, not from where that place points to."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follows none."""


def _reader_of_address(address: str) -> Read:
    opener = urllib.request.build_opener(_NoRedirects)

    def read() -> str:
        try:
            with opener.open(address, timeout=_TIMEOUT) as response:
                content: bytes = response.read(_MOST_BYTES)
            return content.decode()
        except (OSError, HTTPException, UnicodeDecodeError) as error:
            raise UnusableKey(f"the set of keys at {address} cannot be read ({type(error).__name__})") from error

    return read
