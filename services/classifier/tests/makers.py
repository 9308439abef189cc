"""What several tests make."""

from __future__ import annotations

from pathlib import Path

from headrace_classifier.settings import Settings
from headrace_embedded import testing

AUDIT_KEY = bytes(range(32))


def settings_of(kafka: str, schema: testing.Database, folder: Path) -> Settings:
    """The settings of a classifier whose keys and checkpoints lie in `folder`."""
    key = folder / "audit.key"
    key.write_text(AUDIT_KEY.hex())
    key.chmod(0o600)
    return Settings(
        kafka=kafka,
        database=schema.dsn("classifier"),
        audit_key=key,
        checkpoints=folder / "checkpoints",
        master_key_file=folder / "master.json",
    )
