"""The steps from the run to the new model in service, and what it is worth."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

from headrace.feedback.v1.datasets_pb2 import SPLIT_TEST
from headrace.feedback.v1.reports_pb2 import CompareResponse
from headrace.feedback.v1.runs_pb2 import RUN_STATE_DONE as ASKED
from headrace.feedback.v1.runs_pb2 import Run
from headrace.inference.v1.routes_pb2 import VariantReference
from headrace.training.v1.models_pb2 import MODEL_STATE_CANARY, MODEL_STATE_CANDIDATE, MODEL_STATE_LIVE, Model
from headrace.training.v1.training_pb2 import (
    RUN_STATE_CANCELLED,
    RUN_STATE_DONE,
    RUN_STATE_FAILED,
    RUN_STATE_REFUSED,
    TrainingRun,
)
from headrace_client.cli.report_plots import write_plot
from headrace_client.errors import TimedOut, Unavailable

from headrace_embedded.demo import contest, sql_guide
from headrace_embedded.demo.corpus import TENANT
from headrace_embedded.demo.loop import asking, words
from headrace_embedded.demo.loop.stage import Facts, Stage
from headrace_embedded.demo.loop.steps import ask_for_a_model, champion
from headrace_embedded.errors import NotReady

#: Seconds that a run may take from its cause to its end, that a canary may take, and between two looks at it.
RUN_S, CANARY_S, LOOK_S = 3600.0, 1200.0, 1.0
#: Questions that are asked in one go while a canary runs.
BATCH = 16
#: What the comparison is told by, where the report has it.
MEASURES = ("key_facts", "token_f1", "rouge_l", "refusal")


async def training(stage: Stage) -> Facts:
    """Follows the run that the steward's change started; where that could not go on, another."""
    run_id = stage.known("refresh", "run")
    if (await stage.client.get_training(run_id, tenant=TENANT)).state in (RUN_STATE_FAILED, RUN_STATE_CANCELLED):
        run_id = (await ask_for_a_model(stage)).run_id
    run = await follow(stage, run_id)
    return {"model": run.model, "compute": run.compute_seconds, "held_out_loss": run.held_out_loss}


async def model_of(stage: Stage, name: str) -> Model:
    """A model as it stands."""
    return (await stage.client.model(name, tenant=TENANT)).model


async def follow(stage: Stage, run_id: str) -> TrainingRun:
    """Sees a run to its end and tells how it went. Raises NotReady for one that made no model."""
    run, said = TrainingRun(run_id=run_id), ""
    async for run in _looks(stage, run_id):
        if (line := words.progress_line(run)) not in ("", said):
            said = line
            stage.say(line)
    stage.say(*words.run_lines(run))
    if run.model:
        model = await model_of(stage, run.model)
        stage.say(*words.gate_lines(model.gate), words.memorisation_line(model.memorisation))
    if run.state != RUN_STATE_DONE:
        raise NotReady(_why(run))
    return run


async def _looks(stage: Stage, run_id: str) -> AsyncGenerator[TrainingRun, None]:
    """A run as it stands, look after look until it has ended: no stream is held longer than some minutes."""
    end = asyncio.get_running_loop().time() + RUN_S
    while asyncio.get_running_loop().time() < end:
        with contextlib.suppress(Unavailable, TimedOut):
            run = await stage.client.get_training(run_id, tenant=TENANT)
            yield run
            if run.HasField("ended_at"):
                return
        await asyncio.sleep(LOOK_S)
    raise NotReady(f"run {run_id} goes on; headrace demo loop follows it on, headrace train show tells more")


def _why(run: TrainingRun) -> str:
    if run.state == RUN_STATE_REFUSED:
        return (
            f"The gate refused {run.model}, for what is said above; the champion goes on answering. "
            "headrace demo loop --anew begins again."
        )
    return (
        f"Run {run.run_id} ended as {words.state(run)}: {run.failure or 'without a reason'}. "
        f"headrace train show {run.run_id} tells more; headrace demo loop asks for another."
    )


