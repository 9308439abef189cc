"""Takes the clear text of a question and returns what is measured of it, without text.

Words are hashed by BLAKE2b under the tenant's key (RFC 7693, 2.9), so that nobody without the key can try words
against a hash. Letter triples go through a multiply-shift hash (Dietzfelbinger and others, 1997) with multipliers drawn
from the same key, into so few bins that about twenty triples share one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from headrace_drift.measuring import layout
from headrace_drift.measuring.observation import Question

#: What is beyond is not read: a question that long is a document, and its cost must not grow without bound.
LONGEST = 20_000
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SENTENCE = re.compile(r"[.!?…。！？]+(?:\s|$)|[\r\n]+")
_NUMBER = re.compile(r"[\d_.,]+")
_SHIFT = np.uint64(64 - 10)  # 2**10 bins of each n-gram


@dataclass(frozen=True, slots=True)
class Hashing:
    """Hashes under one tenant's key. `key`: 16 to 64 bytes, secret, and the same for as long as sketches are kept."""

    key: bytes

    def __post_init__(self) -> None:
        if not 16 <= len(self.key) <= 64:
            raise ValueError(f"a key of 16 to 64 bytes is expected, not of {len(self.key)}")

    def word(self, word: str) -> int:
        """A word's 64-bit hash."""
        return self._hash(word, b"word")

    def conversation(self, query_id: str, *, conversation_id: str = "", subject: str = "") -> int:
        """The 64-bit hash by which queries hang together: by conversation, else by subject, else not at all."""
        if conversation_id:
            return self._hash(conversation_id, b"conversation")
        return self._hash(subject, b"subject") if subject else self._hash(query_id, b"query")

    def multipliers(self) -> NDArray[np.uint64]:
        """Five odd numbers: two for word pairs, three for letter triples."""
        drawn = blake2b(b"", digest_size=40, key=self.key, person=b"n-grams").digest()
        return np.frombuffer(drawn, "<u8") | np.uint64(1)

    def _hash(self, text: str, person: bytes) -> int:
        digest = blake2b(text.encode(errors="replace"), digest_size=8, key=self.key, person=person).digest()
        return int.from_bytes(digest, "little")


class Reader:
    """Reads questions under one tenant's key."""

    def __init__(self, hashing: Hashing) -> None:
        self.hashing = hashing
        self._multipliers = hashing.multipliers()

    def read(self, text: str) -> Question:
        """The features of a question in the clear. Text that holds no word has no words; it still has a length."""
        return self.read_with_words(text)[0]

    def read_with_words(self, text: str) -> tuple[Question, dict[int, str]]:
        """As `read` and `words` together, at the price of one."""
        sentences = [words for words in _sentences(text[:LONGEST]) if words]
        said = [word for words in sentences for word in words]
        tags = [self.hashing.word(word) for word in said]
        hashes = np.array(tags, dtype=np.uint64)
        grams = np.concatenate([self._pairs(hashes), self._triples(" ".join(said))])
        question = Question(hashes, grams, tuple(len(words) for words in sentences), len(text))
        return question, dict(zip(tags, said, strict=True))

    def words(self, text: str) -> dict[int, str]:
        """The different words in the clear, by hash. For `Lexicon.add` alone, which keeps what many people say."""
        return self.read_with_words(text)[1]

    def _pairs(self, words: NDArray[np.uint64]) -> NDArray[np.uint16]:
        a, b = self._multipliers[:2]
        return np.asarray((words[:-1] * a + words[1:] * b) >> _SHIFT, np.uint16)

    def _triples(self, text: str) -> NDArray[np.uint16]:
        letters = np.frombuffer(text.encode("utf-32-le", errors="replace"), "<u4").astype(np.uint64)
        a, b, c = self._multipliers[2:]
        mixed = letters[:-2] * a + letters[1:-1] * b + letters[2:] * c
        return np.asarray((mixed >> _SHIFT) + np.uint64(layout.PAIRS), np.uint16)


def _sentences(text: str) -> Iterator[list[str]]:
    """The words of each sentence, in lower case. Every number is the same word: else each id would be a new one."""
    for sentence in _SENTENCE.split(text.lower()):
        yield ["0" if _NUMBER.fullmatch(word) else word for word in _WORD.findall(sentence)]
