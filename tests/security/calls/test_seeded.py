"""Seeded bugs that the matrix must catch: a door with a hole, a servicer that hints, a sample that is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from headrace.access import METHODS, Access
from headrace.privacy.v1 import approvals_pb2
from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceServicer, add_ApprovalServiceServicer_to_server
from headrace_identity import Limit, new_key
from headrace_identity.testing import Issuer
from headrace_runtime.admission import Admission
from headrace_runtime.errors import Denied, NotFound
from headrace_runtime.grpc_server import Servicer, open_grpc_server

from tests.security.calls import matrix
from tests.security.calls.house import House, open_house
from tests.security.calls.principals import Tokens
from tests.security.calls.sampling import SAMPLES

APPROVALS = "headrace.privacy.v1.ApprovalService"
GET, LIST = f"{APPROVALS}/GetGrant", f"{APPROVALS}/ListGrants"
ONE, OTHER = (
    new_key(name, limit=Limit(frozenset({f"service:{name}"}), frozenset({"*"}))) for name in ("embedder", "ingest")
)
ISSUER = Issuer(ONE, OTHER)
TOKENS = Tokens(ISSUER.key, (ONE, OTHER))
THEIRS = str(uuid4())


class Grants(ApprovalServiceServicer):
    """Knows of one grant, another tenant's; says of it what it says of any other."""

    async def GetGrant(self, request: Any, context: Any) -> approvals_pb2.GetGrantResponse:  # noqa: N802
        if request.grant_id == THEIRS:
            return await self.theirs(request)
        raise NotFound("grant", request.grant_id)

    async def theirs(self, request: Any) -> approvals_pb2.GetGrantResponse:
        raise NotFound("grant", request.grant_id)

    async def ListGrants(self, request: Any, context: Any) -> approvals_pb2.ListGrantsResponse:  # noqa: N802
        return approvals_pb2.ListGrantsResponse()


class Hinting(Grants):
    async def theirs(self, request: Any) -> approvals_pb2.GetGrantResponse:
        raise NotFound("grant of yours", request.grant_id)


class Refusing(Grants):
    async def theirs(self, request: Any) -> approvals_pb2.GetGrantResponse:
        raise Denied(f"no such grant: {request.grant_id}")


class Answering(Grants):
    async def theirs(self, request: Any) -> approvals_pb2.GetGrantResponse:
        return approvals_pb2.GetGrantResponse()


class Pondering(Grants):
    async def theirs(self, request: Any) -> approvals_pb2.GetGrantResponse:
        await asyncio.sleep(0.03)
        raise NotFound("grant", request.grant_id)


class Served(House):
    """A house of two methods."""

    @property
    def methods(self) -> list[str]:
        return [GET, LIST]


@asynccontextmanager
async def serving(servicer: Grants, *, table: Mapping[str, Access] = METHODS) -> AsyncIterator[Served]:
    servicers = [Servicer(add_ApprovalServiceServicer_to_server, servicer, APPROVALS)]
    admission = Admission(ISSUER.verifier(), methods=table)
    async with (
        open_grpc_server("127.0.0.1:0", servicers, drain_seconds=0, admission=admission) as server,
        open_house([f"127.0.0.1:{server.port}"]) as house,
    ):
        yield Served(house._channels)


def but(method: str, **changes: Any) -> dict[str, Access]:
    """The table of access with one method otherwise."""
    return {**METHODS, method: replace(METHODS[method], **changes)}


@pytest.mark.parametrize(
    ("table", "caught"),
    [
        (METHODS, ()),
        (but(LIST, tenant=""), (f"{LIST} by developer of theirs (tenant): OK",)),
        (but(LIST, roles=METHODS[LIST].roles | {"sre"}), (f"{LIST} by sre of ours (role): OK",)),
        (but(LIST, roles=METHODS[LIST].roles | {"service:stranger"}), (f"{LIST} by service:stranger of * (role): OK",)),
        (but(GET, roles=METHODS[GET].roles | {"product"}), (f"{GET} by product of ours (role): NOT_FOUND",)),
    ],
)
async def test_a_door_with_a_hole_is_found(table: Mapping[str, Access], caught: tuple[str, ...]) -> None:
    cells = [*matrix.refusals([GET, LIST], TOKENS, own="ours", other="theirs")]
    async with serving(Grants(), table=table) as house:
        found = await matrix.wrongly_answered(house, cells)
    assert bool(found) == bool(caught)
    assert all(any(said.startswith(one) for said in found) for one in caught)


async def test_a_door_that_anybody_passes_is_found() -> None:
    cells = [*matrix.refusals([LIST], TOKENS, own="ours", other="theirs")]
    servicers = [Servicer(add_ApprovalServiceServicer_to_server, Grants(), APPROVALS, is_open=True)]
    admission = Admission(ISSUER.verifier())
    async with (
        open_grpc_server("127.0.0.1:0", servicers, drain_seconds=0, admission=admission) as server,
        open_house([f"127.0.0.1:{server.port}"]) as house,
    ):
        assert len(await matrix.wrongly_answered(house, cells)) == len(cells)


def pair() -> matrix.Twins:
    asked = [approvals_pb2.GetGrantRequest(grant_id=grant_id) for grant_id in (THEIRS, str(uuid4()))]
    return matrix.Twins(GET, "grant_id", *asked, TOKENS.of("developer", "ours"))


@pytest.mark.parametrize(
    ("servicer", "is_caught"), [(Grants(), False), (Hinting(), True), (Refusing(), True), (Answering(), True)]
)
async def test_a_servicer_that_hints_is_found(servicer: Grants, is_caught: bool) -> None:
    async with serving(servicer) as house:
        assert bool(await matrix.differences(house, [pair()])) is is_caught


@pytest.mark.parametrize(("servicer", "is_caught"), [(Grants(), False), (Pondering(), True)])
async def test_a_servicer_that_takes_its_time_is_found(servicer: Grants, is_caught: bool) -> None:
    async with serving(servicer) as house:
        assert bool(await matrix.slower_or_faster(house, pair())) is is_caught


def test_a_method_without_a_sample_is_found() -> None:
    (missing,) = matrix.missing_samples([GET, "headrace.new.v1.NewService/Do"])
    assert missing == "headrace.new.v1.NewService/Do: add a sample, as tests/security/calls/sampling.py tells"


def test_an_id_that_no_sample_speaks_of_is_found() -> None:
    assert matrix.unnamed_ids([GET], SAMPLES) == []
    forgetful = {GET: replace(SAMPLES[GET], ids=())}
    assert matrix.unnamed_ids([GET], forgetful) == [f"{GET}: grant_id"]
