"""From a record to its effect, without a broker: order, retries, refusals, and those behind what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from headrace import topics
from headrace.query.v1.events_pb2 import QueryRefused, QuerySubmitted
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace_identity.signatures import About
from headrace_privacy import Erased, Tier
from headrace_runtime.errors import Conflict, Denied, Overloaded, Rejected, Unavailable, Violation
from headrace_stream import Delivery, Event, Refusal
from headrace_stream.dead_letters import FAILURES_IN_A_ROW
from headrace_stream.publishers import UnknownPublisher
from headrace_stream.worker import ATTEMPTS, Worker

CANARY = "canary-hunter2"
TOPIC = topics.QUERY_SUBMITTED

Handle = Callable[[Delivery[QuerySubmitted]], Awaitable[Sequence[Event[Any]]]]


@dataclass
class Record:
    offset: int
    key: bytes | None = b"k"
    value: bytes | None = field(default_factory=lambda: QuerySubmitted(text=CANARY).SerializeToString())
    topic: str = TOPIC.name
    partition: int = 0
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


class Bus:
    """Remembers what it was given, and is down for a while."""

    def __init__(self) -> None:
        self.published: list[Event[Any]] = []
        self.failures = 0

    async def publish(self, *events: Event[Any]) -> None:
        if events and self.failures:
            self.failures -= 1
            raise Unavailable("kafka")
        self.published.extend(events)

    @property
    def letters(self) -> list[DeadLetter]:
        return [event.message for event in self.published if event.topic.name.endswith(".dlq")]


class Trial:
    """A worker whose waits take no time."""

    def __init__(self, handler: Handle, *, refuse: Any = None, in_flight: int = 8, admit: Any = None) -> None:
        self.finished: list[int] = []
        self.waits: list[float] = []
        self.bus = Bus()
        self.worker = Worker(
            service="ingest",
            topics={TOPIC.name: TOPIC},
            name="group",
            handler=handler,
            publisher=self.bus,
            refuse=refuse,
            in_flight=in_flight,
            on_finished=lambda record: self.finished.append(record.offset),
            sleep=self._sleep,
            admit=admit,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def run(self, *records: Record) -> None:
        self.worker.take(records)
        async with asyncio.timeout(5):
            while self.worker.under_way or (self.worker.waiting and not self.worker.stopped_by):
                await asyncio.sleep(0)


def failing(error: Exception, times: int = 1_000) -> tuple[Handle, list[int]]:
    attempts: list[int] = []

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        attempts.append(delivery.arrival.attempt)
        if len(attempts) <= times:
            raise error
        return ()

    return handle, attempts


async def test_one_key_in_order_and_never_more_than_the_limit() -> None:
    running, most, order = 0, 0, []

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (delivery.arrival.offset % 3))
        order.append((delivery.key, delivery.arrival.offset))
        running -= 1
        return ()

    trial = Trial(handle, in_flight=4)
    await trial.run(*(Record(offset, key=b"abc"[offset % 3 :][:1]) for offset in range(60)))
    assert most <= 4
    for key in "abc":
        offsets = [offset for name, offset in order if name == key]
        assert offsets == sorted(offsets)
    assert sorted(trial.finished) == list(range(60))


@pytest.mark.parametrize("error", [Unavailable("postgres"), Overloaded("the model")])
async def test_what_heals_is_waited_for_and_is_no_attempt(error: Exception) -> None:
    handle, attempts = failing(error, times=6)
    trial = Trial(handle)
    await trial.run(Record(0))
    assert attempts == [1] * 7
    assert (trial.finished, trial.bus.published) == ([0], [])
    # Each wait is twice the one before, less up to half of it for jitter.
    assert all(0.05 * 2**n <= wait <= 0.1 * 2**n for n, wait in enumerate(trial.waits))


async def test_a_bug_is_tried_three_times_then_buried_without_its_text() -> None:
    handle, attempts = failing(KeyError(CANARY))
    trial = Trial(handle)
    await trial.run(Record(0))
    (letter,) = trial.bus.letters
    assert attempts == [1, 2, 3][:ATTEMPTS]
    assert (letter.error, letter.attempts, list(letter.reasons)) == ("KeyError", 3, [])
    assert CANARY.encode() not in letter.SerializeToString()
    assert trial.finished == [0]


async def test_a_bug_that_passes_is_forgotten() -> None:
    handle, attempts = failing(KeyError(), times=2)
    trial = Trial(handle)
    await trial.run(Record(0))
    assert (attempts, trial.finished, trial.bus.published) == ([1, 2, 3], [0], [])


async def test_what_is_denied_is_buried_at_once_and_stops_nobody() -> None:
    handle, attempts = failing(Denied("the policy says no"))
    trial = Trial(handle)
    await trial.run(*(Record(offset, key=None) for offset in range(FAILURES_IN_A_ROW + 2)))
    assert len(attempts) == len(trial.bus.letters) == FAILURES_IN_A_ROW + 2
    assert {letter.error for letter in trial.bus.letters} == {"Denied"}
    assert trial.worker.stopped_by == ""


QUERY = QuerySubmitted(tenant="acme", product="shop", subject="ann", text=CANARY)
CLAIMED = [("ce_tenant", b"acme"), ("ce_dataclassification", b"public"), ("ce_id", b"7"), ("ce_source", b"shop")]


def admitting(signed: About | None) -> Any:
    """Believes every record to be signed so; None believes none."""

    async def admit(topic: str, value: bytes, headers: Any) -> About:
        if signed is None:
            raise UnknownPublisher
        return signed

    return admit


@pytest.mark.parametrize(
    "signed",
    [
        None,
        About(TOPIC.name, "other", "shop", "ann"),
        About(TOPIC.name, "acme", "mall", "ann"),
        About(TOPIC.name, "acme", "shop", "eve"),
    ],
)
async def test_a_record_of_an_unknown_publisher_is_of_no_tenant_and_the_strictest_tier(signed: About | None) -> None:
    handle, attempts = failing(KeyError())
    asked: list[Refusal] = []

    async def refuse(refusal: Refusal) -> Sequence[Event[Any]]:
        asked.append(refusal)
        return ()

    trial = Trial(handle, refuse=refuse, admit=admitting(signed))
    await trial.run(Record(0, value=QUERY.SerializeToString(), headers=CLAIMED))
    (letter,) = trial.bus.published
    assert (letter.tenant, letter.tier, letter.message.tenant) == ("", Tier.TIER_2, "")
    assert (letter.message.error, list(letter.message.reasons)) == ("UnknownPublisher", ["message: unauthenticated"])
    assert not asked[0].speaks_for("acme")
    assert attempts == []


async def test_a_known_publisher_reaches_the_handler_and_is_answered_in_its_own_name_only() -> None:
    signed = About(TOPIC.name, "acme", "shop", "ann")
    handle, attempts = failing(Rejected(Violation("text", "empty", "It is required.")))
    asked: list[Refusal] = []

    async def refuse(refusal: Refusal) -> Sequence[Event[Any]]:
        asked.append(refusal)
        return ()

    trial = Trial(handle, refuse=refuse, admit=admitting(signed))
    await trial.run(Record(0, value=QUERY.SerializeToString(), headers=CLAIMED))
    await trial.run(Record(1, value=b"\xff\xff", headers=CLAIMED))
    assert (len(attempts), [letter.tenant for letter in trial.bus.letters]) == (1, ["acme", "acme"])
    assert [(one.speaks_for("acme"), one.speaks_for("other")) for one in asked] == [(True, False)] * 2


async def test_a_rejected_record_is_answered_then_buried_at_once() -> None:
    handle, attempts = failing(Rejected(Violation("text", "empty", "It is required.")))

    async def refuse(refusal: Refusal) -> Sequence[Event[Any]]:
        assert refusal.value == Record(0).value
        return [refusal.arrival.event(topics.QUERY_REFUSED, QueryRefused())]

    trial = Trial(handle, refuse=refuse)
    trial.bus.failures = 2
    await trial.run(Record(0))
    assert [event.topic.name for event in trial.bus.published] == ["query.refused", "query.submitted.dlq"]
    assert list(trial.bus.letters[0].reasons) == ["text: empty"]
    assert (trial.finished, len(attempts)) == ([0], 3), "the answer waited for the bus"


async def test_words_where_an_id_belongs_go_no_further() -> None:
    async def refuse_it(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        raise Rejected(Violation("text", "empty", "It is required."))

    trial = Trial(refuse_it)
    words = f"{CANARY} said somebody"
    headers = [(name, words.encode()) for name in ("ce_correlationid", "ce_tenant", "ce_id", "ce_causationid")]
    await trial.run(Record(0, key=words.encode(), headers=headers), Record(1, key=b"demo/handbook/My notes.md"))
    first, second = trial.bus.published
    assert CANARY not in f"{first.key} {first.headers(datetime.now(UTC))} {first.message}"
    assert second.key == "demo/handbook/My notes.md"


async def test_what_is_erased_ends_at_once_and_counts_as_no_failure() -> None:
    async def open_it(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        raise Erased("the key is destroyed")

    trial = Trial(open_it)
    await trial.run(*(Record(n) for n in range(FAILURES_IN_A_ROW + 5)))
    assert trial.finished == list(range(FAILURES_IN_A_ROW + 5))
    assert {letter.error for letter in trial.bus.letters} == {"Erased"}
    assert not trial.waits


async def test_a_dead_letter_waits_for_the_bus() -> None:
    handle, _ = failing(Conflict("a is not b"))
    trial = Trial(handle)
    trial.bus.failures = 5
    await trial.run(Record(0))
    assert [letter.error for letter in trial.bus.letters] == ["Conflict"]
    assert trial.finished == [0]


async def test_many_rejected_records_stop_nobody() -> None:
    handle, _ = failing(Rejected(Violation("text", "empty", "It is required.")))
    trial = Trial(handle)
    await trial.run(*(Record(offset) for offset in range(3 * FAILURES_IN_A_ROW)))
    assert (trial.worker.stopped_by, len(trial.bus.letters)) == ("", 3 * FAILURES_IN_A_ROW)


@pytest.mark.parametrize("error", [KeyError(CANARY), Conflict("a is not b")])
async def test_too_many_failures_in_a_row_stop_it_before_the_next_of_the_key(error: Exception) -> None:
    """Those behind must come after it when it is delivered again, so none of them may take effect now."""
    handle, _ = failing(error)
    trial = Trial(handle)
    await trial.run(*(Record(offset) for offset in range(FAILURES_IN_A_ROW + 10)))
    assert trial.worker.stopped_by == type(error).__name__
    assert trial.finished == list(range(FAILURES_IN_A_ROW))
    assert len(trial.bus.letters) == FAILURES_IN_A_ROW


async def test_a_success_between_starts_the_count_anew() -> None:
    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        if delivery.arrival.offset % FAILURES_IN_A_ROW:
            raise KeyError
        return ()

    trial = Trial(handle)
    await trial.run(*(Record(offset) for offset in range(4 * FAILURES_IN_A_ROW)))
    assert trial.worker.stopped_by == ""
    assert len(trial.finished) == 4 * FAILURES_IN_A_ROW


async def test_a_condemned_record_is_buried_unseen() -> None:
    handle, attempts = failing(KeyError())
    trial = Trial(handle)
    trial.worker.condemn((TOPIC.name, 0, 0), 6)
    await trial.run(Record(0))
    (letter,) = trial.bus.letters
    assert (letter.error, letter.attempts, attempts) == ("CrashedRepeatedly", 7, [])


async def test_what_is_ended_half_way_is_not_finished_nor_is_what_comes_after_it() -> None:
    begun: list[int] = []

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        begun.append(delivery.arrival.offset)
        await asyncio.sleep(60)
        return ()

    trial = Trial(handle)
    trial.worker.take([Record(0), Record(1), Record(2, key=b"other")])
    await asyncio.sleep(0.01)
    await trial.worker.drain(0.01)
    assert (begun, trial.finished, trial.worker.under_way) == ([0, 2], [], 0)


async def test_a_record_without_a_key_waits_for_nobody() -> None:
    begun: list[int] = []

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        begun.append(delivery.arrival.offset)
        await asyncio.sleep(0.01)
        return ()

    trial = Trial(handle)
    trial.worker.take([Record(0, key=None), Record(1, key=None), Record(2, key=b"")])
    await asyncio.sleep(0.005)
    assert sorted(begun) == [0, 1, 2]
    await trial.worker.drain(1)


async def test_partitions_that_are_anothers_now_are_not_begun() -> None:
    release = asyncio.Event()

    async def handle(_: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        await release.wait()
        return ()

    trial = Trial(handle, in_flight=1)
    trial.worker.take([Record(0), Record(0, partition=1), Record(1)])
    trial.worker.forget({(TOPIC.name, 0)})
    assert [(record.partition, record.offset) for record in trial.worker.waiting] == [(1, 0)]
    release.set()
    await trial.run()
    assert trial.finished == [0, 0]
