"""Messages to questions and changes, and what was found or indexed to messages. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1.document_pb2 import Document as WireDocument
from headrace.document.v1.document_pb2 import DocumentEmbedded, DocumentIndexed, EmbeddedChunk
from headrace.embedding.v1.service_pb2 import URGENCY_IN_TURN, URGENCY_SOON, EmbedAsRequest, EmbedAsResponse
from headrace.embedding.v1.service_pb2 import Passage as WirePassage
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import ProtectedText, ProtectedVector
from headrace.query.v1.events_pb2 import QueryEmbedded, QueryRetrieved
from headrace.query.v1.query_pb2 import Hop
from headrace.retrieval.v1 import service_pb2
from headrace.retrieval.v1.retrieval_pb2 import (
    ChunkReference,
    EmbedderIdentity,
    RetrievalSettings,
    RetrievedChunk,
    TrainedEmbedder,
)
from headrace.retrieval.v1.service_pb2 import (
    GetChunksRequest,
    GetChunksResponse,
    GetIndexRequest,
    GetIndexResponse,
    ListChunksRequest,
    ListChunksResponse,
    PrepareIndexRequest,
    SearchRequest,
    SearchResponse,
    SwitchIndexRequest,
    SwitchIndexResponse,
    TrainedIndex,
)
from headrace.training.v1 import models_pb2, training_pb2
from headrace.training.v1.models_pb2 import ModelChanged
from headrace_privacy import Erased, Opener, Seal, Text, Tier, is_sealed
from headrace_runtime.errors import Reason, Rejected, Violation

from headrace_retriever.domain import (
    HOUSE,
    Change,
    Chunk,
    Document,
    Embedder,
    Found,
    Indexed,
    Listed,
    Listing,
    Lookup,
    Passage,
    Place,
    Question,
    Resting,
    Vector,
    Wanted,
    as_vector,
    is_usable,
)
from headrace_retriever.generations import (
    Ended,
    Opened,
    Progress,
    Standing,
    State,
    Switch,
    Switched,
    Trained,
    Urgency,
)

DEFAULT_TOP_K = 8
MOST_PASSAGES = 100
#: How many passages are handed out by their ids at a time.
MOST_WANTED = 500
#: How many passages are listed at a time, and where that is not said; and about how many bytes, or one passage.
MOST_LISTED = 1_000
DEFAULT_LISTED = 500
LISTED_BYTES = 2 * 1024 * 1024
LONGEST_TEXT = 8_000
#: The contract's limit; Postgres' keys take 2,704 bytes in all.
LONGEST_ID = 512
#: Postgres' largest integer and bigint; the wire's unsigned numbers may be larger.
MOST_CHUNKS = 2**31 - 1
LAST_VERSION = 2**63 - 1

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}@[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def rejected(field: str, reason: Reason, description: str) -> Rejected:
    """Makes the refusal of one field."""
    return Rejected(Violation(field, reason, description))


# --- query.embedded ---------------------------------------------------------------------------------------------------


def to_question(message: QueryEmbedded, *, top_k: int, opener: Opener) -> Question:
    """Reads what to find. Raises Rejected for what can never be searched, Erased for what is gone."""
    embedder = to_embedder(message.embedder)
    return Question(
        tenant=_tenant(message.query.tenant, "query.tenant"),
        text=_text(message.text, Tier.of(message.tier), "text", opener=opener),
        vector=_vector(message.vector, embedder, "vector", opener=opener),
        embedder=embedder,
        sources=tuple(_source(source, "query.sources") for source in message.query.sources),
        max_tier=_limit(message.query.max_document_tier, "query.max_document_tier"),
        top_k=top_k,
    )


def from_found(message: QueryEmbedded, found: Found, *, received_at: datetime, finished_at: datetime) -> QueryRetrieved:
    """Writes the passages for a query, and this service's share of its time. What came or rests sealed stays so."""
    retrieved = QueryRetrieved(
        query=message.query,
        text=message.text,
        tier=message.tier,
        vector=message.vector,
        embedder=message.embedder,
        chunks=map(_from_passage, found.passages),
        settings=_from_settings(found),
    )
    hop = Hop(service="retriever", received_at=_timestamp(received_at), finished_at=_timestamp(finished_at))
    retrieved.query.hops.append(hop)
    return retrieved


# --- document.embedded ------------------------------------------------------------------------------------------------


