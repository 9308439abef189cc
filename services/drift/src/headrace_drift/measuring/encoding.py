"""Sketches and lexicons as bytes: a magic word, a version, a checksum, and compressed sections.

All numbers are little-endian. What is read is checked before it is believed: lengths, limits, order. Whatever is wrong
raises `Broken`, which says where and never what was there.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headrace_drift.measuring import layout
from headrace_drift.measuring.errors import Broken
from headrace_drift.measuring.examples import Example, Examples
from headrace_drift.measuring.names import Names
from headrace_drift.measuring.tables import ROW, Counts, Words

if TYPE_CHECKING:
    from headrace_drift.measuring.sketch import Parts

VERSION = 1
SKETCH = b"HRDS"
_HEADER = struct.Struct("<4sHI")
_LENGTH = struct.Struct("<I")
#: 1 takes a third of the time of 6, for a tenth more bytes.
_LEVEL = 1


def pack(magic: bytes, sections: list[bytes]) -> bytes:
    """The sections as one piece."""
    body = b"".join(_LENGTH.pack(len(section)) + section for section in sections)
    return _HEADER.pack(magic, VERSION, zlib.crc32(body)) + zlib.compress(body, _LEVEL)


def unpack(data: bytes, magic: bytes, *, count: int) -> list[bytes]:
    """The sections, `count` of them, of what `pack` made. Raises Broken."""
    if len(data) < _HEADER.size or data[:4] != magic:
        raise Broken("it does not begin as it should")
    _, version, checksum = _HEADER.unpack_from(data)
    if version != VERSION:
        raise Broken(f"version {version}, and only version {VERSION} is known")
    body = _decompressed(data[_HEADER.size :])
    if zlib.crc32(body) != checksum:
        raise Broken("its checksum is wrong")
    sections = list(_cut(body))
    if len(sections) != count:
        raise Broken(f"{len(sections)} sections in place of {count}")
    return sections


def write(parts: Parts) -> bytes:
    """A sketch's parts as bytes."""
    parts.grams.settle()
    parts.scales.settle()
    parts.words.settle()
    named = (parts.kinds, parts.scores, parts.models, parts.prompts)
    return pack(
        SKETCH,
        [
            parts.tallies.astype("<i8").tobytes(),
            *_counts(parts.grams),
            *_counts(parts.scales),
            parts.words.rows.tobytes(),
            *(section for names in named for section in _names(names)),
            _json([list(example) for example in parts.examples.found]),
            _LENGTH.pack(parts.dimensions),
            parts.waves.astype("<i8").tobytes() if parts.dimensions else b"",
        ],
    )


def read(data: bytes, *, into: Parts) -> None:
    """Fills empty parts with what `write` wrote. Raises Broken, and the parts are then of no use."""
    sections = iter(unpack(data, SKETCH, count=17))
    into.tallies[:] = _matrix(next(sections), into.tallies.shape)
    _read_counts(sections, into.grams)
    _read_counts(sections, into.scales)
    into.words = Words(read_rows(next(sections), limit=layout.WORDS))
    for names in (into.kinds, into.scores, into.models, into.prompts):
        _read_names(sections, names)
    into.examples = _read_examples(next(sections))
    into.dimensions = _number(next(sections))
    waves = next(sections)
    if into.dimensions:
        into.waves[:] = _matrix(waves, into.waves.shape)


def size(parts: Parts) -> int:
    """Bytes in memory, examples taken at 256 each."""
    named = (parts.kinds, parts.scores, parts.models, parts.prompts)
    return (
        parts.tallies.nbytes
        + parts.waves.nbytes
        + parts.grams.nbytes
        + parts.scales.nbytes
        + parts.words.nbytes
        + sum(counts.nbytes for names in named for counts in names.found.values())
        + 256 * len(parts.examples.found)
    )


def read_rows(section: bytes, *, limit: int) -> NDArray[np.void]:
    """Words' rows, in order of their bins below `limit`. Raises Broken."""
    rows = _array(section, ROW)
    _check_order(rows["bin"], limit)
    return rows


