"""Data keys and the master keys that wrap them.

    master key (file, environment, KMS) ──wraps──▶ data key (one for each owner) ──seals──▶ text, vectors, labels

Rotation wraps every data key anew and touches no data. Destroying a data key erases its owner; destroying a master key
makes the wrapped keys in old backups worthless.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_privacy import Owner, OwnerKind

KEY_BYTES = 32
#: The kind of the key that hashes a tenant's names; its row has no name.
NAMES_KIND = 0
NO_NAME = bytes(32)


class UnknownMaster(Exception):
    """This version of the master key is not in the keyring, and was not destroyed by it: the wrong keyring, or a stale
    one."""


class DestroyedMaster(Exception):
    """This version of the master key was destroyed, and what it wrapped with it."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key, wrapped: by which version of the master key, and what came of it."""

    version: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of the key store."""

    tenant: str
    key_id: UUID
    wrapped: Wrapped


@dataclass(frozen=True, slots=True)
class NewKey:
    """A row to be: whose it is by keyed hashes, and the key wrapped. `source` for a document's alone."""

    stored: StoredKey
    kind: int
    owner: bytes
    source: bytes | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Rotation:
    """What came of a rotation. destroyed: whether every master key before this one is."""

    keys: int
    version: str
    destroyed: bool
    rotated_at: datetime


class MasterKeys(Protocol):
    """Wraps keys. A KMS fits: the key itself never has to be here."""

    async def exist(self) -> bool:
        """Whether there is anything to wrap with."""

    async def create(self) -> None:
        """Makes the first version, unless another instance has."""

    async def current(self) -> str:
        """Returns the version that wraps, as it is now: what another process changed is seen."""

    async def versions(self) -> frozenset[str]:
        """Returns the versions that open, as they are now."""

    async def wrap(self, secret: bytes, *, context: bytes) -> Wrapped:
        """Wraps under the version that is current as far as this process knows."""

    async def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        """Opens; `context` must be that of the wrapping. Raises UnknownMaster, DestroyedMaster."""

    async def renew(self) -> str:
        """Makes a fresh version the current one. Raises Conflict where that is not in our hands."""

    async def destroy(self, version: str) -> bool:
        """Destroys a version for good; False where that is not in our hands."""


@dataclass(frozen=True, slots=True)
class Names:
    """Hashes the names of one tenant's owners, so that the key store names nobody."""

    secret: bytes = field(repr=False)

    def owner(self, owner: Owner) -> bytes:
        """Returns the hash of an owner: 32 bytes."""
        return self._hash(f"{int(owner.kind)}\x1f{owner.name}")

    def source_of(self, owner: Owner) -> bytes | None:
        """Returns the hash of a document's source; None for any other owner."""
        return self.source(owner.name.partition("/")[0]) if owner.kind is OwnerKind.DOCUMENT else None

    def source(self, source: str) -> bytes:
        """Returns the hash of a source: 32 bytes."""
        return self._hash(f"source\x1f{source}")

    def _hash(self, name: str) -> bytes:
        return hmac.new(self.secret, name.encode(), hashlib.sha256).digest()


def context_of(tenant: str, key_id: UUID) -> bytes:
    """Returns what a wrapped key is bound to: moved to another row, it does not open."""
    return f"{key_id}\x1f{tenant}".encode()


NewSecret = Callable[[], bytes]


def new_secret() -> bytes:
    """Returns 32 random bytes from the operating system."""
    return secrets.token_bytes(KEY_BYTES)
