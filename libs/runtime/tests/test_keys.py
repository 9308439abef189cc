"""The keyring over KeyService: batches, failures, and what a missing key means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import grpc
import pytest
from headrace.privacy.v1 import keys_pb2
from headrace.privacy.v1.keys_pb2_grpc import KeyServiceServicer, add_KeyServiceServicer_to_server
from headrace_privacy import Keyring, Owner
from headrace_runtime.errors import Conflict, Unavailable
from headrace_runtime.keys import MOST_KEYS, RemoteKeyring, open_keyring, open_vault
from headrace_runtime.settings import ServiceSettings

OWNER = Owner.document("acme", "contracts", "a/b.md")


class KeyService(KeyServiceServicer):
    """Knows every key but those that were destroyed; refuses with `code` when it has one."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.issued: list[Any] = []
        self.destroyed: set[str] = set()
        self.code: grpc.StatusCode | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def Issue(self, request: Any, context: Any) -> keys_pb2.IssueResponse:  # noqa: N802 - gRPC names it
        self.issued.append(request.owner)
        return keys_pb2.IssueResponse(key=keys_pb2.DataKey(key_id="k-1", secret=b"s" * 32))

    async def Open(self, request: Any, context: Any) -> keys_pb2.OpenResponse:  # noqa: N802 - gRPC names it
        if self.code:
            await context.abort(self.code, "no")
        self.asked.append(list(request.key_ids))
        await self.gate.wait()
        known = (key_id for key_id in request.key_ids if key_id not in self.destroyed)
        return keys_pb2.OpenResponse(keys=[keys_pb2.DataKey(key_id=k, secret=k.encode()[:32]) for k in known])


@pytest.fixture
def service() -> KeyService:
    return KeyService()


@pytest.fixture
async def address(service: KeyService) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_KeyServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture
async def keyring(address: str) -> AsyncIterator[RemoteKeyring]:
    async with open_keyring(address, None) as opened:
        yield opened


async def test_issues_for_an_owner(service: KeyService, keyring: RemoteKeyring) -> None:
    ring: Keyring = keyring
    key = await ring.issue(OWNER)
    assert (key.key_id, key.secret) == ("k-1", b"s" * 32)
    asked = service.issued[0]
    assert (asked.tenant, asked.kind, asked.name) == ("acme", keys_pb2.KEY_OWNER_KIND_DOCUMENT, "contracts/a/b.md")


async def test_what_is_wanted_at_once_is_asked_for_together(service: KeyService, keyring: RemoteKeyring) -> None:
    ids = [str(uuid4()) for _ in range(100)]
    found = await asyncio.gather(*(keyring.open([one, other]) for one, other in pairwise(ids)))
    assert [sorted(asked) for asked in service.asked] == [sorted(ids)]
    assert [set(keys) for keys in found] == [{one, other} for one, other in pairwise(ids)]


async def test_what_comes_while_all_lanes_are_taken_goes_together(service: KeyService, keyring: RemoteKeyring) -> None:
    service.gate.clear()
    opening = []
    for number in range(50):
        opening.append(asyncio.create_task(keyring.open([f"key-{number}"])))
        await asyncio.sleep(0.002)
    service.gate.set()
    await asyncio.gather(*opening)
    assert len(service.asked) == 3
    assert sorted(len(asked) for asked in service.asked) == [1, 1, 48]


async def test_a_call_under_way_is_joined_by_nobody(service: KeyService, keyring: RemoteKeyring) -> None:
    service.gate.clear()
    before = asyncio.create_task(keyring.open(["mine"]))
    await asyncio.sleep(0.05)
    service.destroyed.add("mine")  # after the service has looked, as far as anybody can tell
    after = asyncio.create_task(keyring.open(["mine"]))
    await asyncio.sleep(0.05)
    service.gate.set()
    await before
    assert await after == {}
    assert service.asked == [["mine"], ["mine"]]


async def test_many_are_asked_for_in_several_calls(service: KeyService, keyring: RemoteKeyring) -> None:
    ids = [str(uuid4()) for _ in range(2 * MOST_KEYS + 1)]
    assert set(await keyring.open(ids)) == set(ids)
    assert sorted(len(asked) for asked in service.asked) == [1, MOST_KEYS, MOST_KEYS]


async def test_one_who_leaves_takes_nobody_along(service: KeyService, keyring: RemoteKeyring) -> None:
    service.gate.clear()
    leaving, staying = (asyncio.create_task(keyring.open(["one"])) for _ in range(2))
    await asyncio.sleep(0.05)
    leaving.cancel()
    service.gate.set()
    assert set(await staying) == {"one"}


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED]
)
async def test_whatever_keeps_the_classifier_from_answering_is_waited_for(
    service: KeyService, keyring: RemoteKeyring, code: grpc.StatusCode
) -> None:
    service.code = code
    for outcome in await asyncio.gather(*(keyring.open([f"key-{n}"]) for n in range(3)), return_exceptions=True):
        assert isinstance(outcome, Unavailable)
    service.code = None
    assert set(await keyring.open(["key-1"])) == {"key-1"}


async def test_a_classifier_that_is_away_is_unavailable() -> None:
    async with open_keyring("127.0.0.1:1", None) as keyring:
        with pytest.raises(Unavailable, match="the classifier"):
            await keyring.issue(OWNER)


async def test_a_service_that_does_not_know_the_classifier_does_not_start() -> None:
    with pytest.raises(Conflict, match="CLASSIFIER is not set"):
        async with open_vault(ServiceSettings()):
            pass
