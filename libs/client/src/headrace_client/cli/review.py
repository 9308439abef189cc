"""`headrace review show`; the verbs of the queue are in review_queue."""

from __future__ import annotations

from collections.abc import Iterator
from os import environ
from typing import Annotated, Any

import typer
from headrace.feedback.v1.feedback_pb2 import THUMB_DOWN, THUMB_UP, Act, FeedbackSubmitted
from headrace.feedback.v1.service_pb2 import GetResponse

from headrace_client.answers import answer_json, answer_lines, to_answer
from headrace_client.cli.console import say, say_json
from headrace_client.cli.options import (
    AsOption,
    EndpointsOption,
    JsonOption,
    TenantOption,
    TimeoutOption,
    endpoints_from,
)
from headrace_client.cli.running import DONE, run
from headrace_client.client import CALL_TIMEOUT, Client
from headrace_client.credentials import find_credentials

_THUMBS = {THUMB_UP: "up", THUMB_DOWN: "down"}

review = typer.Typer(no_args_is_help=True, help="Read what was asked and answered, as an expert who judges answers.")


@review.command()
def show(
    query_id: Annotated[str, typer.Argument(help="Which query.", show_default=False)],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    timeout: TimeoutOption = CALL_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read one interaction: the question, the answer with its sources, what made it, and its feedback.

    It is a review by a person, whether you may or not is put on the audit log. Where the policy asks for a grant, the
    command leaves with 3 and says how to ask for one.

    Example: headrace review show 0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10 --tenant acme
    """
    run(_show(query_id, tenant=tenant, person=person, timeout=timeout, stated=endpoints, as_json=as_json))


async def _show(query_id: str, *, tenant: str, person: str, timeout: float, stated: str, as_json: bool) -> int:
    endpoints = endpoints_from(stated)
    credentials = find_credentials(environ, endpoints, person=person, role="reviewer")
    async with Client.connect(endpoints, credentials=credentials) as client:
        found = await client.interaction(tenant=tenant, query_id=query_id, timeout=timeout)
    if as_json:
        say_json(interaction_json(found))
    else:
        say(*interaction_lines(found))
    return DONE


def interaction_json(found: GetResponse) -> dict[str, Any]:
    """The object that `--json` prints."""
    event = found.interaction
    return {
        **answer_json(to_answer(event), query_id=event.query.query_id),
        "question": event.question.plain,
        "product": event.query.product,
        "subject": event.query.subject,
        "stored_at": found.stored_at.ToJsonString(),
        "feedback": [_feedback_json(one) for one in found.feedback],
    }


def interaction_lines(found: GetResponse) -> list[str]:
    """The same for people."""
    event = found.interaction
    asked_by = f"{event.query.product}, for {event.query.subject}" if event.query.subject else event.query.product
    lines = ["Question", *shown(event.question.plain), "", "Answer", *shown(event.text.plain), ""]
    lines += answer_lines(to_answer(event), query_id=event.query.query_id)
    lines += [f"Asked by   {asked_by}", f"Answered   {event.completed_at.ToJsonString()}", "", "Feedback"]
    return [*lines, *(_feedback_lines(found.feedback) if found.feedback else ["  none"])]


def _feedback_json(one: FeedbackSubmitted) -> dict[str, Any]:
    kind, value = _judgement(one)
    return {"feedback_id": one.feedback_id, "subject": one.subject, "kind": kind, "value": value}


def _feedback_lines(feedback: Any) -> Iterator[str]:
    for one in feedback:
        kind, value = _judgement(one)
        yield from shown(f"{kind} by {one.subject or 'somebody'}: {value}")


def shown(text: str) -> list[str]:
    """What a stranger wrote, indented, as it can be shown: none of it may steer the reader's terminal."""
    clean = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return [f"  {line}" for line in clean.splitlines() or [""]]


def _judgement(one: FeedbackSubmitted) -> tuple[str, str | int]:
    kind = one.WhichOneof("judgement") or "thumb"
    value = getattr(one, kind)
    match kind:
        case "thumb":
            return kind, _THUMBS.get(value, "")
        case "citation":
            return kind, f"[{value.number}] {_THUMBS.get(value.thumb, '')}"
        case "act":
            return kind, Act.Name(value).removeprefix("ACT_").lower().replace("_", " ")
        case _:
            return kind, value
