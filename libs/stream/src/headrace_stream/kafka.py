"""The bus on Kafka: FastStream holds the connections and consumers, aiokafka moves the bytes.

Polling and committing are ours: an offset is committed only when everything below it has taken effect, a consumer that
waits for a dependency keeps polling, and FastStream's batch path sleeps between empty polls, which a query would feel.
Publishing goes through the raw producer: FastStream's takes 26 times as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord, OffsetAndMetadata, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream.kafka import KafkaBroker
from faststream.middlewares import AckPolicy
from headrace.topics import Topic
from headrace_runtime.errors import Rejected, Unavailable
from headrace_telemetry.tracing import extract, inject, span
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import SpanKind

from headrace_stream.codec import decode
from headrace_stream.envelope import Event, M, check_size, readable_headers
from headrace_stream.offsets import CAREFUL_AFTER, Beginnings, OffsetTracker
from headrace_stream.publishers import Admit, Prove
from headrace_stream.security import OPEN, BusSecurity
from headrace_stream.trimming import is_sweep
from headrace_stream.worker import Handler, Record, Refuser, Worker, group_of

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

log = structlog.get_logger()

# A send that Kafka has not acknowledged by then counts as not sent; aiokafka itself would wait for ever.
SEND_SECONDS = 10.0
# How often finished work is committed, in seconds. What a crash loses of it is delivered again, and has no effect.
COMMIT_SECONDS = 0.25
# How long a partition that moves to another consumer waits for what is under way.
HANDOVER_SECONDS = 10.0
# aiokafka's stop can hang in a heartbeat (its issue 773).
STOP_SECONDS = 5.0
# How long one record of a suspicious partition may take.
SUSPECT_SECONDS = 600.0
POLL_MILLISECONDS = 500
RECORDS_A_POLL = 200
LARGEST_RECORD = 9 * 1024 * 1024

Reset = Literal["earliest", "latest"]
Watcher = Callable[[M], Awaitable[None]]


class _Part(Protocol):
    async def start(self) -> None: ...
    async def stop(self, drain_seconds: float) -> None: ...
    def ready(self) -> bool: ...


class Bus:
    """Publishes and subscribes. Open it with open_bus; subscribe before start."""

    def __init__(self, producer: Producer, broker: KafkaBroker, admin: AIOKafkaAdminClient, *, service: str) -> None:
        self._producer = producer
        self._broker = broker
        self._admin = admin
        self.service = service
        self._parts: list[_Part] = []

    def subscribe(
        self,
        topic: Topic[M],
        handler: Handler[M],
        *,
        in_flight: int = 64,
        refuse: Refuser | None = None,
        admit: Admit | None = None,
    ) -> None:
        """Has every event of a topic handled by one instance of this service.

        The events that the handler returns are on the bus before the offset is committed. Records of one key are
        handled in order, others at the same time, at most `in_flight`. `refuse` answers what is rejected, before it
        is dead-lettered. `admit` says who published a record; without it, whoever the broker lets write is believed.
        """
        self._parts.append(
            Subscription(self, [topic], handler, name=topic.name, in_flight=in_flight, refuse=refuse, admit=admit)
        )

    def subscribe_all(self, name: str, topics: Sequence[Topic[M]], handler: Handler[M], *, in_flight: int = 64) -> None:
        """As subscribe, for several topics of one message type; `name` names the consumer group."""
        self._parts.append(Subscription(self, topics, handler, name=name, in_flight=in_flight, refuse=None))

    def watch(self, topic: Topic[M], watcher: Watcher[M], *, since_seconds: float = 0.0) -> None:
        """Shows every event of a topic to every instance, from `since_seconds` ago on; for what may be lost."""
        self._parts.append(Watch(self, topic, watcher, since_seconds=since_seconds))

    async def publish(self, *events: Event[Any]) -> None:
        """Returns once Kafka has all events, in order for each key. Raises Unavailable("kafka") if in doubt."""
        await self._producer.publish(events)

    async def publish_soon(self, event: Event[Any]) -> None:
        """Publishes without waiting for Kafka, in order with what this bus publishes; for what may be lost."""
        await self._producer.send_soon(event)

    async def send_raw(self, records: Sequence[tuple[str, bytes, bytes, Mapping[str, str]]]) -> None:
        """As publish, for (topic, key, value, headers) encoded before: what a ledger's relay sends."""
        await self._producer.send_raw(records)

    async def start(self) -> None:
        """Begins to take events."""
        await asyncio.gather(*(part.start() for part in self._parts))

    async def stop(self, drain_seconds: float) -> None:
        """Takes no more events, finishes those under way, and commits them."""
        await asyncio.gather(*(part.stop(drain_seconds) for part in self._parts))

    def ready(self) -> bool:
        """Says whether every subscription has its consumer and none has stopped."""
        return all(part.ready() for part in self._parts)

    def consumer(
        self,
        topics: Iterable[str],
        *,
        group: str | None,
        reset: Reset,
        listener: ConsumerRebalanceListener | None = None,
    ) -> Consumption:
        """Declares a consumer; FastStream makes and configures it."""
        declared = self._broker.subscriber(
            *topics,
            group_id=group,
            listener=listener,
            auto_offset_reset=reset,
            ack_policy=AckPolicy.MANUAL,
            batch=True,
            isolation_level="read_committed",
            max_poll_interval_ms=600_000,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=1_000,
            fetch_max_wait_ms=POLL_MILLISECONDS,
            max_partition_fetch_bytes=LARGEST_RECORD,
        )
        return Consumption(declared)

    async def backlog(self, *topics: str) -> dict[tuple[str, int], int]:
        """Returns where this service stands in partitions of these topics that have records which no instance finished.

        The offset of the first such record, by topic and partition. It waits for a poll, half a second where nothing
        comes. Raises Unavailable("kafka"), before the start too.
        """
        parts = [part for part in self._parts if isinstance(part, Subscription) and part.is_on(topics)]
        try:
            async with asyncio.timeout(SEND_SECONDS):
                found = await asyncio.gather(*(part.backlog() for part in parts))
        except (KafkaError, TimeoutError, OSError) as error:
            raise Unavailable("kafka") from error
        return {partition: offset for one in found for partition, offset in one.items()}

    async def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Reads the committed offsets of a group, of the partitions that have one."""
        found = await self._admin.list_consumer_group_offsets(group, partitions=list(partitions))
        return {partition: position.offset for partition, position in found.items() if position.offset >= 0}

    async def beginnings(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Beginnings]:
        """Reads how often processes began at the committed offsets of a group."""
        committed = await self._admin.list_consumer_group_offsets(group, partitions=list(partitions))
        return {
            partition: Beginnings.read(position.offset, position.metadata or "")
            for partition, position in committed.items()
            if position.offset >= 0
        }


class Producer:
    """An idempotent producer that is replaced when it breaks, and never waits for ever."""

    def __init__(
        self, bootstrap: str, client_id: str, *, prove: Prove[Any] | None = None, security: BusSecurity = OPEN
    ) -> None:
        self._bootstrap = bootstrap
        self._security = security
        self._prove = prove
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._opening = asyncio.Lock()

    async def publish(self, events: Sequence[Event[Any]]) -> None:
        """Sends all events and waits for Kafka. Raises Unavailable("kafka")."""
        if not events:
            return
        try:
            async with asyncio.timeout(SEND_SECONDS):
                producer = await self._open()
                acknowledgements = [await self._send(producer, event) for event in events]
                await asyncio.gather(*acknowledgements)
        except (KafkaError, TimeoutError, OSError) as error:
            await self._replace()
            raise Unavailable("kafka") from error

    async def send_raw(self, records: Sequence[tuple[str, bytes, bytes, Mapping[str, str]]]) -> None:
        """As publish, for (topic, key, value, headers) encoded before, each within the trace that it carries."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                producer = await self._open()
                acknowledgements = [
                    await _send_encoded(producer, *record, parent=extract(record[3])) for record in records
                ]
                await asyncio.gather(*acknowledgements)
        except (KafkaError, TimeoutError, OSError) as error:
            await self._replace()
            raise Unavailable("kafka") from error

    async def send_soon(self, event: Event[Any]) -> None:
        """Hands an event over; whether it arrives is nobody's concern."""
        with contextlib.suppress(KafkaError, TimeoutError, OSError):
            async with asyncio.timeout(SEND_SECONDS):
                acknowledgement = await self._send(await self._open(), event)
                acknowledgement.add_done_callback(_forget)

    async def close(self) -> None:
        """Sends what is left, in bounded time."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(producer.stop(), STOP_SECONDS)

    async def _send(self, producer: AIOKafkaProducer, event: Event[Any]) -> asyncio.Future[Any]:
        value = event.message.SerializeToString()
        check_size(event.topic, len(value))
        headers = {**event.headers(datetime.now(UTC)), **(self._prove(event, value) if self._prove else {})}
        return await _send_encoded(producer, event.topic.name, event.key.encode(), value, headers)

    async def _open(self) -> AIOKafkaProducer:
        async with self._opening:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_request_size=LARGEST_RECORD,
                    request_timeout_ms=int(SEND_SECONDS * 1000),
                    **self._security.options(),
                )
                await _start_or_stop(producer)
                self._producer = producer
            return self._producer

    async def _replace(self) -> None:
        """Drops the producer: once its sequence numbers broke it stays broken (aiokafka's issue 1017)."""
        async with self._opening:
            await self.close()


def _forget(acknowledgement: asyncio.Future[Any]) -> None:
    """Looks at an error so that asyncio does not complain that nobody did."""
    if not acknowledgement.cancelled():
        acknowledgement.exception()


async def _start_or_stop(producer: AIOKafkaProducer) -> None:
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise


async def _send_encoded(
    producer: AIOKafkaProducer,
    topic: str,
    key: bytes,
    value: bytes,
    headers: Mapping[str, str],
    *,
    parent: Context | None = None,
) -> asyncio.Future[Any]:
    attributes: dict[Any, Any] = {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.id": headers.get("ce_id", ""),
        "messaging.message.conversation_id": headers.get("ce_correlationid", ""),
        "messaging.message.body.size": len(value),
    }
    with span(f"send {topic}", kind=SpanKind.PRODUCER, attributes=attributes, parent=parent):
        carried = [(name, text.encode()) for name, text in {**headers, **inject()}.items()]
        acknowledgement: asyncio.Future[Any] = await producer.send(topic, value, key=key or None, headers=carried)
        return acknowledgement


@dataclass(slots=True)
class Consumption:
    """A declared consumer, and the live one behind it."""

    declared: Any

    @property
    def live(self) -> AIOKafkaConsumer:
        """The aiokafka consumer; there is one between start and stop."""
        return self.declared.consumer

    async def start(self) -> None:
        """Connects and joins."""
        await self.declared.start()

    async def stop(self) -> None:
        """Leaves, in bounded time."""
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(self.declared.stop(), STOP_SECONDS)


class Subscription(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Polls one topic for a worker and commits what it finished."""

    def __init__(
        self,
        bus: Bus,
        topics: Sequence[Topic[M]],
        handler: Handler[M],
        *,
        name: str,
        in_flight: int,
        refuse: Refuser | None,
        admit: Admit | None = None,
    ) -> None:
        self._bus = bus
        self._group = group_of(bus.service, name)
        self._in_flight = in_flight
        self._worker = Worker(
            service=bus.service,
            topics={topic.name: topic for topic in topics},
            name=self._group,
            handler=handler,
            publisher=bus,
            refuse=refuse,
            in_flight=in_flight,
            on_finished=self._finished,
            admit=admit,
        )
        self._consumption = bus.consumer(
            [topic.name for topic in topics], group=self._group, reset="earliest", listener=self
        )
        self._trackers: dict[TopicPartition, OffsetTracker] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._suspects: dict[TopicPartition, Beginnings] = {}
        self._began: dict[TopicPartition, Beginnings] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_paused = False

    async def start(self) -> None:
        """Joins the group and begins to poll."""
        await self._consumption.start()
        self._tasks = [_lasting(self._poll_for_ever()), _lasting(self._commit_for_ever())]

    async def stop(self, drain_seconds: float) -> None:
        """Stops polling, finishes what is under way, commits, and leaves the group."""
        await _cancel(self._tasks)
        self._worker.waiting.clear()
        await self._worker.drain(drain_seconds)
        await self._commit()
        await self._withdraw_beginnings(list(self._began))
        await self._consumption.stop()

    async def backlog(self) -> dict[tuple[str, int], int]:
        """See Bus.backlog."""
        if not self._tasks:
            raise Unavailable("kafka")
        live = self._consumption.live
        partitions = [
            TopicPartition(topic, number)
            for topic in self._worker.topics
            for number in sorted(live.partitions_for_topic(topic) or ())
        ]
        ends, committed = await asyncio.gather(
            live.end_offsets(partitions), self._bus.committed(self._group, partitions)
        )
        at = {partition: committed.get(partition, 0) for partition in partitions}
        return {(p.topic, p.partition): at[p] for p in partitions if at[p] < ends[p]}

    def is_on(self, topics: Collection[str]) -> bool:
        """Says whether it takes records of any of these topics."""
        return not self._worker.topics.keys().isdisjoint(topics)

    def ready(self) -> bool:
        """Says whether records are being taken."""
        return bool(self._tasks) and not self._worker.stopped_by and not any(task.done() for task in self._tasks)

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """Hands partitions over: what is under way is finished and committed."""
        self._worker.forget({(partition.topic, partition.partition) for partition in revoked})
        await self._worker.drain(HANDOVER_SECONDS)
        await self._commit()
        await self._withdraw_beginnings(revoked)
        for partition in revoked:
            self._trackers.pop(partition, None)
            self._committed.pop(partition, None)
            self._suspects.pop(partition, None)
            self._began.pop(partition, None)

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:  # noqa: ARG002
        """Starts anew: what was paused is not."""
        self._is_paused = False

    async def _count_beginnings(self, batches: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]) -> None:
        for partition in [partition for partition in batches if partition not in self._began]:
            await self._count_beginning(partition, batches[partition][0].offset)
            if partition in self._suspects and len(batches[partition]) > 1:
                self._give_back({partition: batches.pop(partition)})

    def _give_back(self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord[bytes, bytes]]]) -> None:
        """Has records that were polled but not begun polled again; else the next commit would step over them."""
        for partition, records in batches.items():
            with contextlib.suppress(IllegalStateError):  # it is another consumer's by now
                self._consumption.live.seek(partition, records[0].offset)

    async def _count_beginning(self, partition: TopicPartition, first: int) -> None:
        """Counts that work begins here, before it does, so that a record that ends the process is found out."""
        known = (await self._bus.beginnings(self._group, [partition])).get(partition)
        again = (known if known and known.offset == first else Beginnings(first, 0)).again()
        self._began[partition] = again
        self._committed[partition] = first
        if again.is_suspicious:
            log.warning("taking one at a time", topic=partition.topic, partition=partition.partition)
            self._suspects[partition] = again
        if again.is_hopeless:
            self._worker.condemn((partition.topic, partition.partition, first), again.count)
        await self._commit_offsets({partition: OffsetAndMetadata(first, again.metadata())})

    async def _withdraw_beginnings(self, partitions: list[TopicPartition]) -> None:
        """Takes back the count of those that got nowhere: an orderly end says nothing against the record."""
        withdrawn = {
            partition: OffsetAndMetadata(began.offset, Beginnings(began.offset, began.count - 1).metadata())
            for partition in partitions
            if (began := self._began.get(partition)) and self._committed.get(partition) == began.offset
        }
        if withdrawn:
            await self._commit_offsets(withdrawn)

    async def _poll_for_ever(self) -> None:
        while not self._worker.stopped_by:
            try:
                await self._poll()
            except KafkaError as error:
                log.warning("polling failed", group=self._group, error=type(error).__name__)
                await asyncio.sleep(0.5)

    async def _poll(self) -> None:
        self._pause_or_resume()
        limit = 1 if self._suspects else RECORDS_A_POLL
        batches = await self._consumption.live.getmany(timeout_ms=POLL_MILLISECONDS, max_records=limit)
        try:
            await self._count_beginnings(batches)
        except KafkaError:
            self._give_back(batches)
            raise
        records = [record for batch in batches.values() for record in batch]
        for record in records:
            self._tracker(record).begin(record.offset)
        self._worker.take(records)
        if self._suspects and records:
            await self._finish_suspect(records[0])

    async def _finish_suspect(self, record: Record) -> None:
        """Sees one record of a suspicious partition through before the next, so that its own beginning is counted."""
        await self._worker.drain(SUSPECT_SECONDS)
        await self._commit()
        partition = TopicPartition(record.topic, record.partition)
        suspect = self._suspects.get(partition)
        if suspect is None:
            return
        if record.offset >= suspect.offset + self._in_flight:
            del self._suspects[partition]
        else:
            next_one = Beginnings(record.offset + 1, CAREFUL_AFTER + 1)
            await self._commit_offsets({partition: OffsetAndMetadata(next_one.offset, next_one.metadata())})

    def _pause_or_resume(self) -> None:
        """A worker that is full takes nothing new; polling goes on, which keeps the membership."""
        live = self._consumption.live
        if self._worker.is_full != self._is_paused:
            change = live.pause if self._worker.is_full else live.resume
            with contextlib.suppress(IllegalStateError):
                change(*live.assignment())
                self._is_paused = not self._is_paused

    def _tracker(self, record: ConsumerRecord[bytes, bytes]) -> OffsetTracker:
        partition = TopicPartition(record.topic, record.partition)
        if partition not in self._trackers:
            self._trackers[partition] = OffsetTracker(record.offset)
        return self._trackers[partition]

    def _finished(self, record: Record) -> None:
        tracker = self._trackers.get(TopicPartition(record.topic, record.partition))
        if tracker is not None:
            tracker.finish(record.offset)

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            await self._commit()

    async def _commit(self) -> None:
        moved = {
            partition: tracker.committable
            for partition, tracker in self._trackers.items()
            if tracker.committable != self._committed.get(partition)
        }
        if moved and await self._commit_offsets(
            {partition: OffsetAndMetadata(at, "") for partition, at in moved.items()}
        ):
            self._committed.update(moved)

    async def _commit_offsets(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> bool:
        try:
            await self._consumption.live.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            return False  # the partition is another consumer's now: it will do the work again, without effect
        except KafkaError as error:
            log.warning("commit failed", group=self._group, error=type(error).__name__)
            return False
        return True


class Watch:
    """Shows every record of a topic to this instance."""

    def __init__(self, bus: Bus, topic: Topic[M], watcher: Watcher[M], *, since_seconds: float) -> None:
        self._topic = topic
        self._watcher = watcher
        self._since_seconds = since_seconds
        self._consumption = bus.consumer([topic.name], group=None, reset="latest")
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to read all partitions."""
        await self._consumption.start()
        if self._since_seconds:
            await self._go_back()
        self._tasks = [_lasting(self._poll_for_ever())]

    async def stop(self, drain_seconds: float) -> None:  # noqa: ARG002 - nothing is under way between two records
        """Stops reading."""
        await _cancel(self._tasks)
        await self._consumption.stop()

    def ready(self) -> bool:
        """Says whether records are being read."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def _go_back(self) -> None:
        live = self._consumption.live
        since = int((time.time() - self._since_seconds) * 1000)
        for partition, found in (await live.offsets_for_times(dict.fromkeys(live.assignment(), since))).items():
            if found is not None:
                live.seek(partition, found.offset)

    async def _poll_for_ever(self) -> None:
        while True:
            try:
                batches = await self._consumption.live.getmany(timeout_ms=POLL_MILLISECONDS)
            except KafkaError as error:
                log.warning("polling failed", topic=self._topic.name, error=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            for batch in batches.values():
                for record in batch:
                    await self._show(record)

    async def _show(self, record: ConsumerRecord[bytes, bytes]) -> None:
        if is_sweep(record.headers):
            return
        headers = readable_headers(record.headers)
        try:
            message = decode(record.value, self._topic, headers)
        except Rejected:
            log.warning("event skipped", topic=record.topic, partition=record.partition, offset=record.offset)
            return
        # What a watcher does belongs to the record's trace.
        token = attach(extract(headers))
        try:
            await self._watcher(message)
        except Exception as error:  # noqa: BLE001 - the edge of a consumer: one bad record must not blind its watchers
            log.error("event skipped", topic=record.topic, offset=record.offset, error=type(error).__name__)
        finally:
            detach(token)


def _lasting(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Starts what should never end; where it does, ready() says no, and the log says why."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    return task


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("polling stopped", error=type(error).__name__)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_bus(
    bootstrap: str, *, service: str, prove: Prove[Any] | None = None, security: BusSecurity = OPEN
) -> AsyncIterator[Bus]:
    """Opens the bus at Kafka's bootstrap servers for a service.

    `prove` signs what it publishes as the outside does; `security` says who it is to the broker.
    """
    servers = bootstrap.split(",")
    broker = KafkaBroker(
        servers,
        client_id=f"headrace-{service}",
        logger=None,
        allow_auto_create_topics=False,
        security=security.faststream(),
    )
    producer = Producer(bootstrap, f"headrace-{service}", prove=prove, security=security)
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, client_id=f"headrace-{service}-admin", **security.options())
    await _patiently(broker.connect)
    await _patiently(admin.start)
    try:
        yield Bus(producer, broker, admin, service=service)
    finally:
        await producer.close()
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(admin.close(), STOP_SECONDS)
            await asyncio.wait_for(broker.stop(), STOP_SECONDS)


async def _patiently(connect: Callable[[], Awaitable[Any]], *, patience: float = 30.0) -> None:
    """Waits for Kafka to come up. Raises Unavailable("kafka")."""
    deadline = time.monotonic() + patience
    while True:
        try:
            await connect()
        except (KafkaError, OSError) as error:
            if time.monotonic() > deadline:
                raise Unavailable("kafka") from error
            await asyncio.sleep(0.2)
        else:
            return
