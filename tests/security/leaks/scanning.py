"""Looks for canaries in what was written, through codings upon codings."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from tests.security.leaks.canaries import Canary, Needle, needles

#: Codings inside of codings are followed so deep.
DEPTH = 3
#: What is larger is looked through as it is: the codings of one level are among the needles.
DECODED_BYTES = 2_000_000

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){8,}")
_UNICODE = re.compile(rb"\\u([0-9a-fA-F]{4})")


@dataclass(frozen=True, slots=True)
class Written:
    """One thing that was written, and where: "table ingest.queries", "file logs/ingest.log"."""

    place: str
    data: bytes


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A canary that came out. Its text is not told."""

    place: str
    canary: str
    form: str


class Scanner:
    """Finds canaries in bytes."""

    def __init__(self, canaries: list[Canary]) -> None:
        self._needles = needles(canaries)

    def hits(self, written: Iterable[Written]) -> list[Hit]:
        """Returns what is found, each once, by place."""
        return sorted({hit for each in written for hit in self._in(each)})

    def _in(self, written: Written) -> Iterator[Hit]:
        seen: set[bytes] = set()
        layer = [("", written.data)]
        for depth in range(DEPTH):
            below: list[tuple[str, bytes]] = []
            for coding, data in layer:
                if data in seen:
                    continue
                seen.add(data)
                for needle in self._needles_in(data):
                    yield Hit(written.place, needle.canary.name, f"{needle.form}{coding}")
                if depth + 1 < DEPTH and len(data) <= DECODED_BYTES:
                    below += [(f"{coding} in {name}", inner) for name, inner in _decoded(data)]
            layer = below

    def _needles_in(self, data: bytes) -> Iterator[Needle]:
        lowered = data.lower()
        return (needle for needle in self._needles if needle.data in lowered)


def _decoded(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What the data may stand for: all that it holds of a coding, decoded and joined."""
    if data[:2] == b"\x1f\x8b":
        yield from _tried("gzip", gzip.decompress, data)
    if data[:1] == b"\x78":
        yield from _tried("zlib", zlib.decompress, data)
    if b"%" in data:
        yield "url", unquote_to_bytes(data)
    if b"\\u" in data:
        yield "json", _UNICODE.sub(lambda found: chr(int(found[1], 16)).encode("utf-8", "replace"), data)
    if b"\\x" in data or _HEX.search(data):
        yield "hex", b"\n".join(binascii.unhexlify(found) for found in _HEX.findall(data))
    if runs := _BASE64.findall(data):
        yield "base64", b"\n".join(_unbase64(run) for run in runs)


def _unbase64(run: bytes) -> bytes:
    body = run.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    body = body[: len(body) - (len(body) % 4 == 1)]
    return base64.b64decode(body + b"=" * (-len(body) % 4))


def _tried(name: str, decode: object, data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        yield name, decode(data)  # type: ignore[operator]
    except (OSError, EOFError, zlib.error):
        return