def _decompressed(data: bytes) -> bytes:
    # Decompression ends at the bound: a few bytes may else become gigabytes.
    worker = zlib.decompressobj()
    try:
        body = worker.decompress(data, 2 * layout.LARGEST)
    except zlib.error:
        raise Broken("it cannot be decompressed") from None
    if not worker.eof or worker.unused_data:
        raise Broken("it is cut off, too long, or goes on behind its end")
    return body


def _cut(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        if at + _LENGTH.size > len(body):
            raise Broken("a section has no length")
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size + length
        if at > len(body):
            raise Broken("a section is cut off")
        yield body[at - length : at]


def _counts(table: Counts) -> tuple[bytes, bytes]:
    # Differences of ordered numbers are small, and compress to a third.
    steps = np.diff(table.numbers, prepend=np.uint32(0)).astype("<u4")
    return steps.tobytes(), table.counts.astype("<u4").tobytes()


def _read_counts(sections: Iterator[bytes], table: Counts) -> None:
    steps, counts = _array(next(sections), np.dtype("<u4")), _array(next(sections), np.dtype("<u4"))
    if steps.size != counts.size or steps.size > table.limit:
        raise Broken("a table's numbers and counts are not as many, or too many")
    numbers = np.cumsum(steps, dtype=np.uint64)
    _check_order(numbers, table.limit)
    table.numbers, table.counts = numbers.astype(np.uint32), counts.astype(np.uint32)


def _names(names: Names) -> tuple[bytes, bytes]:
    ordered = sorted(names.found)
    return _json(ordered), b"".join(names.found[name].astype("<u4").tobytes() for name in ordered)


def _read_names(sections: Iterator[bytes], names: Names) -> None:
    found = _parsed(next(sections))
    if not isinstance(found, list) or len(found) > names.room + 1 or not all(isinstance(name, str) for name in found):
        raise Broken("a table of names is none")
    counts = _matrix(next(sections), (len(found), layout.GROUPS, names.width), "<u4").astype(np.uint32)
    names.found = {name: counts[place].copy() for place, name in enumerate(found)}


def _read_examples(section: bytes) -> Examples:
    rows = _parsed(section)
    if not isinstance(rows, list) or len(rows) > layout.EXAMPLES:
        raise Broken("the examples are none")
    return Examples([_example(row) for row in rows])


_FIELDS = (int, str, int, str, int, str, int, int, list)


def _example(row: Any) -> Example:
    fits = isinstance(row, list) and len(row) == len(_FIELDS)
    if not fits or not all(type(value) is kind for value, kind in zip(row, _FIELDS, strict=True)):
        raise Broken("an example is none")
    words = row.pop()
    if not all(type(word) is int and 0 <= word < layout.WORDS for word in words):
        raise Broken("an example's words are none")
    return Example._make([*row, tuple(words)])


def _number(section: bytes) -> int:
    if len(section) != _LENGTH.size:
        raise Broken("a number is none")
    return int(_LENGTH.unpack(section)[0])


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()


def _parsed(section: bytes) -> Any:
    try:
        return json.loads(section)
    except ValueError:
        raise Broken("a list is none") from None


def _matrix(section: bytes, shape: tuple[int, ...], dtype: str = "<i8") -> NDArray[Any]:
    found = _array(section, np.dtype(dtype))
    if found.size != np.prod(shape, dtype=int):
        raise Broken(f"{found.size} numbers in place of {np.prod(shape, dtype=int)}")
    return found.reshape(shape)


def _array(section: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(section) % dtype.itemsize:
        raise Broken("an array is cut off")
    return np.frombuffer(section, dtype)


def _check_order(numbers: NDArray[Any], limit: int) -> None:
    if numbers.size and (numbers[-1] >= limit or (numbers[1:] <= numbers[:-1]).any()):
        raise Broken("numbers are out of order, or beyond their limit")
