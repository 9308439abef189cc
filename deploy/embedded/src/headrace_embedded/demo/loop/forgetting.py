"""The last steps: an end user is erased, and the models that learned from them with them; and the trace of it all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from headrace.privacy.v1.erasure_pb2 import Erasure, ErasureScope
from headrace.training.v1.models_pb2 import MODEL_STATE_RETIRED
from headrace.training.v1.service_pb2 import TraceLineageRequest, TraceLineageResponse
from headrace.training.v1.training_pb2 import CAUSE_ERASURE, TrainingRun
from headrace_client.cli.trace import fetch_trace, to_waterfall
from headrace_client.errors import NotFound
from headrace_client.receipts import Forged, read_keys, verify_completion, verify_receipt
from headrace_client.waterfall import waterfall

from headrace_embedded.demo.corpus import TENANT
from headrace_embedded.demo.loop import words
from headrace_embedded.demo.loop.learning import carry, follow, model_of
from headrace_embedded.demo.loop.stage import Facts, Stage
from headrace_embedded.demo.loop.steps import erased
from headrace_embedded.demo.tour import ERASURE_S, WIDTH
from headrace_embedded.errors import NotReady

#: Seconds until an erasure must have started a run, and until the last model that it reached is gone.
CAUSE_S, RETIRED_S = 60.0, 120.0
#: Lines of the trace that are drawn.
DRAWN = 150


async def erasure(stage: Stage) -> Facts:
    """Erases the user: their rows go, the models that learned from them are found, and the receipt is signed."""
    subject = erased(stage)
    stage.say(*_lineage_lines(await stage.client.lineage(TraceLineageRequest(tenant=TENANT, subject=subject))))
    began = stage.now()
    found = await _erase(stage, subject)
    claims = _verified(stage, found.receipt)
    stage.say(f"The receipt is signed, and says so: erasure {claims['erasure_id'][:8]}, closed {claims['closed_at']}.")
    if not found.models:
        raise NotReady(f"the erasure reached no model: headrace erase show {found.erasure_id}")
    stage.say(*words.reached_lines(found.models))
    return {"erasure": found.erasure_id, "began": began.isoformat()}


async def relearning(stage: Stage) -> Facts:
    """Sees the retrained model into service, the old ones out of it, and the receipt's completion."""
    erasure_id = stage.known("erasure", "erasure")
    run = await follow(stage, (await _caused(stage, erasure_id)).run_id)
    await carry(stage, run.model, occasion="relearning")
    found = await _retired(stage, erasure_id)
    stage.say(*words.reached_lines(found.models))
    _completed(stage, found)
    took = (stage.now() - datetime.fromisoformat(stage.known("erasure", "began"))).total_seconds()
    stage.say(f"The completion of the receipt is signed too. From the request to that: {words.duration(took)}.")
    return {"model": run.model, "seconds": round(took, 1)}


def _lineage_lines(response: TraceLineageResponse) -> Sequence[str]:
    counted = [f"{node.count or 1} {node.kind}" for node in response.nodes]
    return ["What was made of their questions, by lineage: " + ", ".join(counted)]


async def _erase(stage: Stage, subject: str) -> Erasure:
    scope = ErasureScope(tenant=TENANT, subject=subject)
    try:
        found = await stage.client.erase(scope, reason="They asked to be forgotten")
    except NotFound:  # the tour was left just when they had been erased
        found = (await stage.client.erasures(tenant=TENANT))[0]
    async for stands in stage.client.follow_erasure(found.erasure_id, timeout=ERASURE_S):
        found = stands
    return found


def _verified(stage: Stage, receipt: str) -> dict[str, str]:
    try:
        return verify_receipt(receipt, _keys(stage))
    except Forged as error:
        raise NotReady(f"the receipt cannot be believed: {error}") from error


def _completed(stage: Stage, found: Erasure) -> None:
    try:
        verify_completion(found.completion, found.receipt, _keys(stage))
    except Forged as error:
        raise NotReady(f"the receipt's completion cannot be believed: {error}") from error


def _keys(stage: Stage) -> str:
    return read_keys(Path(stage.endpoints.keys) / "identities.json")


async def _caused(stage: Stage, erasure_id: str) -> TrainingRun:
    """The run that the erasure started."""
    end = asyncio.get_running_loop().time() + CAUSE_S
    while asyncio.get_running_loop().time() < end:
        for run in await stage.client.trainings(tenant=TENANT):
            if CAUSE_ERASURE in run.causes and f"erasure {erasure_id}" in run.because:
                return run
        await asyncio.sleep(0.5)
    raise NotReady(f"erasure {erasure_id} started no run in {CAUSE_S:.0f} s: headrace loop show tells whether it may")


async def _retired(stage: Stage, erasure_id: str) -> Erasure:
    """The erasure, once every model that it reached is gone."""
    end = asyncio.get_running_loop().time() + RETIRED_S
    while asyncio.get_running_loop().time() < end:
        found = await stage.client.erasure(erasure_id)
        if found.completion and all(model.HasField("retired_at") for model in found.models):
            return found
        await asyncio.sleep(0.5)
    raise NotReady(f"models that the erasure reached are still there: headrace erase show {erasure_id}")


async def trace(stage: Stage) -> Facts:
    """Draws the one trace, from the first drifting query to the first answer of the model that it led to."""
    model = await model_of(stage, stage.known("training", "model"))
    if model.state != MODEL_STATE_RETIRED:
        stage.say(f"{model.model} still stands, though it was to be retired.")
    try:
        spans = await fetch_trace(stage.client, model.trace_id, wait=10.0)
    except NotFound as error:
        raise NotReady(f"no span of the trace {model.trace_id} is kept") from error
    # What became of the model later, its erasure too, is in the same trace.
    first = min((span.ended_at.ToNanoseconds() for span in spans if span.name.startswith("first answer")), default=0)
    drawn = [to_waterfall(span) for span in spans if not first or span.started_at.ToNanoseconds() <= first]
    lines = [line.plain for line in waterfall(drawn, WIDTH)]
    stage.say(*lines[:DRAWN])
    if len(lines) > DRAWN:
        stage.say(f"and {len(lines) - DRAWN} lines more: headrace trace {model.trace_id}")
    return {"trace": model.trace_id, "spans": len(spans)}
