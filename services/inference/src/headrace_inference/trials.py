"""Answers that measure a variant and are shown to nobody: copies of live traffic, logged queries again, rows of a
dataset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import (
    TRIAL_KIND_SHADOW,
    TRIAL_SETTING_CLOSED_BOOK,
    TRIAL_SETTING_ZERO_SHOT,
    Trial,
)
from headrace_privacy import Tier
from headrace_stream.envelope import derived_id

from headrace_inference.domain import WITHHELD, Answer, Grounding, Question, Spent, Variant, Versioned
from headrace_inference.ports import Model
from headrace_inference.prompting import conversation

#: Whether the model may be given text of a tier from these sources.
Admit = Callable[[Tier, Sequence[str]], Awaitable[bool]]


def shadow_of(message: QueryRetrieved, variant: Versioned, *, route: str) -> QueryRetrieved:
    """A copy of a query for a variant to answer unseen, with an id of its own that a replay makes again.

    What came sealed stays sealed, with the same keys: an erasure reaches the copy too.
    """
    copy = QueryRetrieved()
    copy.CopyFrom(message)
    copy.query.trial.CopyFrom(
        Trial(
            run_id=f"shadow:{route}",
            case_id=message.query.query_id,
            kind=TRIAL_KIND_SHADOW,
            variant=variant.name,
            variant_version=variant.version,
        )
    )
    parts = (message.query.tenant, copy.query.trial.run_id, message.query.query_id, variant.name, variant.version)
    copy.query.query_id = str(derived_id("trial", *parts))
    return copy


def variant_of(trial: Trial) -> Versioned:
    """Who is to answer."""
    return Versioned(trial.variant, trial.variant_version)


def with_setting(variant: Variant, trial: Trial) -> Variant:
    """The variant with what the trial leaves out of it left out."""
    if trial.setting != TRIAL_SETTING_ZERO_SHOT:
        return variant
    return replace(variant, prompt=replace(variant.prompt, examples=()))


def is_closed_book(trial: Trial) -> bool:
    """Whether the model is to answer by itself."""
    return bool(trial.setting == TRIAL_SETTING_CLOSED_BOOK)


async def answer_closed_book(question: Question, variant: Variant, *, model: Model, admit: Admit) -> Answer:
    """What the model says by itself: no passages, and so nothing to check it against. Its words as they are."""
    if not await admit(question.tier, ()):
        return no_answer(question, WITHHELD)
    async with model.write(conversation(question.text, (), variant), variant.decoding) as writing:
        pieces = [piece async for piece in writing.pieces()]
        spent = writing.spent
    return Answer("".join(pieces).strip(), Grounding.UNCHECKED, (), question.tier, spent)


def no_answer(question: Question, reason: str) -> Answer:
    """The end of a trial that could not be had, so that its run ends too. reason: FAILED or WITHHELD."""
    return Answer("", Grounding.UNCHECKED, (), question.tier, Spent(reason))
