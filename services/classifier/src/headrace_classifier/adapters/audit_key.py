"""The key of the audit log's chain, from a file that only the classifier may read."""

from __future__ import annotations

from pathlib import Path

from headrace_runtime.errors import Conflict

KEY_BYTES = 32
_MEND = "make one with `openssl rand -hex 32`, and keep it: without it the log cannot be verified"


def read_audit_key(path: Path) -> bytes:
    """Reads 64 hex digits. Raises Conflict, naming the file and the mend, when they are not there."""
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise Conflict(f"{path} is no key of the audit log ({type(error).__name__}): {_MEND}") from None
    if len(key) != KEY_BYTES:
        raise Conflict(f"{path} holds {len(key)} bytes, not {KEY_BYTES}: {_MEND}")
    return key
