"""`headrace demo`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headrace_client.cli.console import notice, notices, say, say_json, say_table
from headrace_client.cli.options import JsonOption
from headrace_client.cli.tracing import traced
from headrace_client.client import Client
from headrace_client.endpoints import Endpoints, read_endpoints
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headrace_embedded import measuring, state
from headrace_embedded.cli import up
from headrace_embedded.cli.running import DONE, FAILED, run
from headrace_embedded.demo import corpus, tour
from headrace_embedded.demo.tour import BY_CALL, Advance
from headrace_embedded.errors import NotReady


def demo(as_json: JsonOption = False) -> None:
    """Take a tour: bring everything up, load Python's language reference, publish, ask, trace, judge, erase, and
    reconcile.

    Leaves nothing running, unless Headrace was up before. With --json the tour itself goes to standard error.
    """
    _quiet_libraries()
    run(lambda: _demo(quiet=as_json))


def _demo(*, quiet: bool) -> int:
    home = state.find_home(os.environ, Path.cwd())
    was_running = state.is_running(home)
    began = time.monotonic()
    _headline("Bringing up Kafka, PostgreSQL and the services")
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
    _headline("Taking everything down")
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
    _headline(f"Loading Python's language reference, {len(reference)} documents, as the source {corpus.SOURCE}")
    began = time.monotonic()
    with _bar(len(reference)) as advance:
        outcomes = await tour.put_documents(client, reference, advance)
    say(_loaded(outcomes, seconds=time.monotonic() - began))
    _headline("Publishing questions as a product does, on plain aiokafka, and reading the answers off the bus")
    published = await tour.publish_as_a_product(endpoints, say)
    asked = [await _ask(client, question) for question in BY_CALL]
    _headline("Where the time of the first question went")
    spans = await tour.draw_trace(client, asked[0], say)
    _headline("Saying that its answer was good")
    say(f"Recorded the thumb as {await tour.thumb_up(client, asked[0])}.")
    facts = await _erased(client, bus=bus)
    _headline("Closing the books")
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
    _headline(f"Erasing {subject}, who asked the last question, and reading back what is left")
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
    _headline(f"{question.why}. Asking over gRPC")
    say(f"? {question.text}")
    tier, masked = await tour.classify(client, question)
    if masked != question.text:
        say(f"  {tier}; every service after the classifier reads: {masked}")
    say("")
    return await tour.ask(client, question)


def _loaded(outcomes: dict[str, int], *, seconds: float) -> str:
    counts = [f"{outcomes[name]} {name}" for name in ("indexed", "unchanged") if outcomes.get(name)]
    return f"{', '.join(counts)}: {outcomes['chunks']:,} chunks in the index, in {seconds:.1f} s."


@dataclass
class _Counted:
    done: int = 0


@contextmanager
def _bar(total: int) -> Iterator[Advance]:
    console = notices()
    if not console.is_terminal:
        counted = _Counted()

        def count() -> None:
            counted.done += 1
            if counted.done % 20 == 0 or counted.done == total:
                notice(f"  {counted.done} of {total}")

        yield count
        return
    columns = (TextColumn("  Documents"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _headline(words: str) -> None:
    notice("", f"── {words}", style="bold")


def _sum_up(facts: dict[str, Any], *, was_running: bool) -> None:
    _headline("Summary")
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


def _quiet_libraries() -> None:
    for library in ("aiokafka", "asyncio", "opentelemetry", "grpc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
