"""Checkpoints and seals: signed statements, kept outside the database, of what the last row of the audit log was.

    1 ◀─previous─ 2 ◀─previous─ 3 …      each names the row that it seals, by number and hash

Whoever can write to the database, and even has the chain's key, still cannot change what a checkpoint has sealed, nor
cut it off. Each names the one before, so that none can be taken from the middle.

A checkpoint is made once a minute. A seal says the same of the row that was committed a moment ago, and is replaced by
that of the next: one file for each instance of the classifier, until a checkpoint has sealed the row too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace_classifier.audit import Row

#: The signature's type (RFC 7515, "typ"): no token can be taken for a checkpoint, nor a checkpoint for a token.
KIND = "headrace-checkpoint+jwt"
SEAL_KIND = "headrace-seal+jwt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed. number counts from 1; previous: the SHA-256 of the one before, as signed, "" for the first."""

    number: int
    sequence: int
    hash: str
    previous: str
    made_at: datetime

    def claims(self) -> dict[str, Any]:
        """What the signature covers."""
        return {
            "number": self.number,
            "sequence": self.sequence,
            "hash": self.hash,
            "previous": self.previous,
            "iat": int(self.made_at.timestamp()),
        }

    def __str__(self) -> str:
        return f"checkpoint {self.number}"


@dataclass(frozen=True, slots=True)
class Seal:
    """What is signed of a row that was committed. name: whose seal it is."""

    name: str
    sequence: int
    hash: str
    made_at: datetime

    def claims(self) -> dict[str, Any]:
        """What the signature covers."""
        return {
            "name": self.name,
            "sequence": self.sequence,
            "hash": self.hash,
            "iat": int(self.made_at.timestamp()),
        }

    def __str__(self) -> str:
        return f"seal {self.name}"


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint as it is kept: its number, and the compact JWS. Nobody has verified it yet."""

    number: int
    text: str

    @property
    def sha256(self) -> str:
        """By which the next one names it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def next_checkpoint(last: Signed | None, head: Row, *, number: int, now: datetime) -> Checkpoint:
    """The checkpoint that seals the log's last row. number: one more than that of any before, lost ones included."""
    return Checkpoint(
        number=number,
        sequence=head.sequence,
        hash=head.hash.hex(),
        previous=last.sha256 if last else "",
        made_at=now,
    )


def read_claims(claims: Mapping[str, Any]) -> Checkpoint | None:
    """What was signed; None when it is no checkpoint."""
    number, sequence, made_at = (claims.get(name) for name in ("number", "sequence", "iat"))
    hash_, previous = claims.get("hash"), claims.get("previous")
    if not (isinstance(number, int) and isinstance(sequence, int) and isinstance(made_at, int)):
        return None
    if not (isinstance(hash_, str) and isinstance(previous, str)):
        return None
    return Checkpoint(number, sequence, hash_, previous, datetime.fromtimestamp(made_at, UTC))


def read_seal(claims: Mapping[str, Any]) -> Seal | None:
    """What was signed; None when it is no seal."""
    name, sequence, hash_, made_at = (claims.get(part) for part in ("name", "sequence", "hash", "iat"))
    if not (isinstance(name, str) and isinstance(hash_, str)):
        return None
    if not (isinstance(sequence, int) and isinstance(made_at, int)):
        return None
    return Seal(name, sequence, hash_, datetime.fromtimestamp(made_at, UTC))
