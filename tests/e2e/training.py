"""What tests of whole trainings have in common: people who ask, and runs that are waited for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.training.v1.service_pb2 import StartTrainingRequest
from headrace.training.v1.training_pb2 import (
    RUN_STATE_CANCELLED,
    RUN_STATE_DONE,
    RUN_STATE_FAILED,
    RUN_STATE_REFUSED,
)
from headrace_client import Client
from headrace_client.credentials import find_credentials
from headrace_client.errors import NotFound
from headrace_embedded.trial import Trial

TENANT = "demo"
RUN_SECONDS = 1800.0
ENDED = (RUN_STATE_DONE, RUN_STATE_REFUSED, RUN_STATE_FAILED, RUN_STATE_CANCELLED)


def lenient(folder: Path) -> Path:
    """Rules that a model of a dozen rows can hold: each is asked, of few pairs, and allows for almost anything."""
    rules = yaml.safe_load(files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8"))
    for rule in rules["shares"].values():
        rule.update(falls_by=1.0, proven_by=1.0, least_pairs=1, needed="none", sure=0.99)
        rule.pop("by_kind", None)
    for rule in rules["ratios"].values():
        rule.update(times=100.0, least_pairs=1)
    rules["judges"].update(falls_by=1.0, least_pairs=1)
    rules["memorisation"].update(margin_bits=100.0, extracted=100)
    path = folder / "gate.yaml"
    path.write_text(yaml.safe_dump(rules), "utf-8")
    return path


@asynccontextmanager
async def developer(trial: Trial) -> AsyncIterator[Client]:
    """Whoever trains models."""
    credentials = find_credentials(os.environ, trial.endpoints, role="developer")
    async with Client.connect(trial.endpoints, credentials=credentials) as client:
        yield client


def headrace(trial: Trial, *words: str) -> str:
    """What the command says."""
    done = subprocess.run(
        [Path(sys.executable).parent / "headrace", *words],
        env={**os.environ, "HEADRACE_ENDPOINTS": str(trial.home / "endpoints.json"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def shown(trial: Trial, model: str) -> dict[str, Any]:
    """A model as it stands."""
    told: dict[str, Any] = json.loads(await asyncio.to_thread(headrace, trial, "models", "show", model, "--json"))
    return told


async def asked(client: Client, question: str, *, product: str) -> AnswerCompleted:
    """Asks, and waits until the answer is logged."""
    query_id = str(uuid.uuid4())
    await client.answer(question, tenant=TENANT, product=product, query_id=query_id, declared_tier=1)
    for _ in range(200):
        try:
            return (await client.interaction(tenant=TENANT, query_id=query_id)).interaction
        except NotFound:
            await asyncio.sleep(0.1)
    raise AssertionError("the interaction was not stored")


async def is_logged(client: Client, query_id: str) -> bool:
    """Whether the feedback logger has it."""
    try:
        await client.interaction(tenant=TENANT, query_id=query_id)
    except NotFound:
        return False
    return True


async def trained(person: Client, request: StartTrainingRequest) -> Any:
    """A run that has ended, and made a model."""
    run = (await person.start_training(request)).run
    async with asyncio.timeout(RUN_SECONDS):
        while run.state not in ENDED:
            await asyncio.sleep(1.0)
            run = await person.get_training(run.run_id, tenant=TENANT)
    assert run.model, f"{run.failure}; {run.rows} rows, {run.held_out_rows} held out, step {run.step}"
    return run
