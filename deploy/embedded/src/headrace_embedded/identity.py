"""The keys of a Headrace on one machine, made once and kept: whoever may read the folder may be anybody.

keys/              0700, and everything in it 0600
  issuer.jwk       private: signs the tokens of people and products; the command and the SDK mint with it
  identities.json  the public keys that services believe
  services/*.jwk   private: each service's own, limited to its role
  publisher.jwk    private: signs events on the bus, limited to products and stewards
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_identity import EVERYBODY, Limit, PrivateKey, UnusableKey, key_set, new_key, read_private_key

from headrace_embedded.errors import NotReady

FOLDER = "keys"
IDENTITIES = "identities.json"
ISSUER = "issuer.jwk"
PUBLISHER = "publisher.jwk"

#: Everybody who calls another service: the receiver of traces tells the classifier whom it refused.
CALLERS = ("ingest", "classifier", "embedder", "retriever", "inference", "feedback", "drift", "trainer", "traces")

#: Who may put events on the bus, by the table of access: who asks, who judges, who answers for documents.
PUBLISHERS = frozenset({"product", "steward"})


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the keys lie."""

    folder: Path

    @property
    def identities(self) -> Path:
        """The set of public keys."""
        return self.folder / IDENTITIES

    def service(self, name: str) -> Path:
        """A service's own private key."""
        return self.folder / "services" / f"{name}.jwk"


def keys_of(home: Path) -> Keys:
    """Says where the keys of a state folder lie, whether or not they are there."""
    return Keys(home / FOLDER)


def ensure_keys(home: Path) -> Keys:
    """Makes the keys that are missing below the state folder, and says where they are.

    Raises NotReady for a key that is there and cannot be read. The set of public keys is written anew only when a
    private one was made, and then keeps what others added to it.
    """
    keys = keys_of(home)
    for folder in (keys.folder, keys.folder / "services"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    ours = [_ensure(keys.folder / ISSUER, "issuer", None)]
    ours += [_ensure(keys.service(name), f"service-{name}", _own(name)) for name in CALLERS]
    ours.append(_ensure(keys.folder / PUBLISHER, "publisher", Limit(PUBLISHERS, frozenset({EVERYBODY}))))
    _ensure_listed(keys.identities, ours)
    return keys


def _own(service: str) -> Limit:
    return Limit(frozenset({f"service:{service}"}), frozenset({EVERYBODY}))


def _ensure(path: Path, kid: str, limit: Limit | None) -> PrivateKey:
    if not path.exists():
        made = new_key(f"{kid}-{os.urandom(4).hex()}", limit=limit)
        _write(path, made.jwk())
    try:
        return read_private_key(path)
    except UnusableKey as error:
        raise NotReady(str(error)) from error


def _ensure_listed(path: Path, ours: list[PrivateKey]) -> None:
    listed: list[dict[str, Any]] = json.loads(path.read_text())["keys"] if path.exists() else []
    known = {key.get("kid") for key in listed}
    missing = [jwk for jwk in key_set(ours)["keys"] if jwk["kid"] not in known]
    if missing:
        _write(path, {"keys": [*listed, *missing]})


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replaces a file in one step; only its owner ever may read it."""
    fresh = path.with_suffix(f".{os.getpid()}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file, indent=1)
    fresh.replace(path)
