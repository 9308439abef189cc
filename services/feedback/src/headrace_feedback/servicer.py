"""The gRPC edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from headrace.feedback.v1 import service_pb2, service_pb2_grpc
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_identity import Principal
from headrace_privacy import Erased, Opener, Vault
from headrace_stream import Ledger, Unit

from headrace_feedback.feedback import Feedback
from headrace_feedback.handlers import Door, record_feedback, take_in
from headrace_feedback.interaction import Tallied
from headrace_feedback.links import link_to_answer
from headrace_feedback.opening import open_answer, open_feedback, open_text, open_words, parse
from headrace_feedback.ports import Log, NoSampler, NoTombstones, Sampler, Tombstones
from headrace_feedback.reading import Desk, Explained, Exporting, Readable, explain, no_such
from headrace_feedback.recording import recorded_event
from headrace_feedback.translate import (
    read_feedback,
    read_reference,
    read_tenant,
    read_wish,
    read_words,
    to_exclusion,
    to_exported,
    to_timestamp,
)

Context = grpc.aio.ServicerContext[Any, Any]

#: A response of an export holds about so many bytes, or one interaction.
RESPONSE_BYTES = 1024 * 1024


class FeedbackServicer(service_pb2_grpc.FeedbackServiceServicer):
    """Serves headrace.feedback.v1.FeedbackService.

    `door` and `desk` are where words come in and where one asks to read; the vault opens what may be read. `caller`,
    `new_id` and `now` say who calls, and are the sources of ids and time.
    """

    def __init__(
        self,
        ledger: Ledger,
        log_on: Callable[[Unit], Log],
        *,
        door: Door,
        desk: Desk,
        vault: Vault,
        caller: Callable[[], Principal],
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
        tombstones: Tombstones = NoTombstones(),  # noqa: B008 - it has no state
        sampler: Sampler = NoSampler(),  # noqa: B008 - it has no state
    ) -> None:
        self._tombstones = tombstones
        self._sampler = sampler
        self._ledger = ledger
        self._log_on = log_on
        self._door = door
        self._desk = desk
        self._vault = vault
        self._caller = caller
        self._new_id = new_id
        self._now = now

    async def Record(self, request: service_pb2.RecordRequest, context: Context) -> service_pb2.RecordResponse:
        del context
        submitted = FeedbackSubmitted()
        submitted.CopyFrom(request.feedback)
        submitted.feedback_id = submitted.feedback_id or str(self._new_id())
        read = read_feedback(submitted, now=self._now(), path="feedback.")
        feedback = await take_in(read, read_words(submitted), self._door)
        try:
            stored = await self._recorded(feedback)
        except Erased:
            raise no_such(feedback.about) from None
        return service_pb2.RecordResponse(feedback_id=str(stored.feedback_id), joined=stored.joined_at is not None)

    async def _recorded(self, feedback: Feedback) -> Feedback:
        async with self._ledger.unit(tenant=feedback.about.tenant) as unit:
            await self._tombstones.keep_out_feedback(unit, feedback, sent_at=feedback.recorded_at)
            recording = await record_feedback(feedback, self._log_on(unit), keeper=self._door.keeper)
            link_to_answer(recording.interaction)
            if recording.is_new:
                await self._sampler.on_judgement(unit, recording.feedback, now=self._now())
                unit.emit(recorded_event(recording))
        return recording.feedback

    async def Get(self, request: service_pb2.GetRequest, context: Context) -> service_pb2.GetResponse:
        del context
        about = read_reference(request.tenant, request.query_id, request.trace_id)
        explained = await explain(about, self._desk, by=self._caller())
        try:
            return await self._opened(explained)
        except Erased:
            raise no_such(about) from None

    async def _opened(self, explained: Explained) -> service_pb2.GetResponse:
        answer = AnswerCompleted.FromString(explained.interaction.record)
        feedback = parse(explained.feedback)
        opener = await self._vault.opener_for(answer, *(words for _, words in feedback if words))
        return service_pb2.GetResponse(
            interaction=open_answer(answer, opener),
            stored_at=to_timestamp(explained.interaction.stored_at),
            feedback=open_feedback(feedback, opener),
        )

    async def Export(
        self, request: service_pb2.ExportRequest, context: Context
    ) -> AsyncIterator[service_pb2.ExportResponse]:
        del context
        export = Exporting(read_wish(request), self._desk, by=self._caller())
        async for batch in export.batches():
            for part in _in_parts(await self._exported(batch, export)):
                yield service_pb2.ExportResponse(interactions=part)
        left_out = sorted(export.excluded.items())
        yield service_pb2.ExportResponse(exclusions=[to_exclusion(*why, number) for why, number in left_out])

    async def _exported(self, batch: Sequence[Readable], export: Exporting) -> list[service_pb2.ExportedInteraction]:
        """A batch in the clear, without what is erased."""
        sealed = [(one, *_parsed(one)) for one in batch]
        opener = await self._vault.opener_for(*(part for _, *parts in sealed for part in parts))
        opened = []
        for readable, answer, correction in sealed:
            try:
                opened.append(_to_exported(readable, answer, correction, opener))
            except Erased:
                export.exclude("erased", readable.outline.tier)
        return opened

    async def Tally(
        self, request: service_pb2.TallyRequest, context: Context
    ) -> AsyncIterator[service_pb2.TallyResponse]:
        del context
        async for batch in self._desk.reader.tally(read_tenant(request.tenant)):
            yield service_pb2.TallyResponse(interactions=map(_to_tallied, batch))


def _parsed(readable: Readable) -> tuple[AnswerCompleted, ProtectedText]:
    """The interaction and its latest correction; the latter empty where there is none."""
    content = readable.content
    return AnswerCompleted.FromString(content.record), ProtectedText.FromString(content.correction or b"")


def _to_exported(
    readable: Readable, answer: AnswerCompleted, correction: ProtectedText, opener: Opener
) -> service_pb2.ExportedInteraction:
    return to_exported(
        readable.outline,
        grant_id=readable.grant_id,
        question=open_text(answer.question, opener),
        answer=open_text(answer.text, opener),
        correction=open_words(correction, opener) or "",
    )


def _in_parts(
    interactions: Sequence[service_pb2.ExportedInteraction],
) -> Iterator[list[service_pb2.ExportedInteraction]]:
    part: list[service_pb2.ExportedInteraction] = []
    size = 0
    for one in interactions:
        if part and size + one.ByteSize() > RESPONSE_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += one.ByteSize()
    if part:
        yield part


def _to_tallied(one: Tallied) -> service_pb2.TalliedInteraction:
    return service_pb2.TalliedInteraction(
        tenant=one.tenant, query_id=str(one.query_id), answer_event_id=str(one.answer_event_id)
    )
