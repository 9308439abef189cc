"""Gathering: who waits for whom, and what becomes of those that share a commit with trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from headrace_drift.gathering import Gatherer, Waiting
from headrace_drift.measuring import Observation
from headrace_drift.traffic import Cell, Seen
from headrace_privacy import Erased, Tier
from headrace_runtime.errors import Unavailable

from services.drift.tests.makers import START, answer, arrived


def seen(name: str, tenant: str = "demo") -> Seen:
    return Seen(tenant, Cell(), START, Observation(name, 0, Tier.TIER_1))


@dataclass
class Commits:
    """Remembers what was committed together; some queries make trouble."""

    together: list[list[str]] = field(default_factory=list)
    bugs: frozenset[str] = frozenset()
    erased: frozenset[str] = frozenset()
    is_down: bool = False

    async def commit(self, tenant: str, waiting: Sequence[Waiting]) -> frozenset[str]:
        names = [one.seen.observation.query_id for one in waiting]
        if self.is_down:
            raise Unavailable("postgres")
        if self.bugs & set(names):
            raise KeyError(tenant)
        self.together.append(names)
        return self.erased & frozenset(names)


async def gathered(
    commits: Commits, names: Sequence[str], *, most: int = 100, tenants: Sequence[str] = ()
) -> list[Any]:
    gatherer = Gatherer(commits.commit, seconds=0.02, most=most)
    of = tenants or ["demo"] * len(names)
    async with gatherer.gathering():
        return await asyncio.gather(
            *(
                gatherer.count(arrived(answer("demo")), seen(name, tenant))
                for name, tenant in zip(names, of, strict=True)
            ),
            return_exceptions=True,
        )


async def test_what_comes_together_is_committed_together() -> None:
    commits = Commits()
    assert await gathered(commits, ["a", "b", "c"]) == [None] * 3
    assert commits.together == [["a", "b", "c"]]


async def test_each_tenant_has_a_commit_of_its_own() -> None:
    commits = Commits()
    await gathered(commits, ["a", "b", "c"], tenants=["one", "two", "one"])
    assert sorted(commits.together) == [["a", "c"], ["b"]]


async def test_nobody_waits_once_there_are_enough() -> None:
    gatherer = Gatherer(Commits().commit, seconds=60.0, most=2)
    async with gatherer.gathering(), asyncio.timeout(5):
        await asyncio.gather(*(gatherer.count(arrived(answer("demo")), seen(name)) for name in "ab"))


async def test_when_a_dependency_is_down_everybody_is_told() -> None:
    found = await gathered(Commits(is_down=True), ["a", "b", "c"])
    assert [type(one) for one in found] == [Unavailable] * 3


async def test_a_bug_in_one_event_is_that_events_alone() -> None:
    commits = Commits(bugs=frozenset("d"))
    found = await gathered(commits, list("abcdefg"))
    assert [type(one) for one in found] == [type(None)] * 3 + [KeyError] + [type(None)] * 3
    assert sorted(name for names in commits.together for name in names) == list("abcefg")


async def test_what_is_erased_is_told_so_and_the_others_count() -> None:
    found = await gathered(Commits(erased=frozenset("b")), ["a", "b"])
    assert [type(one) for one in found] == [type(None), Erased]


async def test_one_that_no_longer_waits_is_not_committed() -> None:
    commits = Commits()
    gatherer = Gatherer(commits.commit, seconds=0.05, most=10)
    async with gatherer.gathering():
        left = asyncio.create_task(gatherer.count(arrived(answer("demo")), seen("left")))
        await asyncio.sleep(0)
        left.cancel()
        await gatherer.count(arrived(answer("demo")), seen("stays"))
    assert commits.together == [["stays"]]
    with pytest.raises(asyncio.CancelledError):
        await left
