"""Who is asking: principals, the tokens that prove them, the keys behind those, and signatures of events."""

from headrace_identity.credentials import Credentials, GivenToken, OwnToken
from headrace_identity.errors import Unproven, UnusableKey
from headrace_identity.identities import Identities, open_identities
from headrace_identity.keys import Limit, PrivateKey, PublicKey, key_set, new_key, read_private_key
from headrace_identity.principal import EVERYBODY, Principal, acting_as, current_principal
from headrace_identity.tokens import TokenMaker, Verifier

__all__ = [
    "EVERYBODY",
    "Credentials",
    "GivenToken",
    "Identities",
    "Limit",
    "OwnToken",
    "Principal",
    "PrivateKey",
    "PublicKey",
    "TokenMaker",
    "Unproven",
    "UnusableKey",
    "Verifier",
    "acting_as",
    "current_principal",
    "key_set",
    "new_key",
    "open_identities",
    "read_private_key",
]
