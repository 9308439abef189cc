"""Tiers, text that never prints itself, and what seals it."""

from headrace_privacy.owners import Owner, OwnerKind, owner_of_document, owner_of_query
from headrace_privacy.sealing import DataKey, Erased, Opener, Seal, Tampered, is_sealed, plain_vector
from headrace_privacy.text import Text
from headrace_privacy.tier import Tier, strictest
from headrace_privacy.vault import Keyring, Vault

__all__ = [
    "DataKey",
    "Erased",
    "Keyring",
    "Opener",
    "Owner",
    "OwnerKind",
    "Seal",
    "Tampered",
    "Text",
    "Tier",
    "Vault",
    "is_sealed",
    "owner_of_document",
    "owner_of_query",
    "plain_vector",
    "strictest",
]
