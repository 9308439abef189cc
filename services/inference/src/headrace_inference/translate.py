"""Messages to what inference works with, and back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.inference.v1 import service_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1 import answer_pb2
from headrace.query.v1.answer_pb2 import AnswerChunk, AnswerCompleted, Citation, GenerationStarted, ModelIdentity, Usage
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import Hop
from headrace.retrieval.v1.retrieval_pb2 import EmbedderIdentity, RetrievedChunk
from headrace_models.prompting import Role, Turn
from headrace_privacy import Erased, Opener, Seal, Text, Tier
from headrace_runtime.errors import Rejected, Violation
from numpy.typing import NDArray

from headrace_inference.domain import (
    FAILED,
    WITHHELD,
    Answer,
    Decoding,
    Grounding,
    Identity,
    Passage,
    Question,
    Spent,
    Variant,
    Versioned,
)
from headrace_inference.kinds import Embedder

_GROUNDINGS = {
    Grounding.GROUNDED: answer_pb2.GROUNDING_GROUNDED,
    Grounding.EXTRACTED: answer_pb2.GROUNDING_EXTRACTED,
    Grounding.NOT_IN_SOURCES: answer_pb2.GROUNDING_NOT_IN_SOURCES,
    Grounding.UNCHECKED: answer_pb2.GROUNDING_UNSPECIFIED,
}
_ROLES: dict[int, Role] = {
    service_pb2.ROLE_SYSTEM: "system",
    service_pb2.ROLE_USER: "user",
    service_pb2.ROLE_ASSISTANT: "assistant",
}
#: What answered where the policy kept everything from the model: the checker, with the sources' own sentences.
NO_MODEL = Identity("extraction", "1", "local")
DEFAULT_OUTPUT_TOKENS = 256
MOST_OUTPUT_TOKENS = 4096
MOST_TURNS = 64


def question(message: QueryRetrieved, opener: Opener) -> Question:
    """Opens the question and its passages; an erased passage is left out, as if it had not been found.

    Raises Rejected when there is no question, and Erased when it is erased.
    """
    tier = Tier.of(message.tier)
    text = opener.reveal(message.text, tier)
    if not len(text):
        raise Rejected(Violation("text", "empty", "There is no question to answer."))
    passages = (_passage(index, chunk, opener) for index, chunk in enumerate(message.chunks))
    return Question(text.reveal(), tier, tuple(passage for passage in passages if passage is not None))


def vector(message: QueryRetrieved, opener: Opener) -> NDArray[np.float32] | None:
    """Opens the question's vector; None where the event has none, or one that no kind can be told by.

    A query is answered without: routing is no reason to lose one. Raises Erased.
    """
    if message.vector.WhichOneof("content") is None:
        return None
    try:
        numbers = np.array(opener.reveal_vector(message.vector), dtype=np.float32)
    except ValueError:
        return None
    return numbers if len(numbers) == message.embedder.dimensions and np.isfinite(numbers).all() else None


def embedder(identity: EmbedderIdentity) -> Embedder:
    """Reads what made a vector."""
    return Embedder(identity.name, identity.dimensions, identity.hash)


def query_id(message: QueryRetrieved) -> UUID:
    """Reads the query's id. Raises Rejected."""
    try:
        return UUID(message.query.query_id)
    except ValueError:
        raise Rejected(Violation("query.query_id", "not_a_uuid", "The query's id is not a UUID.")) from None


def _passage(index: int, chunk: RetrievedChunk, opener: Opener) -> Passage | None:
    tier = Tier.of(chunk.reference.tier)
    try:
        reference, text = opener.open_labels(chunk.reference), opener.reveal(chunk.text, tier)
    except Erased:
        return None
    return Passage(
        index=index,
        text=text.reveal(),
        about="\n".join((reference.title, *reference.headings)),
        collection=reference.source,
        similarity=reference.similarity,
        tier=tier,
        vector_rank=chunk.vector_rank,
        text_rank=chunk.text_rank,
    )