def to_document(message: WireDocument) -> Document:
    """Reads which document it is. Raises Rejected for one that can never be indexed."""
    return Document(
        tenant=_tenant(message.tenant, "document.tenant"),
        source=_source(message.source, "document.source"),
        document_id=_document_id(message.document_id),
        version=_at_most(message.version, LAST_VERSION, "document.version"),
    )


def to_change(message: DocumentEmbedded, *, opener: Opener, seal: Seal | None) -> Change:
    """Reads a document as it shall be. `seal` is its owner's, for one of TIER_2.

    Raises Rejected for what can never be indexed, Erased for what is gone.
    """
    document, open_document = to_document(message.document), opener.open_labels(message.document)
    title = _storable(open_document.title, "document.title")
    _storable(open_document.uri, "document.uri")
    reader = _ChunkReader(open_document, Tier.of(message.tier), to_embedder(message.embedder), opener, seal)
    chunks = tuple(reader.read(chunk, f"chunks[{place}]") for place, chunk in enumerate(message.chunks))
    if len({chunk.ordinal for chunk in chunks}) != len(chunks):
        raise rejected("chunks", "unsupported", "Two chunks have the same ordinal.")
    return Change(document, title, reader.tier, chunks, reader.embedder)


def from_indexed(message: DocumentEmbedded, indexed: Indexed) -> DocumentIndexed:
    """Writes what the index now holds of a document."""
    return DocumentIndexed(
        document=message.document,
        tier=_to_wire(indexed.change.tier),
        chunks=indexed.chunks,
        embedder=message.embedder,
        indexed_at=_timestamp(indexed.indexed_at),
    )


def _document_id(identity: str) -> str:
    if not identity:
        raise rejected("document.document_id", "missing", "There is no document id.")
    if len(identity) > LONGEST_ID:
        raise rejected("document.document_id", "too_long", f"It has more than {LONGEST_ID} characters.")
    return _storable(identity, "document.document_id")


@dataclass(frozen=True, slots=True)
class _ChunkReader:
    """What the chunks of one document have in common; `document` has its labels in the clear."""

    document: WireDocument
    tier: Tier
    embedder: Embedder
    opener: Opener
    seal: Seal | None

    def read(self, chunk: EmbeddedChunk, field: str) -> Chunk:
        text = _text(chunk.text, self.tier, f"{field}.text", opener=self.opener)
        headings = self.opener.open_labels(chunk).headings
        return Chunk(
            ordinal=_at_most(chunk.ordinal, MOST_CHUNKS, f"{field}.ordinal"),
            headings=tuple(_storable(heading, f"{field}.headings") for heading in headings),
            text=text,
            vector=_vector(chunk.vector, self.embedder, f"{field}.vector", opener=self.opener),
            tokens=_at_most(chunk.tokens, MOST_CHUNKS, f"{field}.tokens"),
            resting=Resting(self._resting_text(chunk.text, text), self._resting_labels(headings)),
        )

    def _resting_text(self, content: ProtectedText, text: Text) -> bytes:
        """What came sealed rests as it came. What came in the clear and must not rest so is sealed here."""
        if self.seal is None or is_sealed(content):
            return content.SerializeToString()
        return self.seal.protect(text).SerializeToString()

    def _resting_labels(self, headings: Iterable[str]) -> bytes:
        labels = ChunkReference(title=self.document.title, uri=self.document.uri, headings=headings)
        return (self.seal.seal_labels(labels, self.tier) if self.seal else labels).SerializeToString()


# --- RetrievalService -------------------------------------------------------------------------------------------------


def to_lookup(request: SearchRequest, *, clearance: Tier) -> Lookup:
    """Reads a search by somebody who is cleared up to a tier. Raises Rejected, which names the field."""
    tenant = _tenant(request.tenant, "tenant")
    if not request.text.strip():
        raise rejected("text", "empty", "The text is empty.")
    if len(request.text) > LONGEST_TEXT:
        raise rejected("text", "too_long", f"The text has more than {LONGEST_TEXT} characters.")
    return Lookup(
        tenant=tenant,
        # Nobody has classified it, and unknown is the strictest.
        text=Text(_storable(request.text, "text"), Tier.TIER_2),
        sources=tuple(_source(source, "sources") for source in request.sources),
        max_tier=min(_limit(request.max_tier, "max_tier"), clearance),
        top_k=_at_most(request.top_k, MOST_PASSAGES, "top_k") or DEFAULT_TOP_K,
        model=_asked_model(request.embedder),
    )


def _asked_model(name: str) -> str:
    return name if name in ("", HOUSE) else _model(name, "embedder")


