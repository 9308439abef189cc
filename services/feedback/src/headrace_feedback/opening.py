"""What rests sealed, in the clear for those who may read it. Pure: the edge brings the keys.

A missing key means that what it sealed is erased: the question or the answer makes the whole interaction so, a chunk's
labels stay away, and so does feedback whose words are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace_privacy import Erased, Opener, Tier

from headrace_feedback.interaction import Judgement


@dataclass(frozen=True, slots=True, repr=False)
class OpenPassage:
    """A passage in the clear. headings: what stands before it in the index, title first, one a line."""

    text: str
    headings: str


def parse(judgements: Iterable[Judgement]) -> list[tuple[FeedbackSubmitted, ProtectedText | None]]:
    """The submissions without their words, beside these."""
    return [
        (FeedbackSubmitted.FromString(one.record), ProtectedText.FromString(one.words) if one.words else None)
        for one in judgements
    ]


def open_answer(sealed: AnswerCompleted, opener: Opener) -> AnswerCompleted:
    """The interaction in the clear. Raises Erased."""
    answer = AnswerCompleted()
    answer.CopyFrom(sealed)
    answer.question.CopyFrom(_plain(sealed.question, opener))
    answer.text.CopyFrom(_plain(sealed.text, opener))
    for chunk in [*answer.retrieved, *(citation.chunk for citation in answer.citations)]:
        chunk.CopyFrom(_open_labels(chunk, opener))
    return answer


def open_feedback(
    sealed: Iterable[tuple[FeedbackSubmitted, ProtectedText | None]], opener: Opener
) -> Iterator[FeedbackSubmitted]:
    """The feedback with its words, as far as they are not erased."""
    for submitted, words in sealed:
        if words is None:
            yield submitted
        elif (text := open_words(words, opener)) is not None:
            setattr(submitted, submitted.WhichOneof("judgement") or "comment", text)
            yield submitted


def open_words(words: ProtectedText, opener: Opener) -> str | None:
    """The words; None when they are erased."""
    try:
        return open_text(words, opener)
    except Erased:
        return None


def open_text(text: ProtectedText, opener: Opener) -> str:
    """A question or an answer. Raises Erased."""
    return opener.reveal(text, Tier.TIER_2).reveal()  # the tier is that of the message around it


def open_passage(chunk: RetrievedChunk, opener: Opener) -> OpenPassage:
    """A passage. Raises Erased."""
    labels = _open_labels(chunk.reference, opener)
    above = dict.fromkeys(part for part in (labels.title.strip(), *labels.headings) if part)
    return OpenPassage(open_text(chunk.text, opener), "\n".join(above))


def _plain(text: ProtectedText, opener: Opener) -> ProtectedText:
    return ProtectedText(plain=open_text(text, opener), characters=text.characters)


def _open_labels(chunk: ChunkReference, opener: Opener) -> ChunkReference:
    try:
        return opener.open_labels(chunk)
    except Erased:
        left = ChunkReference()
        left.CopyFrom(chunk)
        left.ClearField("sealed_labels")
        return left
