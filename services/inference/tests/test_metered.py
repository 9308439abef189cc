"""What stands before a model, and what is counted of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from headrace_inference.adapters.memory import ScriptedModel
from headrace_inference.adapters.metered import Lane, MeteredModel
from headrace_inference.domain import Decoding, Identity, Spent
from headrace_inference.meters import Breaker, CallLimit, Meter, Prices
from headrace_inference.ports import Model
from headrace_models.prompting import Turn
from headrace_privacy import Tier
from headrace_runtime.errors import Failure, Overloaded, Rejected, Unavailable, Violation

from services.inference.tests.test_meters import Clock

TURNS = [Turn("user", "Say it")]


@dataclass(slots=True)
class Failing:
    """A model that fails: at once, or after its first word."""

    error: Exception
    at_once: bool = True
    identity: Identity = field(default=Identity("failing", "1", "memory"))
    window: int = 1024
    tier: Tier = Tier.PUBLIC
    asked: int = 0

    def count(self, text: str) -> int:
        return len(text)

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[Failing]:
        self.asked += 1
        if self.at_once:
            raise self.error
        yield self

    async def pieces(self) -> AsyncIterator[str]:
        yield "Water "
        raise self.error

    @property
    def spent(self) -> Spent:
        return Spent(output_tokens=1)


@dataclass(slots=True)
class Stand:
    """A metered model with all that is around it."""

    clock: Clock = field(default_factory=Clock)
    failing: tuple[type[Failure], ...] = (Unavailable,)
    a_minute: int = 0
    in_flight: int = 2
    waiting: int = 0

    def over(self, model: Model) -> MeteredModel:
        breaker = Breaker(self.clock, after=2, seconds=5)
        lane = Lane("x", CallLimit(self.a_minute, self.clock), breaker, self.in_flight, self.waiting)
        prices = Prices(Decimal(1), Decimal(2))
        return MeteredModel(model, lane, prices, (Meter(self.clock), Meter(self.clock)), self.failing, self.clock)


async def written(model: MeteredModel) -> Spent:
    async with model.write(TURNS, Decoding(9)) as writing:
        async for _ in writing.pieces():
            model.clock.now += 0.25  # type: ignore[attr-defined]
        return writing.spent


async def test_a_completion_is_timed_and_priced() -> None:
    model = Stand().over(ScriptedModel("Water falls"))
    spent = await written(model)
    assert spent.cost_micro_usd == 100 * 1 + 2 * 2
    for meter in model.meters:
        assert (meter.completions, meter.failures, meter.quantile(0.5)) == (1, 0, 500.0)
        assert meter.expected().cost_micro_usd == 104


@pytest.mark.parametrize("at_once", [True, False])
async def test_its_own_failures_earn_a_backend_a_rest(at_once: bool) -> None:
    model = (stand := Stand()).over(broken := Failing(Unavailable("x"), at_once=at_once))
    for _ in range(3):
        with pytest.raises(Unavailable):
            await written(model)
    assert broken.asked == 2  # the third time nobody was asked
    assert (model.meters[0].completions, model.meters[0].failures) == (2, 2)
    stand.clock.now += 5
    with pytest.raises(Unavailable):
        await written(model)
    assert broken.asked == 3
    assert model.lane.breaker.is_resting


async def test_what_a_request_is_to_blame_for_is_no_failure_of_the_backend() -> None:
    model = Stand().over(broken := Failing(Rejected(Violation("turns", "too_long", "Too long."))))
    for _ in range(5):
        with pytest.raises(Rejected):
            await written(model)
    assert broken.asked == 5
    assert not model.lane.breaker.is_resting
    assert model.meters[0].failures == 0


async def test_what_whoever_reads_raises_is_no_failure_of_the_backend() -> None:
    model = Stand().over(ScriptedModel("Water falls"))
    for _ in range(3):
        with pytest.raises(Unavailable):
            async with model.write(TURNS, Decoding(9)) as writing:
                async for _ in writing.pieces():
                    raise Unavailable("the database")
    assert not model.lane.breaker.is_resting
    assert model.meters[0].failures == 0


async def test_a_server_that_is_asked_too_much_is_left_alone_and_an_engine_is_not() -> None:
    engine = Stand().over(Failing(Overloaded("x")))
    server = Stand(failing=(Unavailable, Overloaded)).over(Failing(Overloaded("x")))
    for model in (engine, server):
        for _ in range(2):
            with pytest.raises(Overloaded):
                await written(model)
    assert not engine.lane.breaker.is_resting
    assert server.lane.breaker.is_resting


async def test_calls_above_the_rate_are_turned_away_until_the_minute_is_over() -> None:
    model = (stand := Stand(a_minute=2)).over(ScriptedModel("Water"))
    await written(model)
    await written(model)
    assert model.lane.is_full
    with pytest.raises(Overloaded):
        await written(model)
    stand.clock.now += 60
    await written(model)


async def test_so_many_are_in_flight_so_many_wait_and_the_rest_is_turned_away() -> None:
    gate = asyncio.Event()
    at_a_time: list[int] = []
    running = 0

    class Slow(ScriptedModel):
        @asynccontextmanager
        async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[object]:
            nonlocal running
            running += 1
            at_a_time.append(running)
            await gate.wait()
            try:
                async with ScriptedModel("Water").write(turns, decoding) as writing:
                    yield writing
            finally:
                running -= 1

    model = Stand(in_flight=2, waiting=3).over(Slow(""))
    tasks = [asyncio.create_task(written(model)) for _ in range(6)]
    await asyncio.sleep(0.01)
    gate.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert max(at_a_time) == 2
    assert sum(isinstance(e, Overloaded) for e in ended) == 1
    assert sum(isinstance(e, Spent) for e in ended) == 5
    assert not model.lane.is_full


async def test_what_a_call_waited_for_its_place_counts() -> None:
    model = (stand := Stand(in_flight=1, waiting=1)).over(ScriptedModel("Water"))
    async with model.lane.place():
        task = asyncio.create_task(written(model))
        await asyncio.sleep(0)
        stand.clock.now += 3
    await task
    assert model.meters[0].quantile(0.5) == 3_250.0


async def test_whoever_waited_for_a_backend_that_went_down_is_told_so() -> None:
    model = Stand(in_flight=1, waiting=9).over(broken := Failing(Unavailable("x"), at_once=False))
    ended = await asyncio.gather(*(written(model) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(e, Unavailable) for e in ended)
    assert broken.asked == 2


async def test_a_cancelled_try_after_a_rest_leaves_the_way_open() -> None:
    model = (stand := Stand()).over(Failing(Unavailable("x")))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await written(model)
    stand.clock.now += 5
    async with model.lane.place():
        assert model.lane.breaker.is_resting
    working = MeteredModel(ScriptedModel("Water"), model.lane, model.prices, (), (Unavailable,), stand.clock)
    model.lane.breaker.left()
    async with working.write(TURNS, Decoding(9)):
        pass  # left before anything was read
    assert not model.lane.breaker.is_resting
    await written(working)
