"""By whose vectors a tenant's questions are searched, and what makes them where that is an embedder of its own.

Which generation is live is decided by the search itself, in its own snapshot; what is remembered here is a guess, so
that a search need not ask twice. A wrong guess costs one more turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from headrace_runtime.errors import Overloaded, Unavailable
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import describe
from opentelemetry.trace import get_current_span

from headrace_retriever.domain import Change, OwnChunks, OwnVector, Question, Vector
from headrace_retriever.generations import Generation, Opened, Unusable, Urgency
from headrace_retriever.ports import OwnEmbedder

#: An embedder that could not be had is left alone so long at first, and at the longest, in seconds: the house answers
#: meanwhile, and no question waits for what does not come.
FIRST_REST, LONGEST_REST = 2.0, 60.0
#: How many tenants are remembered, and how many texts are embedded in one call.
MOST_REMEMBERED = 4_096
BATCH = 64


@dataclass(slots=True)
class _Rest:
    """After so many failures in a row nobody is asked until then."""

    failures: int = 0
    until: float = 0.0


@dataclass(slots=True)
class OwnVectors:
    """One for the process. clock: seconds that never go back."""

    embedder: OwnEmbedder
    clock: Callable[[], float]
    _live: dict[str, Generation] = field(default_factory=dict)
    _rests: dict[tuple[str, str], _Rest] = field(default_factory=dict)

    def learn(self, tenant: str, live: Generation | None) -> None:
        """Remembers which generation is live; None for the house's."""
        if live is None:
            self._live.pop(tenant, None)
            return
        if len(self._live) >= MOST_REMEMBERED:
            self._live.clear()
        self._live[tenant] = live

    async def of_question(self, question: Question) -> Question:
        """Returns a question with its vector for what is believed to be live; where the tenant's own embedder cannot be
        had, for the house's index in its place."""
        live = self._live.get(question.tenant)
        if live is None:
            return question
        vectors = await self._tried(live, [Opened(question.text.reveal())], what="question")
        if not vectors:
            return replace(question, instead_of=live.number)
        return replace(question, own=own_vector(live, vectors[0]))

    async def of_document(self, change: Change) -> OwnChunks | None:
        """Returns vectors of a document's chunks for what is believed to be live; None for the house's. Where they
        cannot be had, whoever fills indexes brings them."""
        live = self._live.get(change.document.tenant)
        if live is None or not change.chunks:
            return None
        texts = [Opened(chunk.text.reveal(), change.title, chunk.headings) for chunk in change.chunks]
        vectors: list[Vector] = []
        for start in range(0, len(texts), BATCH):
            made = await self._tried(live, texts[start : start + BATCH], what="document")
            if not made:
                return OwnChunks(live.number)
            vectors.extend(made)
        return OwnChunks(live.number, tuple(vectors))

    async def embed(self, generation: Generation, texts: Sequence[Opened], *, urgency: Urgency) -> Sequence[Vector]:
        """Returns vectors for a generation that has some. Raises Unusable, Unavailable, Overloaded."""
        vectors, made_by = await self.embedder.embed_as(generation.trained, texts, urgency=urgency)
        if made_by != generation.embedder:
            raise Unusable("unusable")
        return vectors

    async def _tried(self, live: Generation, texts: Sequence[Opened], *, what: str) -> Sequence[Vector]:
        """Vectors by the live embedder; none where it cannot be had, which is counted."""
        key = (live.tenant, live.model)
        rest = self._rests.setdefault(key, _Rest())
        if self.clock() < rest.until:
            return _missed(what, "resting")
        try:
            urgency: Urgency = "soon" if what == "question" else "in_turn"
            vectors = await self.embed(live, texts, urgency=urgency)
        except (Unusable, Unavailable, Overloaded) as error:
            rest.failures += 1
            rest.until = self.clock() + min(FIRST_REST * 2.0 ** min(rest.failures - 1, 16), LONGEST_REST)
            return _missed(what, why(error))
        self._rests.pop(key, None)
        return vectors


def own_vector(generation: Generation, vector: Vector) -> OwnVector:
    """A question's vector for a generation that has vectors."""
    assert generation.embedder is not None
    return OwnVector(generation.number, generation.embedder, vector)


def why(error: Exception) -> str:
    """Why an embedder could not be had, in a fixed word."""
    match error:
        case Unusable(trouble=trouble):
            return trouble
        case Overloaded():
            return "overloaded"
        case _:
            return "unavailable"


def _missed(what: str, reason: str) -> Sequence[Vector]:
    describe(get_current_span(), {"headrace.embedder.missing": reason})
    counter("headrace.embedder.missed").add(1, {"headrace.what": what, "headrace.reason": reason})
    return ()
