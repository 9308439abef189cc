"""`headrace trace`."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from headrace.trace.v1.service_pb2 import Span
from rich.text import Text

from headrace_client.cli.console import output, say_json, waiting
from headrace_client.cli.options import EndpointsOption, JsonOption, endpoints_from
from headrace_client.cli.running import DONE, run
from headrace_client.client import Client
from headrace_client.errors import NotFound
from headrace_client.spans import LONG, WaterfallSpan
from headrace_client.waterfall import WaterfallLine, waterfall

#: Services send their spans twice a second: a trace that did not grow for this long, or is older, is whole.
_QUIET_SECONDS = 1.2
_OLD_SECONDS = 5.0

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_green")


def trace(
    identity: Annotated[
        str,
        typer.Argument(
            metavar="QUERY_ID|TRACE_ID", show_default=False, help="A query's UUID, or a trace's 32 hex digits."
        ),
    ],
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for spans that are still arriving.")
    ] = 6.0,
    every_span: Annotated[
        bool,
        typer.Option("--every-span", help=f"Draw each span of a trace of more than {LONG}, too; none is folded."),
    ] = False,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Draw where the time of one query went: every service and every hop over Kafka, as a waterfall.

    A bar shows when a span ran; a gap between bars is time in which nothing worked. A span marked … has a parent that
    is not kept here, one marked ✗ failed. In a long trace, such as that of a training run, spans that are alike are
    folded into one: ×6 says of how many, and the time is what they took together.

    Example: headrace trace 0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10
    """
    run(_trace(identity, wait=wait, every_span=every_span, stated=endpoints, as_json=as_json))


async def _trace(identity: str, *, wait: float, every_span: bool, stated: str, as_json: bool) -> int:
    async with Client.connect(endpoints_from(stated)) as client:
        with waiting("Fetching the trace"):
            spans = await fetch_trace(client, identity, wait=wait)
    if as_json:
        say_json({"trace_id": spans[0].trace_id, "spans": [_span_json(span) for span in spans]})
    else:
        _draw(spans, most=len(spans) if every_span else LONG)
    return DONE


async def fetch_trace(client: Client, identity: str, *, wait: float) -> list[Span]:
    """The spans of a trace, by the query's id or its own, once no more are arriving. Raises NotFound."""
    trace_id = identity if re.fullmatch(r"[0-9a-f]{32}", identity) else ""
    query_id = "" if trace_id else identity
    clock = asyncio.get_running_loop().time
    give_up, grown = clock() + wait, clock()
    spans: list[Span] = []
    while True:
        try:
            now = await client.trace(query_id=query_id, trace_id=trace_id)
        except NotFound:
            if clock() >= give_up:
                raise NotFound(
                    f"No span of {identity} is kept. Traces are kept by query id and by trace id; "
                    "spans arrive about a second after the work."
                ) from None
            now = []
        if len(now) != len(spans):
            spans, grown = now, clock()
        if spans and (_is_old(spans) or clock() - grown >= _QUIET_SECONDS or clock() >= give_up):
            return spans
        await asyncio.sleep(0.2)


def _is_old(spans: list[Span]) -> bool:
    newest = max(span.ended_at.ToNanoseconds() for span in spans)
    return datetime.now(UTC).timestamp() - newest / 1e9 > _OLD_SECONDS


def to_waterfall(span: Span) -> WaterfallSpan:
    """A span as the drawing knows it."""
    return WaterfallSpan(
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        start_ns=span.started_at.ToNanoseconds(),
        end_ns=span.ended_at.ToNanoseconds(),
        failed=span.failed,
        links=tuple(span.links),
    )


def _draw(spans: list[Span], *, most: int) -> None:
    console = output()
    console.print(Text(f"Trace {spans[0].trace_id}", style="bold"))
    services = sorted({span.service for span in spans})
    colours = {service: _COLOURS[place % len(_COLOURS)] for place, service in enumerate(services)}
    for line in waterfall([to_waterfall(span) for span in spans], console.width, most=most):
        console.print(_coloured(line, colours), soft_wrap=True)


def _coloured(line: WaterfallLine, colours: dict[str, str]) -> Text:
    if not line.service:
        return Text(line.plain, style="dim")
    colour = "bold red" if line.failed else colours[line.service]
    return Text.assemble(
        (line.tree, colour), " ", (line.bar, colour), " ", (line.duration, "bold red" if line.failed else "")
    )


def _span_json(span: Span) -> dict[str, Any]:
    return {
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id,
        "service": span.service,
        "name": span.name,
        "kind": span.kind,
        "started_at": span.started_at.ToJsonString(),
        "duration_ms": round((span.ended_at.ToNanoseconds() - span.started_at.ToNanoseconds()) / 1e6, 3),
        "failed": span.failed,
        "attributes": dict(span.attributes),
        "links": list(span.links),
    }
