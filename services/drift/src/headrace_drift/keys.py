"""What hashes a tenant's words and names: keys of their own, made of the tenant's index key."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field

from headrace_privacy import Vault
from headrace_stream.erasing import Names, names_of

from headrace_drift.measuring import Hashing, Reader

_DOMAIN = b"headrace drift\x1fwords"
#: So many tenants' are held; each is some hundred bytes.
HELD = 256


@dataclass(frozen=True, slots=True)
class TenantKeys:
    """reader: takes the features of questions. names: hashes end users as tombstones do."""

    reader: Reader
    names: Names = field(repr=False)


@dataclass(slots=True)
class Keys:
    """Makes what hashes, once for each tenant and key."""

    vault: Vault
    _held: OrderedDict[bytes, Reader] = field(default_factory=OrderedDict, repr=False)

    async def of(self, tenant: str) -> TenantKeys:
        """Returns a tenant's. Raises what the vault raises."""
        names = await names_of(self.vault, tenant)
        secret = hmac.new(names.secret, _DOMAIN, hashlib.sha256).digest()
        reader = self._held.get(secret) or Reader(Hashing(secret))
        self._held[secret] = reader
        self._held.move_to_end(secret)
        while len(self._held) > HELD:
            self._held.popitem(last=False)
        return TenantKeys(reader, names)
