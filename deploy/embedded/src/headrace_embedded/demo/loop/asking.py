"""Users of the tour: they ask, and say what they think of the answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

from headrace.feedback.v1.feedback_pb2 import THUMB_DOWN, THUMB_UP, FeedbackSubmitted
from headrace.query.v1.answer_pb2 import GROUNDING_NOT_IN_SOURCES, Answer, Grounding
from headrace_client.client import Client
from headrace_client.errors import NotFound, Overloaded, Unavailable
from headrace_client.updates import Answered
from headrace_feedback.evaluating.reference import key_fact_recall
from headrace_models.prompting import without_markers

from headrace_embedded.demo.corpus import TENANT
from headrace_embedded.demo.questions import SEED, KnownQuestion
from headrace_embedded.demo.tour import PRODUCT
from headrace_embedded.errors import NotReady

#: Questions under way at once, and seconds that each may take.
AT_ONCE = 8
ANSWER_S = 180.0
#: Seconds until what was said last must be stored.
RECORDED_S = 60.0
#: So many people ask in turn.
PEOPLE = 12

_NAMESPACE = UUID("1c0f2f6a-5f3f-4c0b-8d4e-5b1d9f4f7b11")

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Asking:
    """A question on its way, and who asks it. The id is the same whenever the tour is taken up again.

    expected: what the asker, an expert, would have said; empty for one who only judges.
    """

    known: KnownQuestion
    query_id: str
    subject: str
    expected: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back. is_right: it states all that is known of the answer, or refuses what nobody can know."""

    query_id: str
    grounding: str
    variant: str
    trace_id: str
    is_right: bool
    text: str = field(default="", repr=False)
    seconds: float = field(compare=False, default=0.0)


def askings(
    questions: Sequence[KnownQuestion], *, occasion: str, round_: int, erased: str = "", erased_asks: int = 0
) -> list[Asking]:
    """Who asks what, in an order drawn by the occasion. The one who is to be erased asks the first few of them."""
    drawn = random.Random(f"{SEED} {occasion}").sample(questions, len(questions))  # noqa: S311 - to repeat, no secret
    people = [f"user-{round_}-{number:02}" for number in range(1, PEOPLE + 1)]
    return [
        Asking(
            known,
            str(uuid5(_NAMESPACE, f"{round_} {occasion} {known.id}")),
            erased if place < erased_asks else people[place % PEOPLE],
        )
        for place, known in enumerate(drawn)
    ]


def with_corrections(wanted: Iterable[Asking], expected: Callable[[KnownQuestion], str]) -> list[Asking]:
    """The same, asked by people who know the answer."""
    return [replace(asking, expected=expected(asking.known)) for asking in wanted]


def correction(asking: Asking, answer: str) -> str:
    """What the asker would have said instead; empty where the answer says just that, or they don't know better."""
    said = " ".join(without_markers(answer).split())
    return "" if said == asking.expected else asking.expected


def is_right(known: KnownQuestion, answer: Answer) -> bool:
    """What the user thinks: all key facts are there, or it was rightly said that the sources don't know."""
    refused = answer.grounding == GROUNDING_NOT_IN_SOURCES
    if refused or not known.answerable:
        return refused and not known.answerable
    return key_fact_recall(answer.text, known.facts) == 1


async def ask_all(client: Client, wanted: Iterable[Asking], advance: Advance) -> list[Heard]:
    """Asks some at a time, and records a thumb for each answer: up when it is right, down when not; and corrections."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(asking: Asking) -> Heard:
        async with places:
            heard = await _ask(client, asking)
            await _judge(client, asking, heard)
        advance()
        return heard

    return list(await asyncio.gather(*map(one, wanted)))


async def _ask(client: Client, asking: Asking) -> Heard:
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0):
        try:
            return await _answered(client, asking)
        except (Overloaded, Unavailable):
            await asyncio.sleep(pause)
    raise NotReady(
        f"{asking.known.id} got no answer: the services are not keeping up. Take the tour again: it goes on."
    )


async def _answered(client: Client, asking: Asking) -> Heard:
    clock = asyncio.get_running_loop().time
    began = clock()
    updates = client.ask(
        asking.known.question,
        tenant=TENANT,
        product=PRODUCT,
        query_id=asking.query_id,
        subject=asking.subject,
        conversation_id=asking.query_id,
        timeout=ANSWER_S,
    )
    async with aclosing(updates):
        async for update in updates:
            if isinstance(update, Answered):
                return _heard(asking, update, seconds=clock() - began)
    raise NotReady(f"the stream of {asking.known.id} ended without an answer. Take the tour again: it goes on.")


def _heard(asking: Asking, update: Answered, *, seconds: float) -> Heard:
    answer = update.answer
    grounding = Grounding.Name(answer.grounding).removeprefix("GROUNDING_").lower()
    variant = f"{answer.variant.name}@{answer.variant.version}"
    trace = answer.trace_id or update.trace_id
    return Heard(asking.query_id, grounding, variant, trace, is_right(asking.known, answer), answer.text, seconds)


async def _judge(client: Client, asking: Asking, heard: Heard) -> None:
    thumb = THUMB_UP if heard.is_right else THUMB_DOWN
    await _record(client, FeedbackSubmitted(feedback_id=_id(asking, "thumb"), thumb=thumb, **_about(asking)))
    if better := correction(asking, heard.text):
        corrected = FeedbackSubmitted(feedback_id=_id(asking, "correction"), correction=better, **_about(asking))
        await _record(client, corrected)


async def until_recorded(client: Client, wanted: Sequence[Asking], heard: Sequence[Heard]) -> None:
    """Waits until all that was said of the answers is stored: a run learns from what it finds there."""
    said = {one.query_id: 1 + bool(correction(one, answer.text)) for one, answer in zip(wanted, heard, strict=True)}
    end = asyncio.get_running_loop().time() + RECORDED_S
    for query_id, count in said.items():
        while await _stored(client, query_id) < count:
            if asyncio.get_running_loop().time() > end:
                raise NotReady(f"what was said of {query_id} is not stored. Take the tour again: it goes on.")
            await asyncio.sleep(0.2)


async def _stored(client: Client, query_id: str) -> int:
    """How much is stored of what was said of an answer."""
    try:
        return len((await client.interaction(tenant=TENANT, query_id=query_id)).feedback)
    except NotFound:
        return 0


def _id(asking: Asking, kind: str) -> str:
    return str(uuid5(_NAMESPACE, f"{kind} {asking.query_id}"))


def _about(asking: Asking) -> dict[str, Any]:
    return {"tenant": TENANT, "query_id": asking.query_id, "subject": asking.subject}


async def _record(client: Client, judgement: FeedbackSubmitted) -> None:
    for pause in (0.2, 0.5, 1.0, 2.0):
        try:
            await client.record_feedback(judgement)
        except (Overloaded, Unavailable):
            await asyncio.sleep(pause)
        else:
            return
