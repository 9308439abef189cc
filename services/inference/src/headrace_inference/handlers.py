"""How a question becomes an answer that its passages support."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from headrace_models.prompting import render, without_markers
from headrace_models.prompting import sentences as cutting
from headrace_privacy import Tier, strictest
from headrace_runtime.errors import Denied

from headrace_inference.domain import WITHHELD, Answer, Cited, Grounding, Question, Spent, Variant
from headrace_inference.grounding import Checker, Source, about
from headrace_inference.ports import Model, Writing
from headrace_inference.terms import without_addresses

NOT_IN_SOURCES = "The sources don't say."
MOST_SENTENCES = 4

Emit = Callable[[str], Awaitable[None]]
#: Whether the model may be given text of a tier from these sources.
Admit = Callable[[Tier, Sequence[str]], Awaitable[bool]]


@dataclass(slots=True)
class _Draft:
    """The text so far. Passages, by their place in the question, are numbered by their first mention.

    learned_from: the model's tier. What it learned it may say, cited or not.
    """

    emit: Emit
    learned_from: Tier = Tier.PUBLIC
    text: str = ""
    numbers: dict[int, int] = field(default_factory=dict)

    async def add(self, sentence: str, passage: int) -> None:
        """One more sentence with the passage that says it."""
        number = self.numbers.setdefault(passage, len(self.numbers) + 1)
        body, stop = (sentence[:-1], sentence[-1]) if sentence[-1] in ".!?" else (sentence, ".")
        await self.say(f"{' ' if self.text else ''}{body} [{number}]{stop}")

    async def say(self, piece: str) -> None:
        """More text, as it is."""
        self.text += piece
        await self.emit(piece)

    def answer(self, question: Question, grounding: Grounding, spent: Spent) -> Answer:
        # The passages that the question came with, less those that are erased: a place is not yet an index.
        passages = [(number, question.passages[place]) for place, number in self.numbers.items()]
        cited = tuple(Cited(number, passage.index) for number, passage in passages)
        tier = strictest(question.tier, self.learned_from, *(passage.tier for _, passage in passages))
        return Answer(self.text, grounding, cited, tier, spent)


async def answer_question(question: Question, variant: Variant, *, model: Model, admit: Admit, emit: Emit) -> Answer:
    """Answer from the passages, or say that they don't say.

    `emit` is given each piece of the answer's text once it is checked: nothing unsupported ever leaves. A question
    that the passages are not about costs the model nothing. What `admit` keeps from the model is answered with the
    sources' own sentences, which are found here. Raises Denied when those alone are no answer.
    """
    draft = _Draft(emit, model.tier)
    sources = [Source(p.text, p.about, p.similarity, p.collection) for p in question.passages]
    checker = Checker(without_addresses(question.text), sources)
    if not checker.is_answerable:
        return await _refuse(question, draft, Spent())
    spent = await _write(question, variant, checker, draft, model=model, admit=admit, sources=sources)
    if draft.text:
        return draft.answer(question, Grounding.GROUNDED, spent)
    return await _extract(question, checker, draft, spent)


async def _write(
    question: Question,
    variant: Variant,
    checker: Checker,
    draft: _Draft,
    *,
    model: Model,
    admit: Admit,
    sources: Sequence[Source],
) -> Spent:
    """The model's own sentences for as long as they are supported. It is stopped at the first that is not."""
    relevant = {id(s) for s in about(without_addresses(question.text), sources)}
    passages = [p for p, s in zip(question.passages, sources, strict=True) if id(s) in relevant]
    texts = [p.text for p in passages]
    rendered = render(question.text, texts, variant.layout, count=model.count, window=model.window)
    if not rendered.passages:
        return Spent()
    tier = strictest(question.tier, *(p.tier for p in passages))
    if not await admit(tier, sorted({p.collection for p in passages})):
        return Spent(WITHHELD)
    async with model.write(rendered.turns, variant.decoding) as writing:
        await _accept(writing, checker, draft)
        return writing.spent


async def _accept(writing: Writing, checker: Checker, draft: _Draft) -> None:
    said: set[str] = set()
    async for written in sentences_of(writing.pieces()):
        sentence = " ".join(without_markers(written).split())
        passage = checker.support(sentence) if cutting.is_sentence(sentence) and sentence not in said else None
        if passage is None or not (said or checker.is_to_the_point(sentence)):
            return
        said.add(sentence)
        await draft.add(sentence, passage)
        if len(said) == MOST_SENTENCES:
            return


async def sentences_of(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The sentences of a text that arrives in pieces, each as soon as its end is certain."""
    text = ""
    async for piece in pieces:
        text += piece
        while (taken := cutting.take_first(text)) is not None:
            sentence, text = taken
            yield sentence
    for sentence in cutting.split(text):
        yield sentence


async def _extract(question: Question, checker: Checker, draft: _Draft, spent: Spent) -> Answer:
    """The sources' own sentences, since the model's were not supported."""
    found = checker.extract()
    if not found and spent.reason == WITHHELD:
        raise Denied("the policy lets the model see none of this, and the sources' own sentences are no answer")
    if not found:
        return await _refuse(question, draft, spent)
    for sentence, passage in found:
        await draft.add(" ".join(sentence.split()), passage)
    return draft.answer(question, Grounding.EXTRACTED, spent)


async def _refuse(question: Question, draft: _Draft, spent: Spent) -> Answer:
    await draft.say(NOT_IN_SOURCES)
    return draft.answer(question, Grounding.NOT_IN_SOURCES, spent)
