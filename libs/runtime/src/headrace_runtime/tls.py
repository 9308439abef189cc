"""Certificates of servers, and what they are verified with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from headrace_runtime.errors import Conflict
from headrace_runtime.settings import ServiceSettings, variable


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server shows of itself, both PEM: its certificate chain, and the private key."""

    chain: bytes
    key: bytes = field(repr=False)


def certificate_of(settings: ServiceSettings) -> Certificate | None:
    """Returns the server's certificate; None for a server without TLS. Raises Conflict for half of one."""
    if settings.tls_certificate is None and settings.tls_key is None:
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        names = [variable(settings, name) for name in ("tls_certificate", "tls_key")]
        raise Conflict(f"{names[0]} and {names[1]} go together: set both or neither")
    return Certificate(read_pem(settings.tls_certificate), read_pem(settings.tls_key))


def read_pem(path: Path) -> bytes:
    """Reads a certificate or a key. Raises Conflict when it cannot be read or is no PEM."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Conflict(f"{path} cannot be read ({error.strerror})") from error
    if b"-----BEGIN " not in content:
        raise Conflict(f"{path} is not PEM")
    return content
