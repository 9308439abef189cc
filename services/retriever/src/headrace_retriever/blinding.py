"""What keeps the words of the full-text index from being read where they rest.

A word is looked up by its HMAC-SHA-256 (RFC 2104) under a key of the tenant's, cut to 72 bits, so that neither the
table nor its index, the write-ahead log or a backup holds a word. Whoever has the index and not the key sees how many
different words a chunk has, and which chunks share one. The database computes it while it indexes or searches, from two
pads that it is given and does not keep.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

# What the key is used for: a key derived for anything else is another.
_PURPOSE = b"headrace full-text words 1"
_BLOCK_BYTES = hashlib.sha256().block_size


@dataclass(frozen=True, slots=True)
class Blinding:
    """The two pads of HMAC-SHA-256, 64 bytes each: hash(outer ‖ hash(inner ‖ word))."""

    inner: bytes = field(repr=False)
    outer: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> Blinding:
        """Derives it from the 32 bytes of the key of the tenant's index, which itself stays here."""
        key = hmac.digest(secret, _PURPOSE, "sha256").ljust(_BLOCK_BYTES, b"\0")
        return cls(bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key))
