"""Keys: what a set may hold, where it comes from, and that it stays fresh."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from headrace_identity import Limit, UnusableKey, key_set, new_key, open_identities, read_private_key
from headrace_identity.identities import Identities
from headrace_identity.keys import PrivateKey, parse_key_set

ONE = new_key("one")
OTHER = new_key("other", limit=Limit(frozenset({"product"}), frozenset({"acme", "demo"})))


def written(*keys: PrivateKey) -> str:
    return json.dumps(key_set(keys))


def test_a_set_keeps_ids_and_limits() -> None:
    keys = parse_key_set(written(ONE, OTHER), origin="here")
    assert {kid: key.limit for kid, key in keys.items()} == {"one": None, "other": OTHER.limit}


def with_member(**member: Any) -> str:
    return json.dumps({"keys": [ONE.public_jwk() | member]})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "is not a JSON Web Key Set"),
        ("[]", "is not a JSON Web Key Set"),
        ("{}", "is not a JSON Web Key Set"),
        ('{"keys": []}', "no key that can be used"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}]}', "no key that can be used"),
        (written(ONE, ONE), "one kid twice"),
        (json.dumps({"keys": [ONE.jwk()]}), "holds a private key"),
        (with_member(kid=""), "no key that can be used"),
        (with_member(alg="ES256"), "no key that can be used"),
        (with_member(use="enc"), "no key that can be used"),
        (with_member(headrace={"roles": "product", "tenants": ["*"]}), "is not a JSON Web Key Set"),
        (with_member(headrace={"roles": ["product"]}), "is not a JSON Web Key Set"),
        (with_member(headrace=None), "is not a JSON Web Key Set"),
    ],
)
def test_what_is_no_set_is_said(content: str, why: str) -> None:
    with pytest.raises(UnusableKey, match=f"^here .*{why}"):
        parse_key_set(content, origin="here")


def test_weak_and_foreign_keys_are_left_out() -> None:
    weak = PrivateKey("weak", "RS256", rsa.generate_private_key(65537, 1024), None)
    curve = PrivateKey("p-384", "ES256", ec.generate_private_key(ec.SECP384R1()), None)
    assert set(parse_key_set(written(ONE, weak, curve), origin="here")) == {"one"}


def test_a_private_key_is_read_as_jwk_and_as_pem(tmp_path: Path) -> None:
    jwk, pem = tmp_path / "key.jwk", tmp_path / "key.pem"
    jwk.write_text(json.dumps(OTHER.jwk()))
    pem.write_bytes(ONE.material.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert (read_private_key(jwk).kid, read_private_key(jwk).limit) == ("other", OTHER.limit)
    read = read_private_key(pem)
    assert len(read.kid) == 43  # a SHA-256 in base64url
    assert read.public_jwk()["x"] == ONE.public_jwk()["x"]


@pytest.mark.parametrize("content", ["", "{}", "nonsense", json.dumps(ONE.public_jwk())])
def test_what_is_no_private_key_is_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(UnusableKey, match="is not a private key"):
        read_private_key(path)
    with pytest.raises(UnusableKey, match="cannot be read"):
        read_private_key(tmp_path / "none")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


class Source:
    """A set that changes, and a clock."""

    def __init__(self) -> None:
        self.content = written(ONE)
        self.reads = 0
        self.now = 0.0

    def read(self) -> str:
        self.reads += 1
        if not self.content:
            raise UnusableKey("away")
        return self.content

    def open(self) -> Identities:
        return Identities(parse_key_set(written(ONE), origin="x"), self.read, origin="x", clock=lambda: self.now)


async def test_an_unknown_key_has_the_set_read_again_but_not_often() -> None:
    source = Source()
    identities = source.open()
    source.content = written(ONE, OTHER)
    assert await identities.find("other") is None
    assert source.reads == 0
    source.now = 30.0
    assert await identities.find("other")
    source.now = 40.0
    assert [await identities.find(str(number)) for number in range(100)] == [None] * 100
    assert source.reads == 1


async def test_strangers_at_the_same_time_have_it_read_once() -> None:
    source = Source()
    identities = source.open()
    source.now = 30.0
    await asyncio.gather(*(identities.find(str(number)) for number in range(100)))
    assert source.reads == 1


async def test_a_source_that_is_away_or_broken_leaves_the_keys_in_force() -> None:
    source = Source()
    identities = source.open()
    for broken in ("", "nonsense"):
        source.content = broken
        await identities.refresh()
        assert identities.known("one")
    assert identities.generation == 0


async def test_a_removed_key_is_believed_no_more() -> None:
    source = Source()
    identities = source.open()
    source.content = written(OTHER)
    await identities.refresh()
    assert (identities.known("one"), identities.generation) == (None, 1)
    await identities.refresh()
    assert identities.generation == 1


async def test_a_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_identity.identities.FILE_EVERY", 0.01)
    path = tmp_path / "identities.json"
    path.write_text(written(ONE))
    async with open_identities(str(path)) as identities:
        path.write_text(written(OTHER))
        await until(lambda: identities.known("one") is None)
        assert identities.known("other")


async def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match="cannot be read"):
        async with open_identities(str(tmp_path / "none")):
            pass


@contextmanager
def serving(status: int, content: str, **headers: str) -> Iterator[str]:
    """An address that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_set_may_be_at_an_address() -> None:
    with serving(200, written(ONE)) as address:
        async with open_identities(address) as identities:
            assert identities.known("one")


async def test_keys_come_from_where_one_said_and_nowhere_else() -> None:
    with (
        serving(200, written(ONE)) as elsewhere,
        serving(302, "", Location=elsewhere) as address,
        pytest.raises(UnusableKey, match="cannot be read"),
    ):
        async with open_identities(address):
            pass
    with serving(500, "") as broken, pytest.raises(UnusableKey, match="cannot be read"):
        async with open_identities(broken):
            pass
