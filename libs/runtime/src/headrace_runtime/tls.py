"""Certificates of servers, and what they are verified with."""

from __future__ import annotations

from pathlib import Path

from headrace_runtime.errors import Conflict


def read_pem(path: Path) -> bytes:
    """Reads a certificate or a key. Raises Conflict when it cannot be read or is no PEM."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Conflict(f"{path} cannot be read ({error.strerror})") from error
    if b"-----BEGIN " not in content:
        raise Conflict(f"{path} is not PEM")
    return content
