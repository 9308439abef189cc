"""Two tenants on the whole Headrace that all tests of this run share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from headrace_embedded.trial import Trial
from headrace_privacy.policy import Policy
from headrace_privacy.policy_file import read_policy

from tests.security.calls.house import House, open_house
from tests.security.calls.principals import Tokens, open_tokens
from tests.security.calls.world import Side, furnish


@pytest.fixture(scope="session")
async def house(stack: Trial) -> AsyncIterator[House]:
    """Everything that is served."""
    addresses = [every.split(",")[0] for every in stack.endpoints.services.values()]
    async with open_house(addresses) as opened:
        yield opened


@pytest.fixture(scope="session")
def tokens(stack: Trial) -> Tokens:
    """Tokens with the house's own keys."""
    return open_tokens(Path(stack.endpoints.keys))


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The one that is in force."""
    return read_policy(None)


@pytest.fixture(scope="session")
async def sides(house: House, tokens: Tokens) -> tuple[Side, Side]:
    """We, and they."""
    unique = uuid4().hex[:8]
    ours, theirs = await asyncio.gather(
        *(furnish(Side(house, tokens, f"{name}-{unique}")) for name in ("ours", "theirs"))
    )
    return ours, theirs
