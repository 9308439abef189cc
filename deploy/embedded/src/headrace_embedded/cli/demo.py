"""`headrace demo`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.options import JsonOption
from headrace_client.cli.tracing import traced
from headrace_client.client import Client
from headrace_client.endpoints import Endpoints, read_endpoints

from headrace_embedded import measuring, state
from headrace_embedded.cli import up
from headrace_embedded.cli.demo_loop import close_the_loop
from headrace_embedded.cli.demo_variants import compare_prompts
from headrace_embedded.cli.running import DONE, FAILED, run
from headrace_embedded.cli.telling import bar, headline, quiet_libraries
from headrace_embedded.demo import corpus, tour
from headrace_embedded.demo.tour import BY_CALL
from headrace_embedded.errors import NotReady


class TourWord(StrEnum):
    """Which tour."""

    BASICS = "basics"
    VARIANTS = "variants"
    LOOP = "loop"


def demo(
    which: Annotated[
        TourWord,
        typer.Argument(
            metavar="basics|variants|loop",
            help="The way of a question; two prompts compared; or the loop from drift to a better model.",
        ),
    ] = TourWord.BASICS,
    *,
    anew: Annotated[
        bool, typer.Option("--anew", help="Of the loop: begin again, rather than go on where it was left.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a tour: bring everything up, load Python's language reference, publish, ask, trace, judge, erase, and
    reconcile.

    `headrace demo variants` puts two prompts on the same questions instead, and ends with a report on which is better.
    `headrace demo loop` lets the questions drift, has a model trained, gated and brought into service, and erases a
    user whose questions it learned from; it takes some 15 minutes, and goes on where it was left.
    Leaves nothing running, unless Headrace was up before. With --json the tour itself goes to standard error.
    """
    quiet_libraries()
    if which is TourWord.VARIANTS:
        run(lambda: compare_prompts(quiet=as_json))
    elif which is TourWord.LOOP:
        run(lambda: close_the_loop(quiet=as_json, anew=anew))
    else:
        run(lambda: _demo(quiet=as_json))


def _demo(*, quiet: bool) -> int:
    home = state.find_home(os.environ, Path.cwd())
    was_running = state.is_running(home)
    began = time.monotonic()
    headline("Bringing up Kafka, PostgreSQL and the services")
    bus = up.bring_up(home, {}).bus
    up_in = time.monotonic() - began
    try:
        # What is read by a program has standard output to itself.
        with contextlib.redirect_stdout(sys.stderr) if quiet else contextlib.nullcontext():
            facts = asyncio.run(_tour(read_endpoints(home / "endpoints.json"), bus=bus))
        facts["memory_mib"] = _memory(home) // 2**20
    finally:
        remaining = [] if was_running else _end(home)
    facts |= {"up_seconds": round(up_in, 1), "seconds": round(time.monotonic() - began, 1), "remaining": remaining}
    say_json(facts) if quiet else _sum_up(facts, was_running=was_running)
    settled = facts["reconciled"] or bus == "mock"
    return DONE if settled and not remaining else FAILED


def _end(home: Path) -> list[int]:
    headline("Taking everything down")
    return up.take_down(home).remaining


def _memory(home: Path) -> int:
    status = state.read_status(home)
    return sum(measuring.memory_bytes(part.pid) for part in status.parts if part.pid) if status is not None else 0


async def _tour(endpoints: Endpoints, *, bus: str) -> dict[str, Any]:
    with traced(endpoints):
        async with Client.connect(endpoints) as client:
            return await _steps(endpoints, client, bus=bus)


async def _steps(endpoints: Endpoints, client: Client, *, bus: str) -> dict[str, Any]:
    reference = corpus.reference()
    headline(f"Loading Python's language reference, {len(reference)} documents, as the source {corpus.SOURCE}")
    began = time.monotonic()
    with bar("Documents", len(reference)) as advance:
        outcomes = await tour.put_documents(client, reference, advance)
    say(_loaded(outcomes, seconds=time.monotonic() - began))
    headline("Publishing questions as a product does, on plain aiokafka, and reading the answers off the bus")
    published = await tour.publish_as_a_product(endpoints, say)
    asked = [await _ask(client, question) for question in BY_CALL]
    headline("Where the time of the first question went")
    spans = await tour.draw_trace(client, asked[0], say)
    headline("Saying that its answer was good")
    say(f"Recorded the thumb as {await tour.thumb_up(client, asked[0])}.")
    facts = await _erased(client, bus=bus)
    headline("Closing the books")
    report = await tour.close_the_books(endpoints, client)
    for name, count in report.counts.items():
        say(f"{name:<32} {count:>6,}")
    agrees = report.agrees and not report.on_the_way
    say(_verdict(agrees, bus=bus))
    return {
        "documents": dict(outcomes),
        "answered": len(published) + len(asked),
        "questions": [asdict(one) for one in asked],
        "spans": spans,
        "reconciled": agrees,
        **facts,
    }


async def _erased(client: Client, *, bus: str) -> dict[str, Any]:
    subject = BY_CALL[-1].subject
    if bus == "mock":
        return {}  # a bus in memory cannot trim its topics, so the erasure would wait for ever
    headline(f"Erasing {subject}, who asked the last question, and reading back what is left")
    erasure = await tour.erase_the_asker(client, subject)
    say(*erasure.receipt_text.splitlines())
    return {"erasure": erasure.erasure_id}


def _verdict(agrees: bool, *, bus: str) -> str:
    if agrees:
        return "Every query that was accepted ended once."
    if bus == "mock":
        return "The bus is in memory: what earlier runs put on it is gone, so their books have nothing to agree with."
    return "The books do not agree: see headrace reconcile."


async def _ask(client: Client, question: tour.Question) -> tour.Asked:
    headline(f"{question.why}. Asking over gRPC")
    say(f"? {question.text}")
    tier, masked = await tour.classify(client, question)
    if masked != question.text:
        say(f"  {tier}; every service after the classifier reads: {masked}")
    say("")
    return await tour.ask(client, question)


def _loaded(outcomes: dict[str, int], *, seconds: float) -> str:
    counts = [f"{outcomes[name]} {name}" for name in ("indexed", "unchanged") if outcomes.get(name)]
    return f"{', '.join(counts)}: {outcomes['chunks']:,} chunks in the index, in {seconds:.1f} s."


def _sum_up(facts: dict[str, Any], *, was_running: bool) -> None:
    headline("Summary")
    columns = ["Question", "Tier", "Grounding", "ms", "Trace"]
    say_table(columns, [_row(question) for question in facts["questions"]])
    say(
        "",
        f"Up in {facts['up_seconds']} s; {facts['answered']} questions answered, {facts['spans']} spans in the trace "
        f"above, {facts['memory_mib']:,} MiB for everything; {facts['seconds']} s in all.",
    )
    if facts["remaining"]:
        raise NotReady(f"These processes could not be ended: {facts['remaining']}")
    command = up.command()
    if was_running:
        say("Headrace was up before, and still is.")
    else:
        say(f"Nothing is left running; what was stored stays. To go on: {command} up")


def _row(question: dict[str, Any]) -> list[str]:
    text = question["text"] if len(question["text"]) <= 50 else f"{question['text'][:49]}…"
    return [text, question["tier"], question["grounding"], f"{question['total_ms']:,.0f}", question["trace_id"]]
