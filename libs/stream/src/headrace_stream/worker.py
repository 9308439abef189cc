"""One subscription: from a record to its effect, in order for each key, many keys at a time.

records ─▶ waiting ─▶ under way (at most `in_flight`) ─▶ finished ─▶ offset committed
                          │ Unavailable: wait, try again, take nothing new
                          │ nobody known signed it: refused in no tenant's name, dead-lettered
                          │ Rejected: answered by `refuse`, dead-lettered
                          │ Denied: dead-lettered at once; the policy is no misconfiguration, so nothing is counted
                          │ Erased: dead-lettered at once, which ends the query or the document as erased
                          └ a bug: tried twice more, dead-lettered; too many in a row stop the subscription
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, Protocol

import structlog
from headrace.topics import Topic
from headrace_privacy import Erased
from headrace_runtime.errors import Conflict, Denied, Failure, Overloaded, Rejected, Unavailable, place_of
from headrace_telemetry.metrics import counter, histogram, up_down_counter
from headrace_telemetry.tracing import describe, extract, fail, link_to, span
from opentelemetry.trace import SpanKind

from headrace_stream.codec import decode
from headrace_stream.dead_letters import FAILURES_IN_A_ROW, CrashedRepeatedly, dead_letter
from headrace_stream.envelope import Arrival, Delivery, Event, M, Refusal, an_id, event_id_of, readable_headers
from headrace_stream.publishers import Admit, UnknownPublisher, check_signed
from headrace_stream.trimming import is_sweep

log = structlog.get_logger()

#: Topic, partition and offset of a record.
Position = tuple[str, int, int]
Handler = Callable[[Delivery[M]], Awaitable[Sequence[Event[Any]]]]
Refuser = Callable[[Refusal], Awaitable[Sequence[Event[Any]]]]

ATTEMPTS = 3
# Waits between attempts, in seconds: a bug rarely heals, a dependency takes a while.
BUG_BACKOFF = 0.2
FIRST_BACKOFF = 0.1
LONGEST_BACKOFF = 5.0


class Record(Protocol):
    """What Kafka delivers."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Publisher(Protocol):
    """What takes events to the bus."""

    async def publish(self, *events: Event[Any]) -> None:
        """Returns once the bus has all of them; raises Unavailable("kafka")."""