def to_wanted(request: GetChunksRequest) -> Wanted:
    """Reads which passages are wanted. Raises Rejected, which names the field."""
    tenant = _tenant(request.tenant, "tenant")
    if not request.chunk_ids:
        raise rejected("chunk_ids", "missing", "Which passages?")
    _at_most(len(request.chunk_ids), MOST_WANTED, "chunk_ids")
    wanted = tuple(_chunk_id(identity, f"chunk_ids[{place}]") for place, identity in enumerate(request.chunk_ids))
    return Wanted(tenant, wanted, _limit(request.max_tier, "max_tier"))


def _chunk_id(identity: str, field: str) -> UUID:
    try:
        return UUID(identity)
    except ValueError:
        raise rejected(field, "not_a_uuid", "A passage's id is a UUID.") from None


def from_wanted(passages: Iterable[Passage]) -> GetChunksResponse:
    """Writes passages as they rest: what is sealed stays so."""
    return GetChunksResponse(chunks=map(_from_passage, passages))


def to_listing(request: ListChunksRequest) -> Listing:
    """Reads which passages of a source come next. Raises Rejected, which names the field."""
    tenant = _tenant(request.tenant, "tenant")
    if not request.source:
        raise rejected("source", "missing", "Of which source?")
    return Listing(
        tenant=tenant,
        source=_source(request.source, "source"),
        after=_place(request.page_token) if request.page_token else None,
        most=_at_most(request.page_size, MOST_LISTED, "page_size") or DEFAULT_LISTED,
        max_tier=_limit(request.max_tier, "max_tier"),
    )


def _place(token: str) -> Place:
    """Reads behind which passage a page begins; see _token."""
    try:
        ordinal, document_id = base64.urlsafe_b64decode(token).decode().split("/", 1)
        place = Place(document_id, int(ordinal))
    except ValueError:
        raise _no_place() from None
    if not 0 <= place.ordinal <= MOST_CHUNKS or not 0 < len(document_id) <= LONGEST_ID or "\x00" in document_id:
        raise _no_place()
    return place


def _no_place() -> Rejected:
    return rejected("page_token", "malformed", "It is not what a page ended with.")


def _token(last: Passage) -> str:
    """Says behind which passage the next page begins. The document's id is free text, so it stands last."""
    return base64.urlsafe_b64encode(f"{last.ordinal}/{last.document.document_id}".encode()).decode()


def from_listed(listed: Listed) -> ListChunksResponse:
    """Writes passages of a source as they rest; of many large ones fewer than were asked for."""
    response, size = ListChunksResponse(), 0
    for passage in listed.passages:
        chunk = _from_passage(passage)
        size += chunk.ByteSize()
        if response.chunks and size > LISTED_BYTES:
            break
        response.chunks.append(chunk)
        last = passage
    if listed.has_more or len(response.chunks) < len(listed.passages):
        response.next_page_token = _token(last)
    return response


def from_lookup(found: Found) -> SearchResponse:
    """Writes what was found, as it rests."""
    return SearchResponse(chunks=map(_from_passage, found.passages), settings=_from_settings(found))


def places_of(response: SearchResponse) -> SearchResponse:
    """Returns where passages were found, and nothing of what they say."""
    return SearchResponse(chunks=map(_place_of, response.chunks), settings=response.settings)


def _place_of(chunk: RetrievedChunk) -> RetrievedChunk:
    found = chunk.reference
    reference = ChunkReference(
        chunk_id=found.chunk_id,
        version=found.version,
        source=found.source,
        document_id=found.document_id,
        ordinal=found.ordinal,
        tier=found.tier,
        score=found.score,
        similarity=found.similarity,
    )
    return RetrievedChunk(reference=reference, vector_rank=chunk.vector_rank, text_rank=chunk.text_rank)


def opened(response: SearchResponse, opener: Opener) -> SearchResponse:
    """Returns the response in the clear, without the passages whose key is destroyed: as if they were not found."""
    chunks = (_opened_chunk(chunk, opener) for chunk in response.chunks)
    return SearchResponse(chunks=[chunk for chunk in chunks if chunk is not None], settings=response.settings)


def _opened_chunk(chunk: RetrievedChunk, opener: Opener) -> RetrievedChunk | None:
    try:
        text = opener.reveal(chunk.text, Tier.of(chunk.reference.tier)).reveal()
        reference = opener.open_labels(chunk.reference)
    except Erased:
        return None
    content = ProtectedText(plain=text, characters=len(text))
    return RetrievedChunk(reference=reference, text=content, vector_rank=chunk.vector_rank, text_rank=chunk.text_rank)


