"""Several backends side by side, over servers in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from headrace_inference.adapters.backends import Backend, Backends, Opening, open_backends, told
from headrace_inference.adapters.gate import PolicyGate
from headrace_inference.backend_file import PriceFile, ServerBackend
from headrace_inference.domain import Decoding, Spent, Versioned
from headrace_models.prompting import Turn
from headrace_runtime.errors import Conflict, Overloaded, Unavailable
from headrace_runtime.policy import load_policy

from services.inference.tests.servers import Speaking, free_port, speaking

TURNS = [Turn("system", "Be brief."), Turn("user", "What does pour do?")]
VARIANT, PROMPT = Versioned("short", "1"), Versioned("brief", "1")


def entry(name: str, url: str, **more: Any) -> ServerBackend:
    return ServerBackend(name=name, kind="openai", url=url, **{"timeout": 5.0, "attempts": 1, **more})


@asynccontextmanager
async def opened(*entries: ServerBackend, environ: dict[str, str] | None = None) -> AsyncIterator[Backends]:
    policy = load_policy(None)
    opening = Opening(
        lambda name: PolicyGate(policy, name, cast(Any, None)),
        environ or {},
        cache=Path(),
        slots=4,
        context=1024,
        threads=1,
        waiting=8,
        again_seconds=0.02,
    )
    async with open_backends(entries, opening) as backends:
        yield backends


async def written(backend: Backend) -> tuple[str, Spent]:
    async with backend.model_for("acme", VARIANT, prompt=PROMPT).write(TURNS, Decoding(64)) as writing:
        return "".join([piece async for piece in writing.pieces()]), writing.spent


async def test_each_backend_has_its_own_model_prices_and_key() -> None:
    async with speaking(Speaking("One.", "org/one")) as one, speaking(Speaking("Two.", "org/two", 18)) as two:
        entries = (
            entry("one", one.url),
            entry("two", two.url, key_variable="TWO", prices=PriceFile(input=Decimal(1), output=Decimal(10))),
        )
        async with opened(*entries, environ={"TWO": "sk-two"}) as backends:
            (first, spent), (second, paid) = [await written(b) for b in backends.by_name.values()]
            listed = told(backends)
    assert (first, second) == ("One. ", "Two. ")
    assert (spent.cost_micro_usd, paid.cost_micro_usd) == (0, 120 + 200)
    assert set(one.keys) == {"bearer none"}
    assert set(two.keys) == {"bearer sk-two"}
    assert [(b.name, b.model.name, b.model.version, b.state) for b in listed] == [
        ("one", "one", "17", "up"),
        ("two", "two", "18", "up"),
    ]
    assert [b.completions for b in listed] == [1, 1]
    assert backends.default.name == "one"
    assert backends.find("three") is None
    assert backends.capacity == 32


async def test_a_key_that_is_not_set_stops_the_start() -> None:
    with pytest.raises(Conflict, match="TWO"):
        async with opened(entry("two", "http://127.0.0.1:1/v1", key_variable="TWO")):
            pass


async def test_one_that_is_left_early_is_paid_for_what_it_read() -> None:
    prices = PriceFile(input=Decimal(1), output=Decimal(10))
    async with speaking() as server, opened(entry("one", server.url, prices=prices)) as backends:
        async with backends.default.model_for("acme", VARIANT, prompt=PROMPT).write(TURNS, Decoding(64)) as writing:
            async for _ in writing.pieces():
                break
        asked = sum(len(turn.text) // 3 + 1 for turn in TURNS)
        assert (writing.spent.input_tokens, writing.spent.output_tokens) == (asked, 2)
        assert writing.spent.cost_micro_usd == asked + 20
        assert backends.default.expected("acme", VARIANT).cost_micro_usd == asked + 20
        assert backends.default.expected("other", VARIANT).ms == 0


async def test_one_that_is_down_does_not_stop_the_start_and_is_found_once_it_is_up() -> None:
    port = free_port()
    async with speaking() as up:
        entries = entry("up", up.url), entry("late", f"http://127.0.0.1:{port}/v1", rest_after=2, rest_seconds=0.05)
        async with opened(*entries) as backends:
            late = backends.by_name["late"]
            assert (late.state, late.knows_its_model) == ("down", False)
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await written(late)
            assert backends.by_name["up"].state == "up"
            async with speaking(Speaking(port=port)):
                async with asyncio.timeout(10):
                    while late.state != "up":
                        await asyncio.sleep(0.02)
                assert (await written(late))[1].output_tokens == 20
                assert late.own.identity.version == "17"


async def test_an_only_server_that_is_down_stops_the_start() -> None:
    with pytest.raises(Unavailable):
        async with opened(entry("one", f"http://127.0.0.1:{free_port()}/v1")):
            pass


async def test_one_that_fails_again_and_again_rests_and_then_one_call_tries() -> None:
    async with speaking() as server, opened(entry("one", server.url, rest_after=3, rest_seconds=0.2)) as backends:
        server.status = 500
        for _ in range(5):
            with pytest.raises(Unavailable):
                await written(backends.default)
        assert len(server.prompts) == 3
        assert backends.default.state == "resting"
        assert told(backends)[0].failures == 3
        server.status = 200
        await asyncio.sleep(0.25)
        await written(backends.default)
        assert backends.default.state == "up"


async def test_one_that_is_silent_is_down_after_its_time_and_not_asked_again() -> None:
    patient = {"timeout": 0.2, "attempts": 3}
    async with speaking(Speaking(silence=2.0)) as server, opened(entry("one", server.url, **patient)) as backends:
        with pytest.raises(Unavailable):
            await written(backends.default)
        assert len(server.prompts) == 1  # it may be writing still, and be paid for it


@pytest.mark.parametrize(("wait", "asked"), [("0", 3), ("30", 1), ("Sat, 21 Nov 2026 09:00:00 GMT", 1)])
async def test_one_that_asks_for_patience_is_asked_again_if_that_is_short(wait: str, asked: int) -> None:
    busy = Speaking(status=429, headers={"retry-after": wait})
    async with speaking(busy) as server, opened(entry("one", server.url, attempts=3)) as backends:
        with pytest.raises(Overloaded):
            await written(backends.default)
        assert len(server.prompts) == asked


async def test_no_more_calls_a_minute_than_it_may_be_given() -> None:
    async with speaking() as server, opened(entry("one", server.url, calls_per_minute=2)) as backends:
        await written(backends.default)
        await written(backends.default)
        with pytest.raises(Overloaded):
            await written(backends.default)
        assert len(server.prompts) == 2
        assert backends.default.lane.is_full
