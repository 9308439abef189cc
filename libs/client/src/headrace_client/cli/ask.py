"""`headrace ask`."""

from __future__ import annotations

from contextlib import ExitStack, aclosing
from typing import Annotated
from uuid import uuid4

import typer
from headrace.query.v1.service_pb2 import STAGE_ACCEPTED, STAGE_GENERATING, STAGE_SUBMITTED, Stage

from headrace_client.answers import answer_json, answer_lines
from headrace_client.cli.console import notice, notices, output, say, say_json
from headrace_client.cli.options import (
    EndpointsOption,
    JsonOption,
    MaxDocumentTierOption,
    TenantOption,
    TierOption,
    TimeoutOption,
    endpoints_from,
)
from headrace_client.cli.running import DONE, FAILED, run
from headrace_client.cli.tracing import traced
from headrace_client.client import ANSWER_TIMEOUT, Client, QuestionDetails
from headrace_client.errors import TimedOut
from headrace_client.tiers import parse_tier
from headrace_client.updates import Answered, Progress, Restarted, Text, Update

_STAGES: dict[Stage.ValueType, str] = {
    STAGE_SUBMITTED: "The bus has the question",
    STAGE_ACCEPTED: "Looking for passages",
    STAGE_GENERATING: "Writing the answer",
}


def ask(
    question: Annotated[str, typer.Argument(help="What to ask, in quotes.", show_default=False)],
    *,
    tenant: TenantOption = "demo",
    product: Annotated[str, typer.Option("--product", help="In whose name to ask.")] = "headrace-cli",
    source: Annotated[
        list[str] | None,
        typer.Option("--source", show_default=False, help="Use only this source of documents; may be given again."),
    ] = None,
    subject: Annotated[
        str, typer.Option("--subject", show_default=False, help="The end user who asks: an opaque id, not a name.")
    ] = "",
    tier: TierOption = "",
    max_document_tier: MaxDocumentTierOption = "",
    conversation: Annotated[
        str, typer.Option("--conversation", show_default=False, help="Groups the questions of one conversation.")
    ] = "",
    query_id: Annotated[
        str,
        typer.Option(
            "--query-id", show_default=False, help="A UUID. Asking again with the same one gives the same answer."
        ),
    ] = "",
    timeout: TimeoutOption = ANSWER_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask a question, and read the answer as it is written.

    The answer comes with its numbered sources, its privacy tier, whether the sources support it, what made it, where
    the time went, and the id of its trace (see `headrace trace`).

    Example: headrace ask "What does the nonlocal statement do?"
    """
    details = QuestionDetails(
        tenant=tenant,
        product=product,
        query_id=query_id or str(uuid4()),
        subject=subject,
        conversation_id=conversation,
        declared_tier=parse_tier(tier),
        sources=source or [],
        max_document_tier=parse_tier(max_document_tier),
    )
    view = JsonView() if as_json else TerminalView()
    run(_ask(question, details, view=view, timeout=timeout, stated=endpoints))


async def _ask(question: str, details: QuestionDetails, *, view: View, timeout: float, stated: str) -> int:
    endpoints = endpoints_from(stated)
    with traced(endpoints), ExitStack() as closing:
        closing.callback(view.close)
        async with Client.connect(endpoints) as client:
            try:
                async with aclosing(client.ask(question, timeout=timeout, **details)) as updates:
                    async for update in updates:
                        view.show(update)
            except TimedOut:
                view.close()
                again = f"headrace ask --query-id {details['query_id']} …"
                notice(
                    f"No answer within {timeout:g} s; the question goes on. Fetch its answer with: {again}", style="red"
                )
                return FAILED
    return DONE


class JsonView:
    """Writes the answer as one object."""

    def show(self, update: Update) -> None:
        """Waits for the answer."""
        if isinstance(update, Answered):
            say_json(answer_json(update.answer, query_id=update.query_id, trace_id=update.trace_id))

    def close(self) -> None:
        """Nothing is open."""


class TerminalView:
    """Writes the text as it comes, then what made it."""

    def __init__(self) -> None:
        self._written = ""
        self._spinner = ExitStack()

    def show(self, update: Update) -> None:
        """Writes one update."""
        match update:
            case Progress():
                self._progress(update)
            case Text(text=text):
                self._text(text)
            case Restarted():
                self._void("The text so far is void: the answer is being written again.")
            case Answered():
                self._answer(update)

    def close(self) -> None:
        """Takes the spinner away."""
        self._spinner.close()

    def _progress(self, update: Progress) -> None:
        words = _STAGES.get(update.stage, "On its way")
        passages = f" from {update.passages} passage{'' if update.passages == 1 else 's'}" if update.passages else ""
        self.close()
        console = notices()
        if console.is_terminal:
            self._spinner.enter_context(console.status(f"{words}{passages}"))
        else:
            notice(f"{words}{passages} …")

    def _text(self, text: str) -> None:
        self.close()
        self._written += text
        _write(text)

    def _void(self, why: str) -> None:
        self.close()
        if self._written:
            _write("\n")
            notice(why, style="yellow")
        self._written = ""

    def _answer(self, update: Answered) -> None:
        self.close()
        if self._written.strip() != update.answer.text.strip():
            self._void("The answer in its final form:")
            _write(update.answer.text)
        _write("\n\n")
        say(*answer_lines(update.answer, query_id=update.query_id, trace_id=update.trace_id))


View = JsonView | TerminalView


def _write(text: str) -> None:
    """Raw: a stream of words is not wrapped a piece at a time."""
    console = output()
    console.file.write(text)
    console.file.flush()
