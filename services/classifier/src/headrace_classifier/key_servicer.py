"""The gRPC edge of the key store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext
from headrace.privacy.v1 import keys_pb2
from headrace.privacy.v1.keys_pb2_grpc import KeyServiceServicer
from headrace_privacy import DataKey, Keyring, Owner, OwnerKind
from headrace_runtime.errors import Rejected, Violation

from headrace_classifier.keys import Rotation

MOST_KEYS = 1_000
#: A document's is its source and its id, 64 + 1 + 512 characters.
LONGEST_NAME = 577
_KINDS = frozenset(int(kind) for kind in OwnerKind)


class KeyServicer(KeyServiceServicer):
    """Serves headrace.privacy.v1.KeyService. Who may call what is decided at the edge, by headrace.access."""

    def __init__(self, keyring: Keyring, *, rotate: Callable[[], Awaitable[Rotation]]) -> None:
        self._keyring = keyring
        self._rotate = rotate

    async def Issue(self, request: keys_pb2.IssueRequest, context: ServicerContext[Any, Any]) -> keys_pb2.IssueResponse:
        """Raises Rejected with each wrong field."""
        return keys_pb2.IssueResponse(key=_to_wire(await self._keyring.issue(_owner(request.owner))))

    async def Open(self, request: keys_pb2.OpenRequest, context: ServicerContext[Any, Any]) -> keys_pb2.OpenResponse:
        """Raises Rejected with each wrong id by its place."""
        if violations := list(_wrong_ids(request)):
            raise Rejected(*violations)
        keys = await self._keyring.open(request.key_ids)
        return keys_pb2.OpenResponse(keys=[_to_wire(key) for key in keys.values()])

    async def Rotate(
        self, request: keys_pb2.RotateRequest, context: ServicerContext[Any, Any]
    ) -> keys_pb2.RotateResponse:
        """Raises Conflict where the master key is not in our hands."""
        rotation = await self._rotate()
        rotated_at = Timestamp()
        rotated_at.FromDatetime(rotation.rotated_at)
        return keys_pb2.RotateResponse(
            keys=rotation.keys,
            master_key_version=rotation.version,
            destroyed=rotation.destroyed,
            rotated_at=rotated_at,
        )


def _to_wire(key: DataKey) -> keys_pb2.DataKey:
    return keys_pb2.DataKey(key_id=key.key_id, secret=key.secret)


def _owner(owner: keys_pb2.KeyOwner) -> Owner:
    if violations := list(_wrong_owner(owner)):
        raise Rejected(*violations)
    return Owner(owner.tenant, OwnerKind(owner.kind), owner.name)


def _wrong_owner(owner: keys_pb2.KeyOwner) -> Iterator[Violation]:
    if not owner.tenant:
        yield Violation("owner.tenant", "missing", "Say whose key it is.")
    if int(owner.kind) not in _KINDS:
        yield Violation("owner.kind", "unknown_value", "A key is of a subject, a document, a day or an index.")
    if bool(owner.name) == (int(owner.kind) == OwnerKind.INDEX):
        yield Violation("owner.name", "missing", "Every owner but an index has a name.")
    if len(owner.name) > LONGEST_NAME:
        yield Violation("owner.name", "too_long", f"A name has at most {LONGEST_NAME} characters.")


def _wrong_ids(request: keys_pb2.OpenRequest) -> Iterator[Violation]:
    if not 0 < len(request.key_ids) <= MOST_KEYS:
        yield Violation("key_ids", "too_long" if request.key_ids else "missing", f"Name 1 to {MOST_KEYS} keys.")
        return
    for place, key_id in enumerate(request.key_ids):
        try:
            UUID(key_id)
        except ValueError:
            yield Violation(f"key_ids[{place}]", "not_a_uuid", "A key's id is a UUID.")
