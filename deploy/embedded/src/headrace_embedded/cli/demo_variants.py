"""`headrace demo variants`: two prompts, questions with known answers, and a report that decides."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.feedback.v1.reports_pb2 import CompareRequest, CompareResponse
from headrace.feedback.v1.runs_pb2 import RUN_STATE_DONE, Run
from headrace.inference.v1.routes_pb2 import KindQuality, VariantReference
from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.report_plots import write_plot
from headrace_client.cli.report_words import report_json, report_lines
from headrace_client.client import Client
from headrace_client.endpoints import Endpoints, read_endpoints

from headrace_embedded import state
from headrace_embedded.cli import up
from headrace_embedded.cli.running import DONE, FAILED
from headrace_embedded.cli.telling import bar, headline
from headrace_embedded.demo import contest, corpus, tour
from headrace_embedded.demo.corpus import TENANT
from headrace_embedded.demo.questions import SEED, halves, known_questions
from headrace_embedded.errors import NotReady

#: A judge reads every pair twice: so many are enough to see what it is worth.
JUDGED = 8


@dataclass
class Facts:
    """What the tour found, for --json and for the summary."""

    answered: Counter[str] = field(default_factory=Counter)
    reports: dict[str, Any] = field(default_factory=dict)
    plots: list[str] = field(default_factory=list)
    run_id: str = ""


def compare_prompts(*, quiet: bool) -> int:
    """Takes the tour. Returns the exit code."""
    home = state.find_home(os.environ, Path.cwd())
    was_running = state.is_running(home)
    began = time.monotonic()
    headline("Bringing up Kafka, PostgreSQL and the services")
    up.bring_up(home, {})
    try:
        # What is read by a program has standard output to itself.
        with contextlib.redirect_stdout(sys.stderr) if quiet else contextlib.nullcontext():
            facts = asyncio.run(_tour(read_endpoints(home / "endpoints.json"), home))
    finally:
        remaining = [] if was_running else _end(home)
    seconds = round(time.monotonic() - began, 1)
    if quiet:
        say_json(_json(facts) | {"seconds": seconds, "remaining": remaining})
    else:
        say("", f"Done in {seconds:.0f} s. Asked anew with the same seed ({SEED}), the models say the same again.")
    return FAILED if remaining else DONE


def _end(home: Path) -> list[int]:
    headline("Taking everything down")
    return up.take_down(home).remaining


async def _tour(endpoints: Endpoints, home: Path) -> Facts:
    facts = Facts()
    async with Client.connect(endpoints) as client:
        await _load(client)
        variants = await _prepare(client)
        await _ask(client, variants, facts)
        run = await _measure(client, variants, facts)
        await _report(client, variants, run, facts, home)
    return facts


async def _load(client: Client) -> None:
    reference = corpus.reference()
    headline(f"Loading Python's language reference, {len(reference)} documents")
    with bar("Documents", len(reference)) as advance:
        await tour.put_documents(client, reference, advance)


async def _prepare(client: Client) -> list[VariantReference]:
    headline("Telling what kinds of question there are, by examples that are not measured on")
    say_table(*_kinds(await contest.learn_kinds(client, halves(known_questions())["tune"])))
    headline("Storing two prompts, and a variant of each that is the same in all else")
    variants = await contest.put_variants(client)
    for name, variant in zip("AB", variants, strict=True):
        say(f"{name}: {variant.name} {variant.version}")
    say(f"What differs: headrace prompts diff {contest.A} {contest.B}")
    return variants


def _kinds(quality: Sequence[KindQuality]) -> tuple[list[str], list[list[str]]]:
    rows = [[one.kind, str(one.examples), f"{one.recall:.0%}", f"{one.precision:.0%}"] for one in quality]
    return ["kind", "examples", "recognised", "rightly"], rows


async def _ask(client: Client, variants: Sequence[VariantReference], facts: Facts) -> None:
    headline(f"Half of the traffic to each; asking {contest.LIVE} questions as a product does")
    await contest.split_the_traffic(client, variants)
    try:
        with bar("Questions", contest.LIVE) as advance:
            facts.answered = await contest.ask_live(client, known_questions(), advance)
    finally:
        await contest.take_the_route_away(client)
    say(", ".join(f"{name} answered {number}" for name, number in sorted(facts.answered.items())))


async def _measure(client: Client, variants: Sequence[VariantReference], facts: Facts) -> Run:
    split = halves(known_questions())
    headline(
        f"Measuring both on the {len(split['test'])} questions that nobody chose anything by, against known answers"
    )
    dataset = await contest.store_the_questions(client, split)
    say(f"Dataset {dataset.dataset_id[:12]}: {dataset.rows} rows, {dataset.test_rows} held out.")
    run = await contest.measure(client, dataset, variants, judges=(), most=dataset.test_rows)
    facts.run_id = run.run_id
    run = await _followed(client, run)
    headline(f"Having a judge look at {JUDGED} of them, each pair both ways round")
    judge = await contest.put_the_judge(client)
    calibrated = judge.calibration.state or "never calibrated"
    say(f"{judge.name} {judge.version}: {calibrated}, so it is shown and decides nothing.")
    judged = await contest.measure(client, dataset, variants, judges=[judge.name], most=JUDGED)
    judged = await _followed(client, judged)
    say(*_verdicts(await client.compare(contest.over_pairs(variants, judged)), judge.name))
    return run


async def _followed(client: Client, run: Run) -> Run:
    """Sees a run to its end, and all that came of it measured."""
    with bar("Answers", run.total) as advance:
        done = 0
        async for stands in client.follow_run(run.run_id, tenant=TENANT):
            run = stands
            for _ in range(run.answered + run.failed - done):
                advance()
            done = run.answered + run.failed
    if run.state != RUN_STATE_DONE:
        raise NotReady(f"the run {run.run_id} ended as {run.state}: {run.failure}")
    with bar("Scores", total := await contest.waiting(client)) as advance:
        await contest.measured(client, total, advance)
    return run


def _verdicts(response: CompareResponse, judge: str) -> list[str]:
    lines = [line for line in response.lines if line.measure.startswith(f"judge:{judge}") and not line.kind]
    if not lines:
        return [
            "None of its verdicts could be read: a model this small is no judge. Name a larger backend, and calibrate."
        ]
    return [f"{line.measure}: {line.sentence}" for line in lines]


async def _report(client: Client, variants: Sequence[VariantReference], run: Run, facts: Facts, home: Path) -> None:
    headline("What was served: live answers, checked against the passages and mended where need be")
    await _compare(client, "live", contest.over_live(variants), facts)
    headline("What each prompt does by itself: the same questions to both, pair by pair")
    request = contest.over_pairs(variants, run)
    response = await _compare(client, "by itself", request, facts)
    file = home / "demo-variants.html"
    write_plot(request, response, file)
    facts.plots.append(str(file))
    say("", f"The same as a page: {file}")


async def _compare(client: Client, name: str, request: CompareRequest, facts: Facts) -> CompareResponse:
    response = await client.compare(request)
    facts.reports[name] = report_json(request, response)
    say(*report_lines(request, response))
    return response


def _json(facts: Facts) -> dict[str, Any]:
    return {
        "answered": dict(facts.answered),
        "run_id": facts.run_id,
        "reports": facts.reports,
        "plots": facts.plots,
    }
