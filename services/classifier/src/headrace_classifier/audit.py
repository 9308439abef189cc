"""The audit log: a chain of keyed hashes over rows that are only ever added. Pure.

    hash(n) = HMAC-SHA-256(key, hash(n - 1) ‖ canonical(row n))        hash(0) = 32 zero bytes

canonical(row) is the 16 bytes "headrace-audit-1" and then each field in the order of `_fields`: its length in bytes
as 4 bytes, big-endian, and its UTF-8. Whole numbers are written in decimal, times as microseconds since 1970 in
decimal, and a list as the number of its items and then each item. So no two rows have the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from headrace_privacy import Tier

#: What can stand in the log; the contract lists the same.
Action = Literal[
    "grant.requested",
    "grant.approved",
    "grant.refused",
    "grant.revoked",
    "read.allowed",
    "read.denied",
    "tier.decided",
    "dictionary.changed",
    "policy.loaded",
    "key.rotated",
    "erasure.requested",
    "erasure.closed",
    "access.denied",
    "prompt.changed",
    "label.moved",
    "variant.changed",
    "route.changed",
    "kinds.changed",
    "model.registered",
    "model.tried",
    "model.promoted",
    "model.withdrawn",
    "model.retired",
    "model.deleted",
    "model.condemned",
    "erasure.completed",
]

#: Stands before the first row.
GENESIS = bytes(32)
_DOMAIN = b"headrace-audit-1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: Of so many records' ids at most a row speaks, as the contract says.
MOST_RECORDS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is to be recorded. Ids and fixed words only, never a user's text.

    role, actor: who did it. tenant: whose records, "" when nobody's. purpose: a number of headrace.privacy.v1.Purpose,
    0 where that says nothing. object: a grant's, an erasure's or a query's id. records: ids, at most 1,000.
    """

    recorded_at: datetime
    action: Action
    role: str
    actor: str
    tenant: str = ""
    purpose: int = 0
    tier: Tier | None = None
    object: str = ""
    records: tuple[str, ...] = ()
    reason: str = ""
    policy_version: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in its place in the chain."""

    sequence: int
    entry: Entry
    hash: bytes

    def at(self, sequence: int) -> Row:
        """The same row, had it stood elsewhere."""
        return replace(self, sequence=sequence)


def canonical(sequence: int, entry: Entry) -> bytes:
    """The bytes that a row is hashed as."""
    return b"".join([_DOMAIN, *map(_framed, _fields(sequence, entry))])


def link(key: bytes, previous: bytes, *, sequence: int, entry: Entry) -> bytes:
    """The hash of a row that comes after the row with the hash `previous`."""
    return hmac.new(key, previous + canonical(sequence, entry), hashlib.sha256).digest()


def chained(key: bytes, last: Row | None, *, entry: Entry) -> Row:
    """The row that comes after `last`, or the first one."""
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, GENESIS)
    return Row(sequence, entry, link(key, previous, sequence=sequence, entry=entry))


def _framed(field: str) -> bytes:
    content = field.encode()
    return len(content).to_bytes(4, "big") + content


def _fields(sequence: int, entry: Entry) -> Iterator[str]:
    yield str(sequence)
    yield str((entry.recorded_at - _EPOCH) // _MICROSECOND)
    yield entry.action
    yield entry.role
    yield entry.actor
    yield entry.tenant
    yield str(entry.purpose)
    yield str(int(entry.tier or 0))
    yield entry.object
    yield str(len(entry.records))
    yield from entry.records
    yield entry.reason
    yield entry.policy_version
    yield entry.trace_id
