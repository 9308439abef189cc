"""What several tests make."""

from __future__ import annotations

import json
from pathlib import Path

from headrace_classifier.settings import Settings
from headrace_embedded import testing
from headrace_identity import Limit, PrivateKey, key_set, new_key

AUDIT_KEY = bytes(range(32))
OWN_KEY = new_key("classifier", limit=Limit(frozenset({"service:classifier"}), frozenset({"*"})))


def believe(folder: Path, *keys: PrivateKey) -> Path:
    """Writes the set of keys that are believed."""
    path = folder / "identities.json"
    path.write_text(json.dumps(key_set(keys)))
    return path


def settings_of(kafka: str, schema: testing.Database, folder: Path) -> Settings:
    """The settings of a classifier whose keys and checkpoints lie in `folder`."""
    key = folder / "audit.key"
    key.write_text(AUDIT_KEY.hex())
    key.chmod(0o600)
    own = folder / "classifier.jwk"
    own.write_text(json.dumps(OWN_KEY.jwk()))
    return Settings(
        kafka=kafka,
        database=schema.dsn("classifier"),
        audit_key=key,
        service_key=own,
        identities=str(believe(folder, OWN_KEY)),
        checkpoints=folder / "checkpoints",
        master_key_file=folder / "master.json",
    )