# --- the tenants' own embedders ---------------------------------------------------------------------------------------


def to_trained(request: PrepareIndexRequest) -> Trained:
    """Reads whose index is to be begun. Raises Rejected, which names the field."""
    tenant, embedder = _tenant(request.tenant, "tenant"), request.embedder
    if embedder.tenant != tenant:
        raise rejected("embedder.tenant", "unsupported", "The embedder is another tenant's.")
    if not embedder.address:
        raise rejected("embedder.address", "missing", "Where is it?")
    if not embedder.files:
        raise rejected("embedder.files", "missing", "Which files, by their hashes?")
    _storable(embedder.address, "embedder.address")
    for name, sha256 in embedder.files.items():
        _storable(f"{name}{sha256}", "embedder.files")
    return Trained(tenant, _model(embedder.model, "embedder.model"), embedder.address, dict(embedder.files))


def from_trained(trained: Trained) -> TrainedEmbedder:
    """Writes which embedder."""
    return TrainedEmbedder(
        tenant=trained.tenant, model=trained.model, address=trained.address, files=dict(trained.files)
    )


def to_standing_of(request: GetIndexRequest) -> str:
    """Reads whose index is looked at. Raises Rejected, which names the field."""
    return _tenant(request.tenant, "tenant")


def from_standing(standing: Standing) -> GetIndexResponse:
    """Writes how a tenant's indexes stand."""
    return GetIndexResponse(
        live=standing.live,
        indexes=map(from_progress, standing.progress),
        chunks=standing.chunks,
        house=from_embedder(standing.house) if standing.house else None,
    )


def from_progress(progress: Progress) -> TrainedIndex:
    """Writes how far an index is."""
    generation = progress.generation
    return TrainedIndex(
        model=generation.model,
        state=_STATES[generation.state],
        filled=progress.filled,
        chunks=progress.chunks,
        failure=generation.failure,
        embedder=from_embedder(generation.embedder) if generation.embedder else None,
        prepared_at=_timestamp(generation.prepared_at),
        ready_at=_timestamp(generation.ready_at) if generation.ready_at else None,
        changed_at=_timestamp(generation.changed_at),
    )


_STATES: Mapping[State, service_pb2.IndexState.ValueType] = {
    "preparing": service_pb2.INDEX_STATE_PREPARING,
    "ready": service_pb2.INDEX_STATE_READY,
    "live": service_pb2.INDEX_STATE_LIVE,
    "standing_by": service_pb2.INDEX_STATE_STANDING_BY,
    "gone": service_pb2.INDEX_STATE_GONE,
}


def to_switch(request: SwitchIndexRequest) -> Switch:
    """Reads who is to answer. Raises Rejected, which names the field."""
    model = _model(request.model, "model") if request.model else ""
    expected = _model(request.expected, "expected") if request.expected else ""
    return Switch(_tenant(request.tenant, "tenant"), model, expected)


def from_switched(switched: Switched) -> SwitchIndexResponse:
    """Writes who answers now."""
    at = _timestamp(switched.at) if switched.at else None
    return SwitchIndexResponse(before=switched.before, live=switched.live, switched_at=at)


def to_ended(message: ModelChanged) -> Ended | None:
    """Reads which embedder answers no more, and whether its weights are there; None when the change is of no embedder,
    or leaves it as it is. Raises Rejected."""
    how = _ENDS.get(message.change)
    if how is None or message.model.target != training_pb2.TARGET_EMBEDDER:
        return None
    model = message.model
    return Ended(_tenant(model.tenant, "model.tenant"), _model(model.model, "model.model"), how)


_ENDS: Mapping[int, Literal["retired", "deleted"]] = {
    models_pb2.MODEL_CHANGE_RETIRED: "retired",
    models_pb2.MODEL_CHANGE_DELETED: "deleted",
}


def sealed_parts(passage: Passage) -> tuple[ProtectedText, ChunkReference]:
    """Returns what of a passage may be sealed."""
    return ProtectedText.FromString(passage.resting.text), ChunkReference.FromString(passage.resting.labels)


def opened_passage(passage: Passage, opener: Opener) -> Opened:
    """Returns what a passage's vector is made of. Raises Erased."""
    text, labels = sealed_parts(passage)
    labels = opener.open_labels(labels)
    return Opened(opener.reveal(text, passage.tier).reveal(), labels.title, tuple(labels.headings))