@dataclass(slots=True, eq=False)
class Worker(Generic[M]):
    """Handles the records of one subscription. It knows neither polling nor commits: see kafka.Subscription."""

    service: str
    topics: Mapping[str, Topic[M]]
    name: str
    handler: Handler[M]
    publisher: Publisher
    refuse: Refuser | None
    in_flight: int
    on_finished: Callable[[Record], None]
    admit: Admit | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    waiting: deque[Record] = field(default_factory=deque)
    stopped_by: str = ""
    _under_way: dict[asyncio.Task[None], Record] = field(default_factory=dict)
    _last_of_key: dict[tuple[str, bytes], asyncio.Task[None]] = field(default_factory=dict)
    _deferred: set[Position] = field(default_factory=set)
    _failed_in_a_row: int = 0
    _crashes: dict[Position, int] = field(default_factory=dict)

    def take(self, records: Iterable[Record]) -> None:
        """Takes records in, and begins as many as may be under way."""
        self.waiting.extend(records)
        self._begin_what_fits()

    def condemn(self, position: Position, crashes: int) -> None:
        """Has the record at this position dead-lettered unseen: it ended the process `crashes` times."""
        self._crashes[position] = crashes

    @property
    def is_full(self) -> bool:
        """Whether more records would only wait."""
        return bool(self.waiting) or bool(self._deferred)

    @property
    def under_way(self) -> int:
        """How many records are being handled."""
        return len(self._under_way)

    def forget(self, partitions: set[tuple[str, int]]) -> None:
        """Drops what waits of partitions that are another consumer's now."""
        self.waiting = deque(record for record in self.waiting if (record.topic, record.partition) not in partitions)

    async def drain(self, seconds: float) -> None:
        """Waits until nothing is under way, at most so long, and ends what is left: it will be delivered again."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=seconds)
        for task in list(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin_what_fits(self) -> None:
        while self.waiting and not self._deferred and not self.stopped_by and len(self._under_way) < self.in_flight:
            record = self.waiting.popleft()
            key = (record.topic, record.key or b"")
            before = self._last_of_key.get(key)
            task = asyncio.create_task(self._handle(record, before))
            self._under_way[task] = record
            if record.key:
                self._last_of_key[key] = task
            task.add_done_callback(self._after)

    def _after(self, task: asyncio.Task[None]) -> None:
        record = self._under_way.pop(task)
        key = (record.topic, record.key or b"")
        if self._last_of_key.get(key) is task:
            del self._last_of_key[key]
        if not task.cancelled() and task.exception() is None:
            self.on_finished(record)
        elif not task.cancelled():
            # Nothing may get here: what a handler raises is dealt with. Stop rather than skip the record.
            self.stopped_by = type(task.exception()).__name__
            log.critical("subscription stopped", topic=self.name, error=self.stopped_by)
        self._begin_what_fits()

    async def _handle(self, record: Record, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
            if before.cancelled() or before.exception() is not None:
                raise asyncio.CancelledError  # it will be delivered again, and this one after it
        started = self.now()
        labels = {"messaging.destination.name": record.topic}
        up_down_counter("headrace.events.in_flight").add(1, labels)
        try:
            outcome = await self._until_settled(record)
        finally:
            self._deferred.discard(_position(record))
            up_down_counter("headrace.events.in_flight").add(-1, labels)
        counter("headrace.events.handled").add(1, {**labels, "outcome": outcome})
        histogram("headrace.events.duration").record((self.now() - started).total_seconds(), labels)

    async def _until_settled(self, record: Record) -> str:
        if is_sweep(record.headers):
            return "swept"
        attempt, backoff = 1, FIRST_BACKOFF
        while True:
            try:
                return await self._attempt(record, attempt)
            except (Unavailable, Overloaded) as busy:
                backoff = await self._defer(record, busy, backoff)
            except Exception as error:  # noqa: BLE001 - the one edge where a bug must not end the consumer
                if attempt >= ATTEMPTS:
                    return await self._give_up(record, attempt, error)
                await self.sleep(BUG_BACKOFF * attempt)
                attempt += 1

    async def _defer(self, record: Record, busy: Unavailable | Overloaded, backoff: float) -> float:
        """Waits for a dependency. Nothing new is begun until the record is through; it counts as no attempt."""
        if not self._deferred:
            log.warning("waiting", topic=record.topic, reason=str(busy))
        counter("headrace.events.deferred").add(1, {"messaging.destination.name": record.topic})
        self._deferred.add(_position(record))
        await self.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        return min(backoff * 2, LONGEST_BACKOFF)

    async def _attempt(self, record: Record, attempt: int) -> str:
        arrival = self._arrival(record, attempt)
        with span(
            f"process {record.topic}", kind=SpanKind.CONSUMER, parent=arrival.context, links=link_to(arrival.context)
        ) as current:
            describe(current, _attributes(self.name, record, arrival))
            try:
                arrival = await self._admitted(record, arrival)
                await self._effect(record, arrival)
            except UnknownPublisher as stranger:
                fail(current, type(stranger).__name__)
                await self._refuse(record, arrival.of_nobody(), stranger)
                return "refused"
            except Erased as erased:
                describe(current, {"headrace.erased": True})
                await self._bury(record, arrival, erased)
                return "erased"
            except (Rejected, Denied, Conflict, CrashedRepeatedly) as failure:
                fail(current, type(failure).__name__)
                await self._refuse(record, arrival, failure)
                return "refused"
        self._failed_in_a_row = 0
        return "done"

    async def _admitted(self, record: Record, arrival: Arrival) -> Arrival:
        """Returns the arrival with whom it speaks for, where publishers must be known. Raises UnknownPublisher."""
        if self.admit is None or _position(record) in self._crashes:
            return arrival
        return replace(arrival, publisher=await self.admit(record.topic, record.value or b"", arrival.headers))

    async def _effect(self, record: Record, arrival: Arrival) -> None:
        if _position(record) in self._crashes:
            raise CrashedRepeatedly
        topic = self.topics[record.topic]
        message = decode(record.value, topic, arrival.headers)
        if arrival.publisher is not None:
            check_signed(arrival.publisher, topic, message)
        await self.publisher.publish(*await self.handler(Delivery(message, arrival)))

    def _count_failure(self, error: Exception) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row > FAILURES_IN_A_ROW:
            raise error

    async def _refuse(self, record: Record, arrival: Arrival, failure: Failure) -> None:
        if not isinstance(failure, Rejected | Denied):
            self._count_failure(failure)
        log.warning(
            "event refused", topic=record.topic, partition=record.partition, offset=record.offset, reason=str(failure)
        )
        if self.refuse is not None and isinstance(failure, Rejected):
            await self.publisher.publish(*await self.refuse(Refusal(failure.violations, arrival, record.value or b"")))
        await self._bury(record, arrival, failure)

    async def _give_up(self, record: Record, attempt: int, error: Exception) -> str:
        self._count_failure(error)
        log.error(
            "event dead-lettered",
            topic=record.topic,
            offset=record.offset,
            error=type(error).__name__,
            at=place_of(error),
        )
        arrival = self._arrival(record, attempt)
        with span(f"process {record.topic}", kind=SpanKind.CONSUMER, parent=arrival.context) as current:
            fail(current, type(error).__name__)
            await self._bury(record, arrival, error)
        return "dead_lettered"

    async def _bury(self, record: Record, arrival: Arrival, error: Exception) -> None:
        topic = self.topics[record.topic]
        if topic.has_dead_letters:
            letter = dead_letter(topic, arrival, record.value, error=error, now=self.now())
            await _until_published(self.publisher, letter, sleep=self.sleep)

    def _arrival(self, record: Record, attempt: int) -> Arrival:
        headers = readable_headers(record.headers)
        position = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        return Arrival(
            service=self.service,
            key=an_id((record.key or b"").decode(errors="replace")),
            headers=headers,
            event_id=event_id_of(headers, **position),  # type: ignore[arg-type]
            received_at=self.now(),
            published_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
            attempt=attempt + self._crashes.get(_position(record), 0),
            context=extract(headers),
            **position,  # type: ignore[arg-type]
        )


async def _until_published(
    publisher: Publisher, event: Event[Any], *, sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Publishes whatever it takes: a dead letter that is lost is an event that is lost."""
    backoff = FIRST_BACKOFF
    while True:
        try:
            return await publisher.publish(event)
        except Unavailable:
            await sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF)


def _attributes(group: str, record: Record, arrival: Arrival) -> dict[Any, str | int]:
    attributes: dict[Any, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.consumer.group.name": group,
        "messaging.kafka.offset": record.offset,
        "messaging.message.id": str(arrival.event_id),
        "headrace.attempt": arrival.attempt,
    }
    if arrival.correlation_id:
        attributes["messaging.message.conversation_id"] = arrival.correlation_id
    return attributes


def _position(record: Record) -> Position:
    return record.topic, record.partition, record.offset


def group_of(service: str, topic: str) -> str:
    """Returns the consumer group of a service on a topic: one each, so that one topic's lag never holds up another."""
    return f"headrace.{service}.{topic}"
