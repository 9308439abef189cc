"""What ingest takes off the bus."""

from __future__ import annotations

from functools import partial

from headrace import topics
from headrace.query.v1 import service_pb2
from headrace_stream import Bus
from headrace_stream.erasures import forget_erased
from headrace_stream.publishers import Publishers

from headrace_ingest import handlers
from headrace_ingest.handlers import Door
from headrace_ingest.live import Live
from headrace_ingest.ports import Parser

#: Where a query or a document can be given up on after it was accepted.
ON_THE_WAY = (
    topics.QUERY_ACCEPTED,
    topics.QUERY_CLASSIFIED,
    topics.QUERY_EMBEDDED,
    topics.QUERY_RETRIEVED,
    topics.DOCUMENT_ACCEPTED,
    topics.DOCUMENT_CLASSIFIED,
    topics.DOCUMENT_EMBEDDED,
)

#: What a call publishes, ingest signs itself.
OURSELVES = "service:ingest"

# A document may be 4 MiB: few at a time bound the memory.
DOCUMENTS_IN_FLIGHT = 4


def subscribe(
    bus: Bus, *, door: Door, parser: Parser, live: Live, publishers: Publishers, replay_seconds: float
) -> None:
    """Wires each topic to its handler."""
    store, clock = door.store, door.clock
    noted = partial(live.note, stage=service_pb2.STAGE_ACCEPTED)
    bus.subscribe(
        topics.QUERY_SUBMITTED,
        partial(handlers.accept_query, door=door, noted=noted),
        refuse=partial(handlers.refuse_query, clock=clock),
        admit=publishers.admit("headrace.query.v1.QueryService/Submit", OURSELVES),
    )
    bus.subscribe(topics.ANSWER_COMPLETED, partial(handlers.end_query, store=store, vault=door.vault))
    bus.subscribe(
        topics.DOCUMENT_SUBMITTED,
        partial(handlers.submit_document, door=door, parser=parser),
        refuse=partial(handlers.refuse_document, store=store, clock=clock),
        admit=publishers.admit("headrace.document.v1.DocumentService/Put", OURSELVES),
        in_flight=DOCUMENTS_IN_FLIGHT,
    )
    bus.subscribe(topics.DOCUMENT_INDEXED, partial(handlers.note_indexed, store=store))
    dead_letters = [topic.dead_letters for topic in ON_THE_WAY]
    bus.subscribe_all("dead-letters", dead_letters, partial(handlers.bury, store=store, clock=clock))
    bus.watch(topics.ANSWER_CHUNK, live.show_chunk, since_seconds=replay_seconds)
    bus.watch(topics.ANSWER_COMPLETED, live.show_answer, since_seconds=replay_seconds)
    forget_erased(bus, door.vault.forget)
