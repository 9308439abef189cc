"""`headrace feedback`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated
from uuid import uuid4

import typer
from headrace.feedback.v1.feedback_pb2 import THUMB_DOWN, THUMB_UP, Act, CitationJudgement, FeedbackSubmitted

from headrace_client.cli.console import say, say_json
from headrace_client.cli.options import EndpointsOption, JsonOption, TenantOption, TimeoutOption, endpoints_from
from headrace_client.cli.running import DONE, run
from headrace_client.client import CALL_TIMEOUT, Client


class ThumbWord(StrEnum):
    """Which way the thumb points."""

    UP = "up"
    DOWN = "down"


_THUMBS = {ThumbWord.UP: THUMB_UP, ThumbWord.DOWN: THUMB_DOWN}


class ActWord(StrEnum):
    """What somebody did with the answer."""

    COPIED = "copied"
    ASKED_AGAIN = "asked-again"
    OPENED_SOURCE = "opened-source"
    ABANDONED = "abandoned"

    @property
    def wire(self) -> Act.ValueType:
        """The number on the wire."""
        return Act.Value(f"ACT_{self.name}")


def feedback(
    query_id: Annotated[
        str, typer.Argument(help="Which query, as `headrace ask` printed it.", show_default=False)
    ] = "",
    *,
    trace: Annotated[str, typer.Option("--trace", show_default=False, help="Or which trace, 32 hex digits.")] = "",
    thumb: Annotated[ThumbWord | None, typer.Option("--thumb", show_default=False, help="Good or bad.")] = None,
    rating: Annotated[
        int | None, typer.Option("--rating", min=1, max=5, show_default=False, help="1 (worst) to 5 (best).")
    ] = None,
    comment: Annotated[str, typer.Option("--comment", show_default=False, help="What you think of it.")] = "",
    correction: Annotated[
        str, typer.Option("--correction", show_default=False, help="What the answer should have said.")
    ] = "",
    citations: Annotated[
        list[str] | None,
        typer.Option("--citation", show_default=False, help="One citation, good or bad, as `2:down`. Repeatable."),
    ] = None,
    act: Annotated[
        ActWord | None, typer.Option("--act", show_default=False, help="What somebody did with the answer.")
    ] = None,
    subject: Annotated[
        str, typer.Option("--subject", show_default=False, help="Who judges: an opaque id, not a name.")
    ] = "",
    tenant: TenantOption = "demo",
    timeout: TimeoutOption = CALL_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say what you think of an answer: days later too, or before it has come.

    Several kinds may be given at once; each is recorded by itself.

    Example: headrace feedback 0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10 --thumb up --comment "Just what I needed."
    """
    if not query_id and not trace:
        raise typer.BadParameter("Name the query, or its trace with --trace.", param_hint="QUERY_ID")
    about = FeedbackSubmitted(tenant=tenant, query_id=query_id, trace_id=trace, subject=subject)
    given = {
        "thumb": _THUMBS[thumb] if thumb else None,
        "rating": rating,
        "comment": comment or None,
        "correction": correction or None,
        "act": act.wire if act else None,
    }
    judgements = [*_judgements(about, given), *_of_citations(about, citations or ())]
    if not judgements:
        raise typer.BadParameter("Give --thumb, --rating, --comment, --correction, --citation or --act.")
    run(_record(judgements, stated=endpoints, timeout=timeout, as_json=as_json))


def _judgements(about: FeedbackSubmitted, given: Mapping[str, int | str | None]) -> Iterator[FeedbackSubmitted]:
    for kind, value in given.items():
        if value is not None:
            judgement = _new(about)
            setattr(judgement, kind, value)
            yield judgement


def _of_citations(about: FeedbackSubmitted, citations: Sequence[str]) -> Iterator[FeedbackSubmitted]:
    for said in citations:
        number, _, thumb = said.partition(":")
        if not number.isdecimal() or thumb not in tuple(ThumbWord):
            raise typer.BadParameter("Say which citation and which way, as 2:down.", param_hint="--citation")
        judgement = _new(about)
        judgement.citation.CopyFrom(CitationJudgement(number=int(number), thumb=_THUMBS[ThumbWord(thumb)]))
        yield judgement


def _new(about: FeedbackSubmitted) -> FeedbackSubmitted:
    judgement = FeedbackSubmitted(feedback_id=str(uuid4()))
    judgement.MergeFrom(about)
    return judgement


async def _record(judgements: list[FeedbackSubmitted], *, stated: str, timeout: float, as_json: bool) -> int:
    async with Client.connect(endpoints_from(stated)) as client:
        for judgement in judgements:
            response = await client.record_feedback(judgement, timeout=timeout)
            kind = judgement.WhichOneof("judgement") or ""
            if as_json:
                say_json({"feedback_id": response.feedback_id, "kind": kind, "joined": response.joined})
            else:
                joined = "" if response.joined else ", and waits for its answer, which is not logged yet"
                say(f"Recorded the {kind} as {response.feedback_id}{joined}.")
    return DONE
