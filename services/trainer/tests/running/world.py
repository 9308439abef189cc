# ruff: noqa: N802  (gRPC names the methods)
"""What stands around a process of the trainer: Kafka, Postgres, and neighbours of a few lines."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from headrace.feedback.v1 import datasets_pb2, datasets_pb2_grpc
from headrace.feedback.v1.datasets_pb2 import SPLIT_TEST, SPLIT_TRAIN, Dataset, DatasetQuery, DatasetRow
from headrace.inference.v1 import prompts_pb2, prompts_pb2_grpc, routes_pb2, routes_pb2_grpc, variants_pb2
from headrace.inference.v1.variants_pb2_grpc import VariantServiceServicer, add_VariantServiceServicer_to_server
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN, TIER_1
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace.training.v1.service_pb2_grpc import LoopServiceStub, TrainingServiceStub
from headrace_embedded import testing
from headrace_identity.testing import Issuer
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.admission import Admission
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import Servicer, open_grpc_server
from headrace_runtime.testing import serving_keys

ISSUER = Issuer()
SECONDS = 60.0
SNAPSHOT = "d" * 64
SECRET = "Fontanelle drives the seventh wheel"


@dataclass
class Datasets(datasets_pb2_grpc.DatasetServiceServicer):
    """One snapshot of some rows, built by whatever query. refusing: how the next calls end."""

    rows: int = 8
    refusing: grpc.StatusCode | None = None
    built: list[datasets_pb2.BuildDatasetRequest] = field(default_factory=list)
    state: datasets_pb2.DatasetState.ValueType = datasets_pb2.DATASET_STATE_USABLE

    def snapshot(self, tenant: str) -> Dataset:
        return Dataset(
            dataset_id=SNAPSHOT,
            tenant=tenant,
            rows=self.rows,
            test_rows=1,
            tier=TIER_1,
            state=self.state,
            query=DatasetQuery(purpose=PURPOSE_TRAIN),
            exclusions=[datasets_pb2.DatasetExclusion(reason="no_grant", tier=3, rows=5)],
        )

    async def BuildDataset(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.BuildDatasetResponse]:
        self.built.append(request)
        if self.refusing is not None:
            await context.abort(self.refusing, "no")
        yield datasets_pb2.BuildDatasetResponse(done=1, total=2)
        yield datasets_pb2.BuildDatasetResponse(dataset=self.snapshot(request.tenant))

    async def GetDataset(self, request: Any, context: Any) -> datasets_pb2.GetDatasetResponse:
        if not SNAPSHOT.startswith(request.dataset):
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such dataset")
        return datasets_pb2.GetDatasetResponse(dataset=self.snapshot(request.tenant))

    async def ReadDataset(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.ReadDatasetResponse]:
        if self.refusing is not None:
            await context.abort(self.refusing, "no")
        for place in range(self.rows):
            row = DatasetRow(
                row_id=str(place),
                split=SPLIT_TRAIN if place else SPLIT_TEST,
                question=f"Who drives wheel {place}?",
                answer=f"{SECRET} {place}.",
                passages=[f"{SECRET} {place}. It is made of oak."],
            )
            yield datasets_pb2.ReadDatasetResponse(dataset=self.snapshot(request.tenant), rows=[row])


@dataclass
class Variants(VariantServiceServicer):
    """The house's own variant, and every model loaded. A variant that is put is refused, so no gate opens."""

    models: Path

    async def GetVariant(self, request: Any, context: Any) -> variants_pb2.GetVariantResponse:
        reading = variants_pb2.Reading(passages=3, passage_tokens=700)
        variant = variants_pb2.Variant(name="default", version=1, prompt="grounded", prompt_version=1, reading=reading)
        variant.decoding.max_output_tokens = 96
        return variants_pb2.GetVariantResponse(variant=variant)

    async def ListTrainedModels(self, request: Any, context: Any) -> variants_pb2.ListTrainedModelsResponse:
        versions = [folder.name.partition("@")[2] for folder in self.models.iterdir()]
        up = [variants_pb2.TrainedModel(model=ModelIdentity(version=one), state="up") for one in versions]
        return variants_pb2.ListTrainedModelsResponse(models=up)

    async def PutVariant(self, request: Any, context: Any) -> variants_pb2.PutVariantResponse:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no")
        raise AssertionError


