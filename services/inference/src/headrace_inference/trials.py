"""Answers that measure a variant and are shown to nobody: copies of live traffic, logged queries again, rows of a
dataset."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import (
    TRIAL_KIND_SHADOW,
    TRIAL_SETTING_CLOSED_BOOK,
    TRIAL_SETTING_UNCHECKED,
    TRIAL_SETTING_ZERO_SHOT,
    Trial,
)
from headrace_models.prompting import render
from headrace_privacy import Tier, strictest
from headrace_stream.envelope import derived_id

from headrace_inference.domain import WITHHELD, Answer, Cited, Grounding, Passage, Question, Spent, Variant, Versioned
from headrace_inference.ports import Model

_NUMBER = re.compile(r"\[(\d{1,3})\]")

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


def is_unchecked(trial: Trial) -> bool:
    """Whether the model's words are to stay as they are."""
    return trial.setting in (TRIAL_SETTING_CLOSED_BOOK, TRIAL_SETTING_UNCHECKED)


def without_passages(question: Question, trial: Trial) -> Question:
    """The question as a closed book has it."""
    return replace(question, passages=()) if trial.setting == TRIAL_SETTING_CLOSED_BOOK else question


async def answer_unchecked(question: Question, variant: Variant, *, model: Model, admit: Admit) -> Answer:
    """What the model says of the passages, or by itself where there are none: its words as they are."""
    tier = strictest(question.tier, *(passage.tier for passage in question.passages))
    if not await admit(tier, sorted({passage.collection for passage in question.passages})):
        return no_answer(question, WITHHELD)
    texts = [p.text for p in question.passages]
    rendered = render(question.text, texts, variant.layout, count=model.count, window=model.window)
    async with model.write(rendered.turns, variant.decoding) as writing:
        pieces = [piece async for piece in writing.pieces()]
        spent = writing.spent
    text = "".join(pieces).strip()
    cited = _cited(text, question.passages[: len(rendered.passages)])
    return Answer(text, Grounding.UNCHECKED, cited, strictest(tier, model.tier), spent)


def _cited(text: str, passages: Sequence[Passage]) -> tuple[Cited, ...]:
    """The numbers in the text that a passage has, each once."""
    numbers = dict.fromkeys(int(number) for number in _NUMBER.findall(text))
    return tuple(Cited(number, passages[number - 1].index) for number in numbers if 1 <= number <= len(passages))


def no_answer(question: Question, reason: str) -> Answer:
    """The end of a trial that could not be had, so that its run ends too. reason: FAILED or WITHHELD."""
    return Answer("", Grounding.UNCHECKED, (), question.tier, Spent(reason))
