"""Which keys the edges need."""

from __future__ import annotations

from headrace_privacy import Owner, Vault

from headrace_retriever.blinding import Blinding


async def blinding_of(vault: Vault, tenant: str) -> Blinding:
    """Returns what blinds a tenant's words. Raises Unavailable when the keys cannot be reached."""
    key = await vault.key_of(Owner.index(tenant))
    return Blinding.of(key.secret)