def to_embed_as(trained: Trained, texts: Sequence[Opened], urgency: Urgency) -> EmbedAsRequest:
    """Writes what is to be embedded, and by whom."""
    return EmbedAsRequest(
        embedder=from_trained(trained),
        passages=(WirePassage(title=text.title, headings=text.headings, text=text.text) for text in texts),
        urgency=URGENCY_SOON if urgency == "soon" else URGENCY_IN_TURN,
    )


def from_embedded(response: EmbedAsResponse) -> tuple[list[Vector], Embedder]:
    """Reads vectors, and what made them. Raises Rejected for what no cosine can be taken of."""
    embedder = to_embedder(response.embedder)
    vectors = [checked_vector(embedding.values, embedder, "text") for embedding in response.embeddings]
    return vectors, embedder


# --- parts ------------------------------------------------------------------------------------------------------------


def to_embedder(identity: EmbedderIdentity) -> Embedder:
    """Reads what made a vector."""
    return Embedder(identity.name, identity.dimensions, identity.hash)


def from_embedder(embedder: Embedder) -> EmbedderIdentity:
    """Writes what made a vector."""
    return EmbedderIdentity(name=embedder.name, dimensions=embedder.dimensions, hash=embedder.hash)


def checked_vector(numbers: Sequence[float], embedder: Embedder, field: str) -> Vector:
    """Makes a vector that a cosine can be taken of. Raises Rejected."""
    vector = as_vector(numbers)
    if not is_usable(vector, embedder.dimensions):
        description = f"The vector is not {embedder.dimensions} finite numbers, at least one of them not 0."
        raise rejected(field, "unsupported", description)
    return vector


def _vector(content: ProtectedVector, embedder: Embedder, field: str, *, opener: Opener) -> Vector:
    try:
        return checked_vector(opener.reveal_vector(content), embedder, field)
    except ValueError as error:
        raise rejected(field, "undecodable", "The vector's bytes are not as many as its dimensions need.") from error


def _text(content: ProtectedText, tier: Tier, field: str, *, opener: Opener) -> Text:
    text = opener.reveal(content, tier)
    _storable(text.reveal(), field)
    return text


def _model(name: str, field: str) -> str:
    if not _MODEL.fullmatch(name):
        raise rejected(field, "malformed", "A model is named NAME@VERSION.")
    return name


def _storable(text: str, field: str) -> str:
    if "\x00" in text:
        raise rejected(field, "has_nul", "It holds a NUL character, which cannot be stored.")
    return text


def _tenant(name: str, field: str) -> str:
    if not name:
        raise rejected(field, "missing", "There is no tenant.")
    return _source(name, field)


def _source(name: str, field: str) -> str:
    if not _NAME.fullmatch(name):
        raise rejected(field, "unsupported", "It is not 1 to 64 of a-z, 0-9, _ and -.")
    return name


def _at_most(number: int, most: int, field: str) -> int:
    if number > most:
        raise rejected(field, "too_large", f"It is more than {most}.")
    return number


def _limit(number: int, field: str) -> Tier:
    """Reads a limit. None set is none; one that this version does not know must not become none."""
    if number == privacy_pb2.TIER_UNSPECIFIED:
        return Tier.TIER_2
    if number not in list(Tier):
        raise rejected(field, "unknown_value", "This tier is not known here.")
    return Tier(number)


def _from_passage(passage: Passage) -> RetrievedChunk:
    document, reference = passage.document, ChunkReference.FromString(passage.resting.labels)
    reference.MergeFrom(
        ChunkReference(
            chunk_id=str(passage.chunk_id),
            version=document.version,
            source=document.source,
            document_id=document.document_id,
            ordinal=passage.ordinal,
            tier=_to_wire(passage.tier),
            score=passage.score,
            similarity=passage.similarity,
        )
    )
    return RetrievedChunk(
        reference=reference,
        text=ProtectedText.FromString(passage.resting.text),
        vector_rank=passage.vector_rank,
        text_rank=passage.text_rank,
    )


def _from_settings(found: Found) -> RetrievalSettings:
    return RetrievalSettings(
        top_k=found.top_k,
        candidates=found.candidates,
        rrf_k=found.rrf_k,
        vector_search=found.vector_search,
        embedder=from_embedder(found.embedder) if found.embedder else None,
    )


def _to_wire(tier: Tier) -> privacy_pb2.Tier.ValueType:
    return privacy_pb2.Tier.ValueType(tier)


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def strictest_of(message: QueryEmbedded, passages: Iterable[Passage]) -> Tier:
    """Returns the tier of a query together with its passages: that of whatever carries both."""
    return max((Tier.of(message.tier), *(passage.tier for passage in passages)))
