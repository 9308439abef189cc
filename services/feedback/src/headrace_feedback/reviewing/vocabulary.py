"""A question's words, as keyed hashes: enough to know a new one by, and not to read it."""

from __future__ import annotations

import hashlib
import hmac
import re

_WORD = re.compile(r"[^\W\d_]{2,}(?:[-'][^\W\d_]+)*")
# What the key is used for: a key derived for anything else is another.
_PURPOSE = b"headrace review vocabulary 1"
BYTES = 16


def words_of(question: str) -> frozenset[str]:
    """The different words of a text, lower-cased; numbers and identifiers with digits are none."""
    return frozenset(word.lower() for word in _WORD.findall(question))


def hashed(words: frozenset[str], secret: bytes) -> frozenset[bytes]:
    """HMAC-SHA-256 (RFC 2104) of each under a key derived from the tenant's, cut to 16 bytes."""
    key = hmac.digest(secret, _PURPOSE, "sha256")
    return frozenset(hmac.new(key, word.encode(), hashlib.sha256).digest()[:BYTES] for word in words)