def answer_completed(
    message: QueryRetrieved,
    answer: Answer,
    seal: Seal,
    *,
    identity: Identity,
    variant: Variant,
    routing: answer_pb2.Routing,
    trace_id: str,
    received_at: datetime,
    finished_at: datetime,
) -> AnswerCompleted:
    """The answer with all that made it; what came sealed is passed on as it came."""
    completed = AnswerCompleted(
        query=message.query,
        question=message.text,
        text=seal.protect(Text(answer.text, answer.tier)),
        tier=privacy_pb2.Tier.ValueType(answer.tier),
        grounding=_GROUNDINGS[answer.grounding],
        citations=[Citation(number=c.number, chunk=message.chunks[c.passage].reference) for c in answer.citations],
        retrieved=[chunk.reference for chunk in message.chunks],
        retrieval=message.settings,
        embedder=message.embedder,
        model=to_identity(NO_MODEL if answer.spent.reason in {WITHHELD, FAILED} else identity),
        prompt=_versioned(variant.prompt.key),
        variant=_versioned(variant.key),
        decoding=_decoding(variant.decoding),
        usage=to_usage(answer.spent),
        finish_reason=answer.spent.reason,
        time_to_first_token_ms=answer.spent.time_to_first_token * 1000,
        trace_id=trace_id,
        completed_at=_timestamp(finished_at),
        routing=routing,
    )
    hop = Hop(service="inference", received_at=_timestamp(received_at), finished_at=_timestamp(finished_at))
    completed.query.hops.append(hop)
    return completed


def started(message: QueryRetrieved, generation_id: UUID) -> AnswerChunk:
    """The first chunk of a generation."""
    return AnswerChunk(
        tenant=message.query.tenant,
        query_id=message.query.query_id,
        generation_id=str(generation_id),
        index=0,
        started=GenerationStarted(passages=len(message.chunks)),
    )


def chunk(message: QueryRetrieved, generation_id: UUID, index: int, text: ProtectedText) -> AnswerChunk:
    """A later one."""
    return AnswerChunk(
        tenant=message.query.tenant,
        query_id=message.query.query_id,
        generation_id=str(generation_id),
        index=index,
        text=text,
    )


def turns(request: service_pb2.GenerateRequest) -> list[Turn]:
    """Reads a conversation. Raises Rejected with each wrong field."""
    if violations := list(_wrong_turns(request)):
        raise Rejected(*violations)
    return [Turn(_ROLES[turn.role], turn.text) for turn in request.turns]


def _wrong_turns(request: service_pb2.GenerateRequest) -> Iterator[Violation]:
    if not request.turns:
        yield Violation("turns", "missing", "At least one turn is needed.")
    elif request.turns[-1].role != service_pb2.ROLE_USER:
        yield Violation(f"turns[{len(request.turns) - 1}].role", "unsupported", "The last turn must be the user's.")
    if len(request.turns) > MOST_TURNS:
        yield Violation("turns", "too_long", f"At most {MOST_TURNS} turns are taken.")
    for i, turn in enumerate(request.turns):
        if turn.role not in _ROLES:
            yield Violation(f"turns[{i}].role", "unknown_value", "A turn is by the system, the user or the assistant.")
        if not turn.text:
            yield Violation(f"turns[{i}].text", "empty", "A turn has a text.")


def decoding(request: service_pb2.GenerateRequest) -> Decoding:
    """Reads how to sample; greedy when nothing is said. Raises Rejected with each wrong field."""
    asked = request.decoding
    if violations := list(_wrong_decoding(asked)):
        raise Rejected(*violations)
    return Decoding(
        max_output_tokens=asked.max_output_tokens or DEFAULT_OUTPUT_TOKENS,
        temperature=asked.temperature,
        top_p=asked.top_p or 1.0,
        seed=asked.seed,
    )


def _wrong_decoding(asked: answer_pb2.Decoding) -> Iterator[Violation]:
    if asked.max_output_tokens > MOST_OUTPUT_TOKENS:
        yield Violation("decoding.max_output_tokens", "too_large", f"At most {MOST_OUTPUT_TOKENS} tokens are written.")
    if not 0 <= asked.temperature <= 2:
        yield Violation("decoding.temperature", "unknown_value", "A temperature is between 0 and 2.")
    if not 0 <= asked.top_p <= 1:
        yield Violation("decoding.top_p", "unknown_value", "A share is between 0 and 1.")


def finished(spent: Spent, identity: Identity) -> service_pb2.GenerateResponse:
    """The end of a completion."""
    end = service_pb2.Finished(reason=spent.reason, usage=to_usage(spent), model=to_identity(identity))
    return service_pb2.GenerateResponse(finished=end)


def to_identity(identity: Identity) -> ModelIdentity:
    """As it travels."""
    return ModelIdentity(name=identity.name, version=identity.version, provider=identity.provider)


def to_usage(spent: Spent) -> Usage:
    """As it travels."""
    return Usage(
        input_tokens=spent.input_tokens,
        output_tokens=spent.output_tokens,
        cached_input_tokens=spent.cached_input_tokens,
        cost_micro_usd=spent.cost_micro_usd,
    )


def _versioned(key: Versioned) -> answer_pb2.Versioned:
    return answer_pb2.Versioned(name=key.name, version=key.version)


def _decoding(decoding: Decoding) -> answer_pb2.Decoding:
    return answer_pb2.Decoding(
        max_output_tokens=decoding.max_output_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        seed=decoding.seed,
    )


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
