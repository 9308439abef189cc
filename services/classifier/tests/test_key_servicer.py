"""The key store's gRPC edge."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from headrace.privacy.v1 import keys_pb2
from headrace_classifier.key_servicer import KeyServicer
from headrace_classifier.keys import Rotation
from headrace_privacy import Owner
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Rejected

CONTEXT: Any = None
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
SUBJECT = keys_pb2.KeyOwner(tenant="acme", kind=keys_pb2.KEY_OWNER_KIND_SUBJECT, name="user-17")


async def rotate() -> Rotation:
    return Rotation(3, "0123456789abcdef", True, NOW)


@pytest.fixture
def keyring() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture
def servicer(keyring: MemoryKeyring) -> KeyServicer:
    return KeyServicer(keyring, rotate=rotate)


async def test_issues_and_opens(servicer: KeyServicer, keyring: MemoryKeyring) -> None:
    issued = await servicer.Issue(keys_pb2.IssueRequest(owner=SUBJECT), CONTEXT)
    assert issued.key.secret == (await keyring.issue(Owner.subject("acme", "user-17"))).secret
    opened = await servicer.Open(keys_pb2.OpenRequest(key_ids=[issued.key.key_id]), CONTEXT)
    assert list(opened.keys) == [issued.key]
    keyring.destroy(Owner.subject("acme", "user-17"))
    assert not (await servicer.Open(keys_pb2.OpenRequest(key_ids=[issued.key.key_id]), CONTEXT)).keys


@pytest.mark.parametrize(
    ("owner", "field"),
    [
        (keys_pb2.KeyOwner(kind=keys_pb2.KEY_OWNER_KIND_INDEX), "owner.tenant"),
        (keys_pb2.KeyOwner(tenant="acme", name="user-17"), "owner.kind"),
        (keys_pb2.KeyOwner(tenant="acme", kind=keys_pb2.KEY_OWNER_KIND_SUBJECT), "owner.name"),
        (keys_pb2.KeyOwner(tenant="acme", kind=keys_pb2.KEY_OWNER_KIND_INDEX, name="user-17"), "owner.name"),
        (keys_pb2.KeyOwner(tenant="acme", kind=keys_pb2.KEY_OWNER_KIND_SUBJECT, name="x" * 578), "owner.name"),
    ],
)
async def test_names_a_wrong_owner_by_its_field(servicer: KeyServicer, owner: keys_pb2.KeyOwner, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        await servicer.Issue(keys_pb2.IssueRequest(owner=owner), CONTEXT)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert "user-17" not in str([violation.description for violation in caught.value.violations])


@pytest.mark.parametrize(
    ("ids", "field"),
    [
        ([], "key_ids"),
        (["00000000-0000-0000-0000-000000000000"] * 1001, "key_ids"),
        (["00000000-0000-0000-0000-000000000000", "user-17"], "key_ids[1]"),
    ],
)
async def test_names_wrong_ids_by_their_place(servicer: KeyServicer, ids: list[str], field: str) -> None:
    with pytest.raises(Rejected) as caught:
        await servicer.Open(keys_pb2.OpenRequest(key_ids=ids), CONTEXT)
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_says_what_a_rotation_came_to(servicer: KeyServicer) -> None:
    response = await servicer.Rotate(keys_pb2.RotateRequest(), CONTEXT)
    assert (response.keys, response.master_key_version, response.destroyed) == (3, "0123456789abcdef", True)
    assert response.rotated_at.ToDatetime(tzinfo=UTC) == NOW
