"""For tests: a KeyService without a classifier, for services that are started whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from headrace.privacy.v1 import keys_pb2
from headrace.privacy.v1.keys_pb2_grpc import KeyServiceServicer, add_KeyServiceServicer_to_server
from headrace_privacy import DataKey, Keyring, Owner, OwnerKind


class _Keys(KeyServiceServicer):
    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def Issue(self, request: keys_pb2.IssueRequest, context: Any) -> keys_pb2.IssueResponse:  # noqa: ARG002, N802
        wire = request.owner
        key = await self._keyring.issue(Owner(wire.tenant, OwnerKind(wire.kind), wire.name))
        return keys_pb2.IssueResponse(key=_to_wire(key))

    async def Open(self, request: keys_pb2.OpenRequest, context: Any) -> keys_pb2.OpenResponse:  # noqa: ARG002, N802
        keys = await self._keyring.open(request.key_ids)
        return keys_pb2.OpenResponse(keys=map(_to_wire, keys.values()))


@asynccontextmanager
async def serving_keys(keyring: Keyring, *more: Callable[[grpc.aio.Server], object]) -> AsyncIterator[str]:
    """Serves a keyring to whoever asks, and yields its address, for a service's setting `classifier`.

    Each of `more` adds another service of the classifier's.
    """
    server = grpc.aio.server()
    for add in more:
        add(server)
    add_KeyServiceServicer_to_server(_Keys(keyring), server)  # type: ignore[abstract]  # what it lacks answers UNIMPLEMENTED
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _to_wire(key: DataKey) -> keys_pb2.DataKey:
    return keys_pb2.DataKey(key_id=key.key_id, secret=key.secret)
