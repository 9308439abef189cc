"""`headrace publish`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from os import environ
from typing import Annotated
from uuid import UUID, uuid4

import typer
from headrace import topics
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryRefused, QuerySubmitted
from headrace.stream.v1.dead_letter_pb2 import DeadLetter

from headrace_client.answers import answer_json, answer_lines, to_answer
from headrace_client.bus import Reader, Record, open_reader
from headrace_client.cli.console import notice, say, say_json
from headrace_client.cli.options import (
    EndpointsOption,
    JsonOption,
    TenantOption,
    TierOption,
    TimeoutOption,
    endpoints_from,
)
from headrace_client.cli.running import DONE, FAILED, USED_WRONGLY, run
from headrace_client.cli.tracing import traced
from headrace_client.client import ANSWER_TIMEOUT
from headrace_client.publisher import Encoding, Publisher, Receipt
from headrace_client.signing import find_signer
from headrace_client.tiers import parse_tier

#: Where a query can end.
_ENDINGS = (
    topics.ANSWER_COMPLETED.name,
    topics.QUERY_REFUSED.name,
    *(t.dead_letters.name for t in topics.ALL if t.name.startswith("query.") and t.has_dead_letters),
)


def publish(
    text: Annotated[
        str, typer.Argument(help="The question; without it, each line of standard input is one.", show_default=False)
    ] = "",
    *,
    tenant: TenantOption = "demo",
    product: Annotated[str, typer.Option("--product", help="The product that asks.")] = "headrace-cli",
    tier: TierOption = "",
    query_id: Annotated[
        str, typer.Option("--query-id", show_default=False, help="A UUID; the same one twice yields one answer.")
    ] = "",
    source: Annotated[
        list[str] | None,
        typer.Option("--source", show_default=False, help="Use only this source of documents; may be given again."),
    ] = None,
    encoding: Annotated[Encoding, typer.Option("--format", help="How the event is written.")] = Encoding.PROTOBUF,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answers on answer.completed.")] = False,
    timeout: TimeoutOption = ANSWER_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Publish questions on the bus, as a product does: a QuerySubmitted event on query.submitted.

    Example: headrace publish "What does the nonlocal statement do?" --format json --wait
    """
    texts = [text] if text else _lines()
    if query_id and len(texts) != 1:
        raise typer.BadParameter("One id is for one question.", param_hint="--query-id")
    about = QuerySubmitted(tenant=tenant, product=product, declared_tier=parse_tier(tier), sources=source or [])
    queries = [_query(about, text, _canonical(query_id) or str(uuid4())) for text in texts]
    waits = timeout if wait else 0.0
    run(_publish(queries, encoding=encoding, waits=waits, stated=endpoints, as_json=as_json))


def _lines() -> list[str]:
    if sys.stdin.isatty():
        notice("Type one question a line, then Ctrl-D.")
    texts = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise typer.BadParameter("Give a question, or lines of them on standard input.", param_hint="TEXT")
    return texts


def _canonical(query_id: str) -> str:
    """A UUID as the events write it. What is none is left for ingest to refuse."""
    try:
        return str(UUID(query_id))
    except ValueError:
        return query_id


def _query(about: QuerySubmitted, text: str, query_id: str) -> QuerySubmitted:
    query = QuerySubmitted(query_id=query_id, text=text)
    query.MergeFrom(about)
    query.submitted_at.GetCurrentTime()
    return query


async def _publish(
    queries: list[QuerySubmitted],
    *,
    encoding: Encoding,
    waits: float,
    stated: str,
    as_json: bool,
) -> int:
    endpoints = endpoints_from(stated)
    kafka = endpoints.bus()
    with traced(endpoints):
        signer = find_signer(environ, endpoints)
        async with (
            _listening(kafka, waits) as endings,
            Publisher.connect(kafka, product="headrace-cli", signer=signer) as publisher,
        ):
            for query in queries:
                receipt = await publisher.query(query, encoding=encoding)
                if not (as_json and waits):
                    _say_published(query, receipt, as_json=as_json)
            if endings is None:
                return DONE
            return await _await(endings, {query.query_id for query in queries}, timeout=waits, as_json=as_json)


@asynccontextmanager
async def _listening(kafka: str, waits: float) -> AsyncIterator[Reader | None]:
    """Listens before anything is published, so that no answer is missed."""
    if not waits:
        yield None
        return
    async with open_reader(kafka) as reader:
        await reader.listen(_ENDINGS)
        yield reader


def _say_published(query: QuerySubmitted, receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        say_json({"query_id": query.query_id, **asdict(receipt)})
    else:
        place = f"{receipt.topic} {receipt.partition}/{receipt.offset}"
        say(f"Published query {query.query_id} ({place}), trace {receipt.trace_id}")


async def _await(endings: Reader, open_ids: set[str], *, timeout: float, as_json: bool) -> int:
    worst = DONE
    try:
        async with asyncio.timeout(timeout):
            async for record in endings.heard():
                query_id, code = _ending(record, open_ids, as_json=as_json)
                if query_id in open_ids:
                    open_ids.discard(query_id)
                    worst = max(worst, code)
                if not open_ids:
                    break
    except TimeoutError:
        notice(*(f"No answer to {query_id} within {timeout:g} s." for query_id in sorted(open_ids)), style="red")
        return FAILED
    return worst


def _ending(record: Record, wanted: Iterable[str], *, as_json: bool) -> tuple[str, int]:
    """Says how a query that is wanted ended; gives its id and the exit code that it stands for."""
    if record.topic == topics.ANSWER_COMPLETED.name:
        answered = AnswerCompleted.FromString(record.value or b"")
        query_id = answered.query.query_id
        return query_id, _say_answer(answered, as_json=as_json) if query_id in wanted else DONE
    if record.topic == topics.QUERY_REFUSED.name:
        refused = QueryRefused.FromString(record.value or b"")
        return refused.query_id, _say_refused(refused, as_json=as_json) if refused.query_id in wanted else DONE
    letter = DeadLetter.FromString(record.value or b"")
    if letter.correlation_id not in wanted or letter.topic == topics.QUERY_SUBMITTED.name:
        return "", DONE  # a submission's dead letter comes with a refusal, which says more
    return letter.correlation_id, _say_dead(letter, as_json=as_json)


def _say_answer(event: AnswerCompleted, *, as_json: bool) -> int:
    answer, query_id = to_answer(event), event.query.query_id
    if as_json:
        say_json(answer_json(answer, query_id=query_id))
    else:
        sealed = (
            "(The answer is sealed; QueryService.Get opens it for whoever asked.)"
            if event.text.WhichOneof("content") == "sealed"
            else ""
        )
        say("", answer.text or sealed, "", *answer_lines(answer, query_id=query_id))
    return DONE


def _say_refused(refused: QueryRefused, *, as_json: bool) -> int:
    violations = [{"field": v.field, "reason": v.reason, "description": v.description} for v in refused.violations]
    if as_json:
        say_json({"query_id": refused.query_id, "refused": violations})
    else:
        notice(f"Refused query {refused.query_id}:", style="red")
        notice(*(f"  {v['field'] or 'message'}: {v['description']}" for v in violations), style="red")
    return USED_WRONGLY


def _say_dead(letter: DeadLetter, *, as_json: bool) -> int:
    if as_json:
        say_json(
            {"query_id": letter.correlation_id, "dead_lettered": {"service": letter.service, "topic": letter.topic}}
        )
    else:
        words = f"{letter.service} could not handle query {letter.correlation_id} from {letter.topic}"
        notice(f"{words}: {letter.error}. See `headrace dlq list --topic {letter.topic}`.", style="red")
    return FAILED
