"""Keys in memory, for tests."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Mapping

from headrace_privacy.owners import Owner
from headrace_privacy.sealing import DataKey

_NAMESPACE = uuid.UUID("0d5f3a52-7a4f-5d1e-9b7e-3c1c53b1f0aa")


class MemoryKeyring:
    """A keyring whose keys are made of their owners' names: the same in every run, and no secret at all."""

    def __init__(self) -> None:
        self._keys: dict[str, DataKey] = {}
        self._of: dict[Owner, str] = {}
        self._generation: dict[Owner, int] = {}

    async def issue(self, owner: Owner) -> DataKey:
        """Returns the owner's key."""
        if owner not in self._of:
            name = f"{owner.tenant}\x1f{owner.kind}\x1f{owner.name}\x1f{self._generation.get(owner, 0)}"
            key = DataKey(str(uuid.uuid5(_NAMESPACE, name)), hashlib.sha256(name.encode()).digest())
            self._keys[key.key_id], self._of[owner] = key, key.key_id
        return self._keys[self._of[owner]]

    async def open(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        """Returns those that exist."""
        return {key_id: self._keys[key_id] for key_id in key_ids if key_id in self._keys}

    def destroy(self, owner: Owner) -> None:
        """Destroys the owner's key; the next one is another."""
        self._generation[owner] = self._generation.get(owner, 0) + 1
        self._keys.pop(self._of.pop(owner, ""), None)
