"""Collects what the bus, ingest and the feedback logger say of the queries, for `reconcile`."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from headrace import topics
from headrace.feedback.v1.service_pb2 import TalliedInteraction
from headrace.query.v1 import service_pb2 as queries
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryAccepted, QueryRefused
from headrace.stream.v1.dead_letter_pb2 import DeadLetter

from headrace_client.bus import Reader, Record
from headrace_client.client import Client
from headrace_client.reconciling import DeadLettered, Facts, Key, Logged, Occurrence, State, Tallied

_STATES: dict[queries.QueryState.ValueType, State] = {
    queries.QUERY_STATE_ANSWERED: State.ANSWERED,
    queries.QUERY_STATE_DEAD_LETTERED: State.DEAD_LETTERED,
    queries.QUERY_STATE_ERASED: State.ERASED,
}

_WAY = ("query.", "answer.")

#: Every topic that says how a query began or ended.
TOPICS = (
    topics.QUERY_ACCEPTED.name,
    topics.ANSWER_COMPLETED.name,
    topics.QUERY_REFUSED.name,
    *(t.dead_letters.name for t in topics.ALL if t.has_dead_letters and t.name.startswith(_WAY)),
)


async def gather_facts(reader: Reader, client: Client, *, tenant: str = "") -> Facts:
    """Reads the bus first, then the books: what the bus has must be in them, not the other way round. An empty tenant
    stands for all."""
    events: dict[str, list[Occurrence]] = {name: [] for name in TOPICS}
    letters: list[DeadLettered] = []
    async for record in reader.until_now(TOPICS):
        fact = read_fact(record)
        if fact is None or (tenant and fact.key.tenant not in ("", tenant)):
            continue
        if isinstance(fact, DeadLettered):
            letters.append(fact)
        else:
            events[record.topic].append(fact)
    return Facts(
        accepted=tuple(events[topics.QUERY_ACCEPTED.name]),
        answers=tuple(events[topics.ANSWER_COMPLETED.name]),
        refusals=tuple(events[topics.QUERY_REFUSED.name]),
        dead_letters=tuple(letters),
        tally=tuple([to_tallied(query) async for query in client.tally(tenant=tenant)]),
        logged=tuple([to_logged(interaction) async for interaction in client.tally_interactions(tenant=tenant)]),
    )


def read_fact(record: Record) -> Occurrence | DeadLettered | None:
    """What a record of one of TOPICS says; None for one that is not what its topic carries."""
    value = record.value or b""
    try:
        match record.topic:
            case topics.QUERY_ACCEPTED.name:
                accepted = QueryAccepted.FromString(value).query
                return _occurrence(record, Key(accepted.tenant, accepted.query_id), accepted.accepted_at)
            case topics.ANSWER_COMPLETED.name:
                answer = AnswerCompleted.FromString(value)
                return _occurrence(record, Key(answer.query.tenant, answer.query.query_id), answer.completed_at)
            case topics.QUERY_REFUSED.name:
                refused = QueryRefused.FromString(value)
                return _occurrence(record, Key(refused.tenant, refused.query_id), refused.refused_at)
            case _:
                return _dead_lettered(DeadLetter.FromString(value))
    except DecodeError:
        return None


def _occurrence(record: Record, key: Key, at: Timestamp) -> Occurrence:
    event_id = record.header("ce_id") or f"{record.topic} {record.partition}/{record.offset}"
    return Occurrence(key, event_id, _time(at))


def _dead_lettered(letter: DeadLetter) -> DeadLettered:
    key = Key(letter.tenant, letter.correlation_id)
    return DeadLettered(key, service=letter.service, topic=letter.topic, at=_time(letter.failed_at))


def to_tallied(query: queries.TalliedQuery) -> Tallied:
    """A line of ingest's books."""
    state = _STATES.get(query.state, State.OPEN)
    return Tallied(Key(query.tenant, query.query_id), state, query.answer_event_id, _time(query.accepted_at))


def to_logged(interaction: TalliedInteraction) -> Logged:
    """A line of the feedback logger's books."""
    return Logged(Key(interaction.tenant, interaction.query_id), interaction.answer_event_id)


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)
