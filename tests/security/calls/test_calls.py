"""The matrix of calls on a whole Headrace: every principal × every method × whose records × of which tier.

Only the cells that protos/access.yaml and the policy file list are let in. Whatever is served is walked: a method that
is new is refused to whom it must be without anybody writing a test, and fails here until samples.py has a sample of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import grpc
import pytest
from headrace.privacy.v1 import audit_pb2
from headrace_embedded.trial import Trial
from headrace_privacy import Tier
from headrace_privacy.policy import Policy

from tests.security.calls import matrix, tiers
from tests.security.calls.effects import stored
from tests.security.calls.house import House
from tests.security.calls.principals import EVERYBODY, Tokens
from tests.security.calls.sampling import SAMPLES
from tests.security.calls.world import Side

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]

LIST = "headrace.privacy.v1.AuditService/ListEntries"
#: How often it is waited 2 s for what is under way to end.
SETTLE_ROUNDS = 10
#: How long it is looked at what changes by itself, where anything did.
IDLE_SECONDS = 40
#: What says of a refusal why, in the audit log.
WHY = {"the role may not call it": "role", "it asked for another tenant": "tenant"}


def test_whatever_is_served_has_a_sample_and_every_id_of_it_is_asked_for(house: House) -> None:
    assert matrix.missing_samples(house.methods) == []
    assert matrix.unnamed_ids(house.methods) == []
    assert len(house.methods) >= 39


async def test_every_other_cell_is_refused_and_nothing_comes_of_it(
    house: House, stack: Trial, sides: tuple[Side, Side], tokens: Tokens
) -> None:
    ours, theirs = sides
    cells = [*matrix.refusals(house.methods, tokens, own=ours.tenant, other=theirs.tenant)]
    assert len(cells) > 30 * len(house.methods)
    before = await settled(stack)
    assert await matrix.wrongly_answered(house, cells) == []
    changed = await changed_since(before, stack)
    assert not changed or changed - await changing_by_itself(stack) == set()
    assert await untold(house, tokens, cells) == Counter()


async def changed_since(before: dict[str, str], stack: Trial) -> set[str]:
    """Where something else is stored now."""
    now = await stored(stack.home, stack.endpoints.bus())
    return {place for place in before if before[place] != now.get(place)}


async def changing_by_itself(stack: Trial) -> set[str]:
    """Where something else is stored after a while in which nobody called: what services do by the clock."""
    before, found = await stored(stack.home, stack.endpoints.bus()), set[str]()
    for _ in range(IDLE_SECONDS):
        await asyncio.sleep(1)
        found |= await changed_since(before, stack)
    return found


async def settled(stack: Trial) -> dict[str, str]:
    """What is stored once nothing is under way any more, but for what services do by the clock."""
    before: dict[str, str] = {}
    for _ in range(SETTLE_ROUNDS):
        if (now := await stored(stack.home, stack.endpoints.bus())) == before:
            break
        before = now
        await asyncio.sleep(2)
    return before


async def untold(house: House, tokens: Tokens, cells: list[matrix.Cell]) -> Counter[tuple[str, str, str, str]]:
    """The refusals of known callers that the audit log does not tell; it has a few seconds to."""
    known = [cell for cell in cells if cell.code is grpc.StatusCode.PERMISSION_DENIED]
    wanted = Counter(
        (cell.method, cell.role, "" if cell.tenant == EVERYBODY else cell.tenant, cell.reason) for cell in known
    )
    end = time.monotonic() + 15
    while (missing := wanted - await told(house, tokens)) and time.monotonic() < end:
        await asyncio.sleep(0.5)
    return missing


async def told(house: House, tokens: Tokens) -> Counter[tuple[str, str, str, str]]:
    """The refusals in the audit log, by method, role, tenant and reason."""
    request = audit_pb2.ListEntriesRequest()
    outcome = await house.call(LIST, request, tokens.of("privacy", EVERYBODY))
    responses: Any = outcome.responses
    rows = [row for response in responses for row in response.entries if row.action == "access.denied"]
    return Counter((row.object, row.role, row.tenant, WHY.get(row.reason.split(";")[0], "")) for row in rows)


async def test_every_cell_that_is_listed_is_let_in(house: House, sides: tuple[Side, Side], tokens: Tokens) -> None:
    assert await matrix.wrongly_refused(house, sides[0], tokens) == []


async def test_what_another_tenant_has_is_what_nobody_has(
    house: House, sides: tuple[Side, Side], tokens: Tokens
) -> None:
    """The same code, words and details, and no other time to a degree that could be told."""
    ours, theirs = sides
    pairs = [pair for name in matrix.with_samples(house.methods)
             async for pair in matrix.twins_of(name, SAMPLES[name], ours, theirs, tokens)]  # fmt: skip
    assert len({str(pair) for pair in pairs}) >= 18
    assert await matrix.differences(house, pairs) == []
    lookups = await matrix.lookups(house, pairs)
    assert len(lookups) >= 13
    assert [said for pair in lookups if (said := await matrix.slower_or_faster(house, pair))] == []


async def test_each_tier_is_read_by_whom_the_policy_lists(
    house: House, sides: tuple[Side, Side], tokens: Tokens, policy: Policy
) -> None:
    ours = sides[0]
    assert len({reading.is_allowed for reading in tiers.readings(ours, policy)}) == len({True, False})
    assert await tiers.read_against_the_policy(house, ours, tokens, policy) == []
    assert [wrong async for wrong in tiers.exported_against_the_policy(house, ours, tokens, policy)] == []
    assert [wrong async for wrong in tiers.found_against_the_policy(house, ours, tokens, policy)] == []


async def test_what_was_read_and_refused_has_left_the_log_whole(house: House, tokens: Tokens) -> None:
    request = audit_pb2.VerifyEntriesRequest()
    outcome = await house.call("headrace.privacy.v1.AuditService/VerifyEntries", request, tokens.of("sre", EVERYBODY))
    (report,) = outcome.responses
    verified: Any = report
    assert verified.entries > 0
    assert list(verified.faults) == []


def test_both_sides_have_something_of_every_tier(sides: tuple[Side, Side]) -> None:
    """Or the rest would prove little."""
    for side in sides:
        assert set(side.queries) == set(side.traces) == set(side.documents) == set(Tier)
        assert all((side.feedback_id, side.erasure_id, side.key_id, side.chunk_id))