async def rollout(stage: Stage) -> Facts:
    """Users go on asking until the canary has proven itself, and tells when it went live."""
    model = await carry(stage, stage.known("training", "model"), occasion="rollout")
    live = model.changed_at.ToDatetime(UTC)
    since = (live - datetime.fromisoformat(stage.known("refresh", "began"))).total_seconds()
    stage.say(f"From the steward's change to the live model: {words.duration(since)}.")
    variant = model.variant
    return {"model": model.model, "variant": variant.name, "version": int(variant.version), "seconds": round(since, 1)}


async def carry(stage: Stage, name: str, *, occasion: str) -> Model:
    """Asks, batch after batch, until a model is live. Raises NotReady for one that was rolled back."""
    end = asyncio.get_running_loop().time() + CANARY_S
    number = 0
    while (model := await model_of(stage, name)).state in (MODEL_STATE_CANDIDATE, MODEL_STATE_CANARY):
        if asyncio.get_running_loop().time() > end:
            raise NotReady(f"{name} proved nothing in {CANARY_S:.0f} s: headrace models show {name}")
        if model.state == MODEL_STATE_CANDIDATE:
            await asyncio.sleep(LOOK_S)
            continue
        number += 1
        wanted = asking.askings(sql_guide.traffic(), occasion=f"{occasion} {number}", round_=stage.round)[:BATCH]
        await asking.ask_all(stage.client, wanted, lambda: None)
    stage.say(*words.rollout_lines(model.rollout))
    if model.state != MODEL_STATE_LIVE:
        raise NotReady(f"{name} was taken back: {model.ended_by}. The champion goes on answering.")
    return model


async def measure(stage: Stage, home: Path) -> Facts:
    """Asks both models what nobody asked before, each in its own words, and compares pair by pair."""
    questions = [*sql_guide.held_out(), *sql_guide.beyond()]
    rows = [contest.to_row(question, SPLIT_TEST, source=sql_guide.SOURCE) for question in questions]
    dataset = await contest.store_rows(stage.client, rows)
    arms = [champion(stage), tuned(stage)]
    run = await contest.measure(stage.client, dataset, arms, judges=(), most=len(rows))
    run = await _asked(stage, run)
    with stage.bar("Scores", total := await contest.waiting(stage.client)) as advance:
        await contest.measured(stage.client, total, advance)
    request = contest.over_pairs(arms, run)
    response = await stage.client.compare(request)
    stage.say("In the model's own words, which nobody checks here; served answers are checked against the passages:")
    gains = _gains(stage, response)
    write_plot(request, response, page := home / "demo-loop.html")
    stage.say(f"The same as a page: {page}")
    return {"gains": gains, "run": run.run_id, "verdict": response.verdict}


def tuned(stage: Stage) -> VariantReference:
    """The variant that answers with the new model."""
    return VariantReference(name=stage.known("rollout", "variant"), version=stage.known("rollout", "version"))


async def _asked(stage: Stage, run: Run) -> Run:
    with stage.bar("Answers", run.total) as advance:
        done = 0
        async for stands in stage.client.follow_run(run.run_id, tenant=TENANT):
            run = stands
            for _ in range(run.answered + run.failed - done):
                advance()
            done = run.answered + run.failed
    if run.state != ASKED:
        raise NotReady(f"the run {run.run_id} ended as {run.state}: {run.failure}")
    return run


def _gains(stage: Stage, response: CompareResponse) -> Facts:
    lines = [line for line in response.lines if line.measure in MEASURES and not line.kind]
    if not lines:
        raise NotReady(f"nothing could be compared: {'; '.join(response.notes) or response.verdict}")
    stage.say(*(f"  {words.gain_line(line)}" for line in lines), response.verdict)
    return {
        line.measure: {
            "before": line.a.value,
            "after": line.b.value,
            "gain": line.difference.value,
            "low": line.difference.low,
            "high": line.difference.high,
            "questions": line.difference.answers,
        }
        for line in lines
    }
