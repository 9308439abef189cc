"""From rows to tokens, as inference will show them to the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from headrace_models import generation

from headrace_trainer.learning.job import Document, Row
from headrace_trainer.learning.order import Sample


def sample(row: Row, text: generation.ChatText, *, end: int) -> Sample:
    """A row's conversation up to the answer, the answer, and the token that ends a turn."""
    asked = text.encode([generation.Turn(t.role, t.text, t.fixed) for t in row.turns])
    answer = text.tokens(row.answer)
    return Sample((*asked.ids, *answer, end), min(asked.shared, len(asked.ids) - 1), len(asked.ids))


def samples_of(document: Document, text: generation.ChatText, *, end: int, context: int) -> Iterator[Sample]:
    """A document in pieces of at most `context` tokens, all of which but the first are learned."""
    ids = (*text.tokens(document.text), end)
    for start in range(0, len(ids), context):
        piece = ids[start : start + context]
        if len(piece) > 1:
            yield Sample(piece, 0, 1)


def fitting(samples: Iterable[Sample], *, window: int) -> tuple[list[Sample], int]:
    """Those that the model's window holds and that have something to learn, and how many were left out."""
    found = list(samples)
    fit = [s for s in found if s.learned and len(s.ids) <= window]
    return fit, len(found) - len(fit)


def at_most(samples: Sequence[Sample], *, tokens: int) -> list[Sample]:
    """The first of them that have so many tokens together; one at least."""
    kept: list[Sample] = []
    for one in samples:
        tokens -= len(one.ids)
        if kept and tokens < 0:
            break
        kept.append(one)
    return kept
