"""What this instance has seen of each query's answer, for the clients that watch it.

Every instance sees every chunk, so a client can go on at any of them. Chunks may be lost: the answer itself comes from
the store, and whoever waits looks there as well.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from headrace.query.v1 import service_pb2
from headrace.query.v1.answer_pb2 import AnswerChunk, AnswerCompleted
from headrace_privacy import Vault

from headrace_ingest import translate
from headrace_ingest.reading import Reader

# How many queries are remembered; the oldest is forgotten first.
REMEMBERED = 2_000

SUBMITTED = 1
ACCEPTED = 2
# The sequence number of a generation's first chunk. Each later generation counts from the next multiple of GENERATION,
# so that a number means the same at every instance that saw the same chunks.
FIRST_CHUNK = 3
GENERATION = 1 << 32
ANSWER = 1 << 62


#: What is remembered of an answer: as it came, sealed.
Seen = AnswerChunk | AnswerCompleted | service_pb2.Update


@dataclass(slots=True)
class _Stream:
    updates: list[tuple[int, Seen]] = field(default_factory=list)
    generations: list[str] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, sequence: int, seen: Seen) -> None:
        # A client goes on after the last number it saw: what comes late or twice must not come below that.
        if self.updates and sequence <= self.updates[-1][0]:
            return
        self.updates.append((sequence, seen))
        self.changed.set()
        self.changed = asyncio.Event()


def _shows(seen: Seen, reader: Reader) -> bool:
    """Raises Denied for an answer that is not the reader's to see."""
    if isinstance(seen, AnswerCompleted):
        reader.check(seen)
    return not isinstance(seen, AnswerChunk) or reader.sees(seen)


class Live:
    """The updates of recent queries. They are opened for each watcher, and nothing is held in the clear."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._streams: OrderedDict[tuple[str, str], _Stream] = OrderedDict()

    def note(self, tenant: str, query_id: str, stage: service_pb2.Stage.ValueType) -> None:
        """Notes that a query moved on, SUBMITTED or ACCEPTED."""
        sequence, progress = int(stage), service_pb2.Progress(stage=stage)
        self._stream(tenant, query_id).add(sequence, service_pb2.Update(sequence=sequence, progress=progress))

    async def show_chunk(self, chunk: AnswerChunk) -> None:
        """Shows a piece of an answer."""
        stream = self._stream(chunk.tenant, chunk.query_id)
        if chunk.generation_id not in stream.generations:
            stream.generations.append(chunk.generation_id)
            if len(stream.generations) > 1:
                base = GENERATION * (len(stream.generations) - 1)
                stream.add(base, service_pb2.Update(sequence=base, restart=service_pb2.Restart()))
        base = GENERATION * stream.generations.index(chunk.generation_id) + FIRST_CHUNK
        stream.add(base + chunk.index, chunk)

    async def show_answer(self, message: AnswerCompleted) -> None:
        """Shows an answer, whole."""
        self._stream(message.query.tenant, message.query.query_id).add(ANSWER, message)

    async def updates(
        self, tenant: str, query_id: str, *, reader: Reader, after: int, patience: float
    ) -> AsyncIterator[service_pb2.Update | None]:
        """Yields the updates after a sequence number as they come; None when nothing came for `patience` seconds.

        Raises Erased when whoever asked is erased, Denied for an answer that is not the reader's to see.
        """
        position, watched = 0, None
        while True:
            stream = self._stream(tenant, query_id)
            if stream is not watched:  # the first round, or the query was forgotten and seen again
                position, watched = 0, stream
            changed = stream.changed
            for sequence, seen in stream.updates[position:]:
                position += 1
                if sequence > after:
                    after = sequence
                    if _shows(seen, reader):
                        yield await self._opened(sequence, seen)
            if stream.changed is not changed:
                continue
            try:
                async with asyncio.timeout(patience):
                    await changed.wait()
            except TimeoutError:
                yield None

    async def _opened(self, sequence: int, seen: Seen) -> service_pb2.Update:
        if isinstance(seen, service_pb2.Update):
            return seen
        return translate.update_of(seen, await self._vault.opener_for(seen), sequence=sequence)

    def _stream(self, tenant: str, query_id: str) -> _Stream:
        key = (tenant, query_id)
        stream = self._streams.setdefault(key, _Stream())
        self._streams.move_to_end(key)
        while len(self._streams) > REMEMBERED:
            self._streams.popitem(last=False)
        return stream
