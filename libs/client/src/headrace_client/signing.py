"""What a product signs its events with: the private key in the file that HEADRACE_PUBLISHER_KEY names, or the
publisher's key in the folder of keys that the endpoints name. Without one, events go unsigned: then the broker has to
know who writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from google.protobuf.message import Message
from headrace_identity import UnusableKey, read_private_key
from headrace_identity.signatures import SIGNATURE, Signer
from headrace_stream.publishers import about

from headrace_client.credentials import AUDIENCE
from headrace_client.endpoints import Endpoints, find_endpoints
from headrace_client.errors import NotConfigured

PUBLISHER_KEY = "HEADRACE_PUBLISHER_KEY"
FILE = "publisher.jwk"


def find_signer(environ: Mapping[str, str], endpoints: Endpoints | None) -> Signer | None:
    """Returns what signs events; None where there is no key. Raises NotConfigured for a key that cannot be used.

    Without endpoints those that are found are looked into, if there are any.
    """
    if path := environ.get(PUBLISHER_KEY):
        return read_signer(Path(path).expanduser())
    keys = endpoints.keys if endpoints is not None else _keys_found(environ)
    return read_signer(Path(keys) / FILE) if keys else None


def read_signer(path: Path) -> Signer:
    """Returns what signs with the key in a file. Raises NotConfigured."""
    try:
        return Signer(read_private_key(path), audience=AUDIENCE)
    except UnusableKey as error:
        raise NotConfigured(f"Events cannot be signed: {error}. Name another in {PUBLISHER_KEY}.") from error


def _keys_found(environ: Mapping[str, str]) -> str:
    try:
        return find_endpoints(environ, Path.cwd()).keys
    except NotConfigured:
        return ""


def signed(signer: Signer | None, topic: str, message: Message, *, value: bytes, now: float) -> dict[str, str]:
    """Returns the header that proves who published an event of this value; nothing without a signer."""
    return {} if signer is None else {SIGNATURE: signer.sign(value, about(topic, message), now=now)}
