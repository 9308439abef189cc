"""Questions that are nearly the same: MinHash over word trigrams, candidates by banding, the decision by exact Jaccard.

Broder, "On the resemblance and containment of documents" (1997); banding after Leskovec, Rajaraman and Ullman,
"Mining of Massive Datasets", chapter 3. The hashes are multiply-shift (Dietzfelbinger et al., 1997).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

SIGNATURE = 64
#: A pair at the threshold becomes a candidate at least this often; the exact decision follows.
FOUND = 0.999
_WORD = re.compile(r"\w+")
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


def words_of(text: str) -> list[str]:
    """The words, lower-cased."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """Words by number, in the order of their first coming, and a hash of each that is the same everywhere."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._hashes: list[int] = []

    def __len__(self) -> int:
        return len(self._hashes)

    def numbers(self, words: Iterable[str]) -> list[int]:
        """The words' numbers."""
        return [self._number(word) for word in words]

    def _number(self, word: str) -> int:
        known = self._numbers.get(word)
        if known is None:
            known = self._numbers[word] = len(self._hashes)
            self._hashes.append(int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little"))
        return known

    def trigrams(self, numbers: Sequence[int]) -> Hashes:
        """The different word trigrams, hashed and sorted. Fewer than three words are one shingle; no words, none."""
        if not numbers:
            return np.empty(0, np.uint64)
        values = np.array([self._hashes[number] for number in numbers], dtype=np.uint64)
        if len(values) < 3:
            return np.array([np.bitwise_xor.reduce(values * _MIX[: len(values)])], dtype=np.uint64)
        mixed = values[:-2] * _MIX[0] ^ values[1:-1] * _MIX[1] ^ values[2:] * _MIX[2]
        return np.unique(mixed)


def bands_for(threshold: float) -> tuple[int, int]:
    """How many bands of how many rows: as many rows as still find FOUND of the pairs at the threshold."""
    for rows in range(8, 1, -1):
        bands = SIGNATURE // rows
        if 1 - (1 - threshold**rows) ** bands >= FOUND:
            return bands, rows
    return SIGNATURE, 1


def signatures(shingles: Sequence[Hashes], *, seed: int) -> NDArray[np.uint32]:
    """Each set's MinHash signature, `SIGNATURE` numbers; all ones for an empty set."""
    generator = np.random.default_rng(seed)
    factors = generator.integers(0, 2**63, SIGNATURE, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = generator.integers(0, 2**63, SIGNATURE, dtype=np.uint64)
    found = np.full((len(shingles), SIGNATURE), np.iinfo(np.uint32).max, dtype=np.uint32)
    filled = [place for place, one in enumerate(shingles) if len(one)]
    if not filled:
        return found
    flat = np.concatenate([shingles[place] for place in filled])
    starts = np.cumsum([0, *(len(shingles[place]) for place in filled[:-1])])
    for number in range(SIGNATURE):
        hashed = (flat * factors[number] + offsets[number]) >> np.uint64(32)
        found[filled, number] = np.minimum.reduceat(hashed, starts).astype(np.uint32)
    return found


def jaccard(one: Hashes, other: Hashes) -> float:
    """What two sets, each sorted, have in common, of all that they have."""
    common = np.intersect1d(one, other, assume_unique=True).size
    union = one.size + other.size - common
    return common / union if union else 1.0


def without_near_duplicates(
    shingles: Sequence[Hashes], *, order: Sequence[int], threshold: float, seed: int
) -> set[int]:
    """Returns the places of those that stay: in this order each that is not so alike to one that stays already."""
    bands, rows = bands_for(threshold)
    found = signatures(shingles, seed=seed)
    buckets: list[dict[bytes, list[int]]] = [{} for _ in range(bands)]
    exact: set[bytes] = set()
    kept: set[int] = set()
    for place in order:
        same = shingles[place].tobytes()
        if same in exact:
            continue
        mine = _band_keys(found[place], bands, rows)
        if _has_alike(place, mine, buckets, shingles, threshold):
            continue
        kept.add(place)
        exact.add(same)
        for bucket, key in zip(buckets, mine, strict=True):
            bucket.setdefault(key, []).append(place)
    return kept


def _band_keys(signature: NDArray[np.uint32], bands: int, rows: int) -> list[bytes]:
    packed, width = signature.tobytes(), rows * signature.itemsize
    return [packed[start : start + width] for start in range(0, bands * width, width)]


def _has_alike(
    place: int,
    mine: Sequence[bytes],
    buckets: Sequence[dict[bytes, list[int]]],
    shingles: Sequence[Hashes],
    threshold: float,
) -> bool:
    """An empty set is like no other: there is nothing to compare."""
    if not len(shingles[place]):
        return False
    seen: set[int] = set()
    for bucket, key in zip(buckets, mine, strict=True):
        for other in bucket.get(key, ()):
            if other not in seen:
                seen.add(other)
                if jaccard(shingles[place], shingles[other]) >= threshold:
                    return True
    return False
