"""An answer as lines for a terminal and as one JSON object. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.query.v1.answer_pb2 import (
    GROUNDING_EXTRACTED,
    GROUNDING_GROUNDED,
    GROUNDING_NOT_IN_SOURCES,
    Answer,
    AnswerCompleted,
    Citation,
    Grounding,
)
from headrace.query.v1.query_pb2 import Hop

from headrace_client.tiers import tier_label, tier_word

_IN_WORDS: dict[Grounding.ValueType, str] = {
    GROUNDING_GROUNDED: "supported by the sources",
    GROUNDING_EXTRACTED: "in the sources' own sentences",
    GROUNDING_NOT_IN_SOURCES: "the sources don't say",
}

_LABELS: dict[Grounding.ValueType, str] = {
    GROUNDING_GROUNDED: "grounded",
    GROUNDING_EXTRACTED: "extracted",
    GROUNDING_NOT_IN_SOURCES: "not_in_sources",
}

#: In the order of a query's way; what a newer server adds comes after.
_HOPS = ("ingest", "classifier", "embedder", "retriever", "inference")

#: The time between the services: Kafka, and waiting for a turn.
_BUS = "bus"

_SHADES = "█▓▒░▚"


def answer_json(answer: Answer, *, query_id: str, trace_id: str = "") -> dict[str, Any]:
    """The object that `--json` prints. `grounded` holds for every answer that the sources support, in the model's words
    or in their own; `grounding` says which."""
    return {
        "query_id": query_id,
        "tier": tier_label(answer.tier),
        "answer": answer.text,
        "grounded": answer.grounding in (GROUNDING_GROUNDED, GROUNDING_EXTRACTED),
        "grounding": _LABELS.get(answer.grounding, "unknown"),
        "citations": [_citation_json(c) for c in answer.citations],
        "model": {"name": answer.model.name, "version": answer.model.version, "provider": answer.model.provider},
        "prompt": {"name": answer.prompt.name, "version": answer.prompt.version},
        "variant": {"name": answer.variant.name, "version": answer.variant.version},
        "usage": {"input_tokens": answer.usage.input_tokens, "output_tokens": answer.usage.output_tokens},
        "timings_ms": {name: round(ms, 3) for name, ms in _ordered(answer.timings_ms)},
        "trace_id": answer.trace_id or trace_id,
    }


def _citation_json(citation: Citation) -> dict[str, Any]:
    chunk = citation.chunk
    return {
        "number": citation.number,
        "document": chunk.document_id,
        "title": chunk.title,
        "source": chunk.source,
        "section": " › ".join(chunk.headings),
        "chunk_id": chunk.chunk_id,
        "version": chunk.version,
        "similarity": round(chunk.similarity, 4),
        "uri": chunk.uri,
    }


def answer_lines(answer: Answer, *, query_id: str, trace_id: str = "") -> list[str]:
    """What follows an answer's text: its sources, and what made it."""
    return [*_source_lines(answer), *_fact_lines(answer, query_id=query_id, trace_id=answer.trace_id or trace_id)]


def _source_lines(answer: Answer) -> Iterator[str]:
    if not answer.citations:
        return
    yield "Sources"
    for citation in answer.citations:
        chunk = citation.chunk
        place = [chunk.title or chunk.document_id, *(h for h in chunk.headings if h != chunk.title)]
        yield f"  [{citation.number}] {' › '.join(place)}"
        facts = [chunk.source, f"chunk {chunk.chunk_id[:8]} v{chunk.version}", f"similarity {chunk.similarity:.2f}"]
        yield f"      {' · '.join(facts + ([chunk.uri] if chunk.uri else []))}"
    yield ""


def _fact_lines(answer: Answer, *, query_id: str, trace_id: str) -> Iterator[str]:
    usage = answer.usage
    cached = f" ({usage.cached_input_tokens} of them cached)" if usage.cached_input_tokens else ""
    yield f"Tier       {tier_word(answer.tier) or 'not stated'}"
    yield f"Grounding  {_IN_WORDS.get(answer.grounding, 'not stated')}"
    yield f"Model      {answer.model.name} {answer.model.version} ({answer.model.provider})"
    yield f"Prompt     {answer.prompt.name} {answer.prompt.version}"
    yield f"Variant    {answer.variant.name} {answer.variant.version}"
    yield f"Tokens     {usage.input_tokens} in{cached}, {usage.output_tokens} out"
    yield from _time_lines(answer.timings_ms)
    yield f"Query      {query_id}"
    yield f"Trace      {trace_id}"


def _time_lines(timings_ms: Mapping[str, float], *, width: int = 40) -> Iterator[str]:
    hops = [(name, ms) for name, ms in _ordered(timings_ms) if name not in (_BUS, "total")]
    spent = sum(ms for _, ms in hops)
    bus = timings_ms.get(_BUS, max(0.0, timings_ms.get("total", 0.0) - spent))
    total = spent + bus
    if total <= 0:
        return
    shaded = [(_SHADES[place % len(_SHADES)], name, ms) for place, (name, ms) in enumerate(hops)]
    shaded.append(("·", _BUS, bus))
    yield "Time       " + "".join(shade * _cells(ms, total, width) for shade, _, ms in shaded)
    legend = [f"{shade} {name} {_ms(ms)}" for shade, name, ms in shaded] + [f"= {_ms(total)} ms"]
    yield from (f"           {line}" for line in _packed(legend, width=68))


def _packed(items: list[str], *, width: int) -> list[str]:
    """The items in lines of at most `width` characters, none of them broken."""
    lines = [items[0]]
    for item in items[1:]:
        if len(lines[-1]) + len(item) + 2 <= width:
            lines[-1] += f"  {item}"
        else:
            lines.append(item)
    return lines


def _cells(ms: float, total: float, width: int) -> int:
    """At least one cell for what took any time at all, or a hop of 2 ms would not be seen beside a model's second."""
    return max(1, round(width * ms / total)) if ms > 0 else 0


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _ordered(timings_ms: Mapping[str, float]) -> list[tuple[str, float]]:
    """In the order of a query's way: the services, those that this client does not know, the bus, the sum."""
    place = {name: number for number, name in enumerate((*_HOPS, "", _BUS, "total"))}
    return sorted(timings_ms.items(), key=lambda item: (place.get(item[0], len(_HOPS)), item[0]))


def to_answer(event: AnswerCompleted) -> Answer:
    """The answer in the event that products read. A sealed text stays empty."""
    return Answer(
        text=event.text.plain,
        tier=event.tier,
        grounding=event.grounding,
        citations=event.citations,
        model=event.model,
        prompt=event.prompt,
        variant=event.variant,
        usage=event.usage,
        timings_ms=_timings(event),
        trace_id=event.trace_id,
        completed_at=event.completed_at,
    )


def _timings(event: AnswerCompleted) -> dict[str, float]:
    timings = {hop.service: _between(hop) for hop in event.query.hops}
    start = event.query.submitted_at if event.query.HasField("submitted_at") else event.query.accepted_at
    total = _milliseconds(start, event.completed_at)
    return timings | {_BUS: max(0.0, total - sum(timings.values())), "total": total}


def _between(hop: Hop) -> float:
    return _milliseconds(hop.received_at, hop.finished_at)


def _milliseconds(start: Timestamp, end: Timestamp) -> float:
    return max(0.0, (end.ToNanoseconds() - start.ToNanoseconds()) / 1e6)