class Prompts(prompts_pb2_grpc.PromptServiceServicer):
    """One prompt."""

    async def GetPrompt(self, request: Any, context: Any) -> prompts_pb2.GetPromptResponse:
        prompt = prompts_pb2.Prompt(name="grounded", version=1, system="Answer.", question="{passages}\n\n{question}")
        return prompts_pb2.GetPromptResponse(prompt=prompt)


class Routes(routes_pb2_grpc.RouteServiceServicer):
    """No routes."""

    async def ListRoutes(self, request: Any, context: Any) -> routes_pb2.ListRoutesResponse:
        return routes_pb2.ListRoutesResponse()


@dataclass
class World:
    """Everything around the service."""

    environment: Mapping[str, str]
    kafka: str
    database: testing.Database
    datasets: Datasets
    work: Path
    logs: list[Path] = field(default_factory=list)
    served: str = ""

    @asynccontextmanager
    async def instance(self, **more: str) -> AsyncIterator[tuple[Any, Any, asyncio.subprocess.Process]]:
        """A process of the service, once it serves: its two services, and itself."""
        port = _free_port()
        environment = {**os.environ, **self.environment, "HEADRACE_TRAINER_LISTEN": f"127.0.0.1:{port}", **more}
        self.logs.append(self.work / f"log-{port}")
        with self.logs[-1].open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace_trainer", env=environment, stdout=log, stderr=log
            )
        try:
            dora, sam = ISSUER.credentials("developer", subject="dora"), ISSUER.credentials("sre", subject="sam")
            async with open_channel(f"127.0.0.1:{port}", dora) as one, open_channel(f"127.0.0.1:{port}", sam) as other:
                await asyncio.wait_for(one.channel_ready(), SECONDS)
                yield TrainingServiceStub(one), LoopServiceStub(other), process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()

    def set_pace(self, seconds: float) -> None:
        """How long a step of the tiny worker takes."""
        (self.work / "pace").write_text(str(seconds))

    def workers(self) -> Sequence[int]:
        """The tiny workers that were begun, by process id."""
        pids = self.work / "pids"
        return [int(line) for line in pids.read_text().split()] if pids.exists() else []


@asynccontextmanager
async def open_world(schema: testing.Database, kafka: str, work: Path, **settings: str) -> AsyncIterator[World]:
    """Neighbours that serve, and what a process is told of them."""
    datasets = Datasets()  # type: ignore[abstract]  # what it lacks nobody calls
    told = ISSUER.settings(work)
    admission = Admission(ISSUER.verifier())
    servicers = [
        Servicer(datasets_pb2_grpc.add_DatasetServiceServicer_to_server, datasets, "DatasetService"),
        Servicer(add_VariantServiceServicer_to_server, Variants(work / "models"), "VariantService"),  # type: ignore[abstract]
        Servicer(prompts_pb2_grpc.add_PromptServiceServicer_to_server, Prompts(), "PromptService"),  # type: ignore[abstract]
        Servicer(routes_pb2_grpc.add_RouteServiceServicer_to_server, Routes(), "RouteService"),  # type: ignore[abstract]
    ]
    async with AsyncExitStack() as stack:
        classifier = await stack.enter_async_context(serving_keys(MemoryKeyring()))
        opened = partial(open_grpc_server, drain_seconds=1, admission=admission)
        neighbour = await stack.enter_async_context(opened("127.0.0.1:0", servicers))
        settings = {
            "KAFKA": kafka,
            "DATABASE": schema.dsn("trainer"),
            "CLASSIFIER": classifier,
            "FEEDBACK": f"127.0.0.1:{neighbour.port}",
            "INFERENCE": f"127.0.0.1:{neighbour.port}",
            "RETRIEVER": f"127.0.0.1:{neighbour.port}",
            "EMBEDDER": f"127.0.0.1:{neighbour.port}",
            "WORK": str(work),
            "MODELS": str(work / "models"),
            **{name.upper(): str(value) for name, value in told.items()},
            **settings,
        }
        environment = {f"HEADRACE_TRAINER_{name}": value for name, value in settings.items()}
        yield World(environment, kafka, schema, datasets, work)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
