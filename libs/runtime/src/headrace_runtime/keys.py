"""The keyring of a service: KeyService of the classifier, over gRPC.

Keys that are wanted at the same time are asked for together:

    open ─┐
    open ─┼▶ batch ──a lane is free──▶ KeyService.Open(ids of all)
    open ─┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from headrace.privacy.v1 import keys_pb2
from headrace.privacy.v1.keys_pb2_grpc import KeyServiceStub
from headrace_identity import Credentials
from headrace_privacy import DataKey, Owner, Vault

from headrace_runtime.errors import Conflict, Unavailable
from headrace_runtime.grpc_client import open_channel, own_credentials
from headrace_runtime.settings import ServiceSettings, variable

if TYPE_CHECKING:
    from headrace.privacy.v1.keys_pb2_grpc import KeyServiceAsyncStub

#: As the contract has it.
MOST_KEYS = 1_000
#: How long a call may take, in seconds; whoever needed the key waits and tries again.
CALL_SECONDS = 5.0
#: Calls under way at a time; what is wanted meanwhile goes together into the next.
LANES = 2


@dataclass(slots=True)
class _Batch:
    """Keys that are asked for in one call, which has not begun."""

    ids: set[str] = field(default_factory=set)
    answer: asyncio.Task[Mapping[str, DataKey]] | None = None


class RemoteKeyring:
    """See headrace_privacy.Keyring. Raises Unavailable("the classifier") whatever it is that keeps it from answering:
    without keys nothing is sealed and nothing opened, and what needs them waits."""

    def __init__(self, stub: KeyServiceAsyncStub) -> None:
        self._stub = stub
        self._lanes = asyncio.Semaphore(LANES)
        self._open: _Batch | None = None

    async def issue(self, owner: Owner) -> DataKey:
        """Returns the key that seals for an owner from now on."""
        wire = keys_pb2.KeyOwner(tenant=owner.tenant, kind=_kind(owner), name=owner.name)
        with _failures():
            response = await self._stub.Issue(keys_pb2.IssueRequest(owner=wire), timeout=CALL_SECONDS)
        return DataKey(response.key.key_id, response.key.secret)

    async def open(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        """Returns the keys of these ids. One that is missing is destroyed."""
        wanted = list(key_ids)
        answers = [self._join(wanted[start : start + MOST_KEYS]) for start in range(0, len(wanted), MOST_KEYS)]
        found: dict[str, DataKey] = {}
        for answer in answers:
            found |= await asyncio.shield(answer)  # one caller that is cancelled must not end the others' call
        return {key_id: found[key_id] for key_id in wanted if key_id in found}

    def _join(self, key_ids: Collection[str]) -> asyncio.Task[Mapping[str, DataKey]]:
        """Puts ids into the batch that waits. Never into one under way: it may have been answered before an erasure."""
        batch = self._open
        if batch is None or batch.answer is None or len(batch.ids | set(key_ids)) > MOST_KEYS:
            batch = self._open = _Batch()
            batch.answer = asyncio.create_task(self._send(batch))
            batch.answer.add_done_callback(_looked_at)
        batch.ids.update(key_ids)
        return batch.answer

    async def _send(self, batch: _Batch) -> Mapping[str, DataKey]:
        async with self._lanes:
            if self._open is batch:
                self._open = None
            with _failures():
                request = keys_pb2.OpenRequest(key_ids=sorted(batch.ids))
                response = await self._stub.Open(request, timeout=CALL_SECONDS)
        return {key.key_id: DataKey(key.key_id, key.secret) for key in response.keys}


@asynccontextmanager
async def open_keyring(
    address: str, credentials: Credentials | None, *, authority: Path | None = None
) -> AsyncIterator[RemoteKeyring]:
    """Opens the keyring at the classifier's address, host:port; see grpc_client.open_channel."""
    async with open_channel(address, credentials, authority=authority) as channel:
        yield RemoteKeyring(KeyServiceStub(channel))


@asynccontextmanager
async def open_vault(settings: ServiceSettings) -> AsyncIterator[Vault]:
    """Opens what seals and opens for a service. Raises Conflict when its settings do not name the classifier."""
    if not settings.classifier:
        raise Conflict(f"{variable(settings, 'classifier')} is not set: name the classifier, which has the data keys")
    credentials = own_credentials(settings)
    async with open_keyring(settings.classifier, credentials, authority=settings.tls_authority) as keyring:
        yield Vault(keyring, clock=time.monotonic)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:  # a bug of ours: waiting would not heal it
            raise ValueError("the classifier does not take what was asked of its keys") from None
        raise Unavailable("the classifier") from error


def _kind(owner: Owner) -> keys_pb2.KeyOwnerKind.ValueType:
    return keys_pb2.KeyOwnerKind.ValueType(int(owner.kind))


def _looked_at(task: asyncio.Task[Mapping[str, DataKey]]) -> None:
    """Takes note of a failure that every caller left before."""
    if not task.cancelled():
        task.exception()
