"""Rotating keys from the command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from headrace.privacy.v1 import keys_pb2
from headrace.privacy.v1.keys_pb2_grpc import KeyServiceServicer, add_KeyServiceServicer_to_server

from libs.client.tests.test_cli import headrace_command


class Keys(KeyServiceServicer):
    """Rotates at once."""

    destroyed = True

    async def Rotate(self, request: Any, context: Any) -> keys_pb2.RotateResponse:  # noqa: N802
        rotated = keys_pb2.RotateResponse(keys=17, master_key_version="0123456789abcdef", destroyed=self.destroyed)
        rotated.rotated_at.FromSeconds(1_795_251_600)
        return rotated


@pytest.fixture
async def keys() -> AsyncIterator[tuple[Keys, str]]:
    """A classifier's key service, and where it is."""
    server, servicer = grpc.aio.server(), Keys()  # type: ignore[abstract]
    add_KeyServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"classifier=127.0.0.1:{port}"
    await server.stop(None)


async def test_a_rotation_says_what_it_came_to(keys: tuple[Keys, str]) -> None:
    servicer, where = keys
    ran = await headrace_command("keys", "rotate", where=where)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == [
        "17 keys are wrapped under master key 0123456789abcdef.",
        "The master key before it is destroyed.",
    ]
    servicer.destroyed = False
    ran = await headrace_command("keys", "rotate", where=where)
    assert "take it out of the environment" in ran.err


async def test_a_rotation_as_json(keys: tuple[Keys, str]) -> None:
    ran = await headrace_command("keys", "rotate", "--json", where=keys[1])
    assert json.loads(ran.out) == {
        "keys": 17,
        "master_key_version": "0123456789abcdef",
        "destroyed": True,
        "rotated_at": "2026-11-21T09:00:00+00:00",
    }
