"""Words at rest: sealed with the keys of their owners."""

from __future__ import annotations

from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace_privacy import Erased, Owner, Text, Tier, Vault


class VaultKeeper:
    """See ports.Keeper. What it writes is a ProtectedText, sealed whatever the tier."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def keep(self, text: Text, owner: Owner) -> bytes:
        """Seals a text. Raises what the keyring raises."""
        seal = await self._vault.seal_for(owner)
        return ProtectedText(sealed=seal.close(text.reveal().encode()), characters=len(text)).SerializeToString()

    async def hand_over(self, sealed: bytes, owner: Owner) -> bytes:
        """Seals it anew, unless the owner's key has sealed it already. Raises what the keyring raises."""
        content = ProtectedText.FromString(sealed)
        key = await self._vault.key_of(owner)
        if content.sealed.key_id == key.key_id:
            return sealed
        opener = await self._vault.opener_for(content)
        try:
            text = opener.reveal(content, Tier.TIER_2)
        except Erased:
            return sealed
        return await self.keep(text, owner)
