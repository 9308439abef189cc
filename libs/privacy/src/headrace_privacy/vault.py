"""The keys that a process holds for a moment: fetched when they are needed, forgotten soon and on demand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message
from headrace.privacy.v1.privacy_pb2 import ProtectedText

from headrace_privacy.owners import Owner
from headrace_privacy.sealing import DataKey, Erased, Opener, Seal, is_sealed, key_ids_of

#: A revoked key may be used so long by a process that missed the word of it, in seconds.
TTL_SECONDS = 60.0
#: So many keys are held at most: 8,192 are about 2 MB.
KEYS_HELD = 8_192

K = TypeVar("K", bound=Hashable)


class Keyring(Protocol):
    """Where keys come from."""

    async def issue(self, owner: Owner) -> DataKey:
        """Returns the key that seals for an owner from now on, made at the first call."""

    async def open(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        """Returns the keys of these ids. One that is missing is destroyed."""


@dataclass(slots=True)
class _Held(Generic[K]):
    """A bounded cache whose entries end by time."""

    clock: Callable[[], float]
    ttl_seconds: float
    _entries: OrderedDict[K, tuple[float, DataKey]] = field(default_factory=OrderedDict, repr=False)

    def get(self, key: K) -> DataKey | None:
        until, found = self._entries.get(key, (0.0, None))
        if found is None or self.clock() >= until:
            self._entries.pop(key, None)
            return None
        return found

    def put(self, key: K, value: DataKey) -> None:
        self._entries[key] = (self.clock() + self.ttl_seconds, value)
        self._entries.move_to_end(key)
        while len(self._entries) > KEYS_HELD:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


class Vault:
    """Seals and opens. `clock` counts seconds and never goes back. Raises what its keyring raises."""

    def __init__(self, keyring: Keyring, *, clock: Callable[[], float], ttl_seconds: float = TTL_SECONDS) -> None:
        self._keyring = keyring
        self._by_owner: _Held[Owner] = _Held(clock, ttl_seconds)
        self._by_id: _Held[str] = _Held(clock, ttl_seconds)
        self._forgotten = 0

    async def seal_for(self, owner: Owner) -> Seal:
        """Returns what seals for an owner."""
        return Seal(owner, await self.key_of(owner))

    async def seal_like(self, content: ProtectedText, owner: Owner) -> Seal:
        """Returns what seals for an owner what is made of content of theirs: with its key, so that both go at once.

        In the clear there is no such key, and it is the owner's. Raises Erased.
        """
        if not is_sealed(content):
            return await self.seal_for(owner)
        key = (await self.opener_for(content)).keys.get(content.sealed.key_id)
        if key is None:
            raise Erased("the key is destroyed")
        return Seal(owner, key)

    async def key_of(self, owner: Owner) -> DataKey:
        """Returns an owner's key, for what is not a message: blinding an index, a cache's names."""
        key = self._by_owner.get(owner)
        if key is None:
            era = self._forgotten
            key = await self._keyring.issue(owner)
            if era == self._forgotten:  # else it was fetched before, and came after, somebody was erased
                self._by_owner.put(owner, key)
                self._by_id.put(key.key_id, key)
        return key

    async def opener_for(self, *messages: Message) -> Opener:
        """Returns what opens these messages. Keys that are destroyed are missing: opening with one raises Erased."""
        wanted = key_ids_of(*messages)
        held = {key_id: key for key_id in wanted if (key := self._by_id.get(key_id)) is not None}
        missing = wanted - held.keys()
        if not missing:
            return Opener(held)
        era = self._forgotten
        fetched = await self._keyring.open(missing)
        if era == self._forgotten:
            for key_id, key in fetched.items():
                self._by_id.put(key_id, key)
        return Opener({**held, **fetched})

    def forget(self) -> None:
        """Drops every key: after an erasure the next use asks again, and finds what is destroyed."""
        self._forgotten += 1
        self._by_owner.clear()
        self._by_id.clear()


__all__ = ["Erased", "Keyring", "Vault"]
