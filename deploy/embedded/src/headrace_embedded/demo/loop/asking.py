"""Users of the tour: they ask, and say what they think of the answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from headrace.feedback.v1.feedback_pb2 import THUMB_DOWN, THUMB_UP, FeedbackSubmitted
from headrace.query.v1.answer_pb2 import GROUNDING_NOT_IN_SOURCES, Answer, Grounding
from headrace_client.client import Client
from headrace_client.errors import Overloaded, Unavailable
from headrace_client.updates import Answered
from headrace_feedback.evaluating.reference import key_fact_recall

from headrace_embedded.demo.corpus import TENANT
from headrace_embedded.demo.questions import SEED, KnownQuestion
from headrace_embedded.demo.tour import PRODUCT
from headrace_embedded.errors import NotReady

#: Questions under way at once, and seconds that each may take.
AT_ONCE = 8
ANSWER_S = 180.0
#: So many people ask in turn.
PEOPLE = 12

_NAMESPACE = UUID("1c0f2f6a-5f3f-4c0b-8d4e-5b1d9f4f7b11")

Advance = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Asking:
    """A question on its way, and who asks it. The id is the same whenever the tour is taken up again."""

    known: KnownQuestion
    query_id: str
    subject: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back. is_right: it states all that is known of the answer, or refuses what nobody can know."""

    query_id: str
    grounding: str
    variant: str
    trace_id: str
    is_right: bool
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


def is_right(known: KnownQuestion, answer: Answer) -> bool:
    """What the user thinks: all key facts are there, or it was rightly said that the sources don't know."""
    refused = answer.grounding == GROUNDING_NOT_IN_SOURCES
    if refused or not known.answerable:
        return refused and not known.answerable
    return key_fact_recall(answer.text, known.facts) == 1


async def ask_all(client: Client, wanted: Iterable[Asking], advance: Advance) -> list[Heard]:
    """Asks some at a time, and records a thumb for each answer: up when it is right, down when not."""
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
    return Heard(asking.query_id, grounding, variant, trace, is_right(asking.known, answer), seconds)


async def _judge(client: Client, asking: Asking, heard: Heard) -> None:
    judgement = FeedbackSubmitted(
        feedback_id=str(uuid5(_NAMESPACE, f"thumb {asking.query_id}")),
        tenant=TENANT,
        query_id=asking.query_id,
        subject=asking.subject,
        thumb=THUMB_UP if heard.is_right else THUMB_DOWN,
    )
    for pause in (0.2, 0.5, 1.0, 2.0):
        try:
            await client.record_feedback(judgement)
        except (Overloaded, Unavailable):
            await asyncio.sleep(pause)
        else:
            return
