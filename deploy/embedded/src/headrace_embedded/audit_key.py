"""The key of the audit log's chain, made once and kept: without it the log cannot be verified."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def ensure_audit_key(folder: Path) -> Path:
    """Makes the file with 32 random bytes in hex, unless it is there; returns its path. Only its owner may read it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "audit.key"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return path
