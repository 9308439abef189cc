# ruff: noqa: N802  (gRPC names the methods)
"""`headrace train`, `headrace loop` and `headrace documents … --refresh`, against services of ten lines a method."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from headrace.document.v1 import service_pb2 as documents_pb2
from headrace.document.v1.service_pb2_grpc import DocumentServiceServicer, add_DocumentServiceServicer_to_server
from headrace.training.v1 import service_pb2, service_pb2_grpc, training_pb2
from headrace_client.cli.app import build_app
from headrace_client.cli.train_words import _FAILURES, _STATES
from typer.testing import CliRunner

RUN = "7a1f3c52-6f0e-4f0e-9d9b-0a2f6a0a6f10"
MODEL = "acme-generator@0123456789abcdef"


@dataclass
class FakeTraining(service_pb2_grpc.TrainingServiceServicer):
    """A run that trains in two looks. folded: somebody else's waits already."""

    run: training_pb2.TrainingRun = field(default_factory=training_pb2.TrainingRun)
    asked: list[service_pb2.StartTrainingRequest] = field(default_factory=list)
    folded: bool = False
    ends: training_pb2.RunState.ValueType = training_pb2.RUN_STATE_DONE
    failure: str = ""

    async def StartTraining(self, request: Any, context: Any) -> service_pb2.StartTrainingResponse:
        self.asked.append(request)
        cause = request.cause or training_pb2.CAUSE_PERSON
        self.run = training_pb2.TrainingRun(
            run_id=RUN,
            tenant=request.tenant,
            target=request.target,
            state=training_pb2.RUN_STATE_WAITING,
            causes=[cause],
            because=request.because,
            created_by="dora",
        )
        return service_pb2.StartTrainingResponse(run=self.run, created=not self.folded)

    async def WatchTraining(self, request: Any, context: Any) -> AsyncIterator[service_pb2.WatchTrainingResponse]:
        for step in (1, 2):
            self.run.state, self.run.step, self.run.steps = training_pb2.RUN_STATE_TRAINING, step, 2
            self.run.loss = 1 / step
            yield service_pb2.WatchTrainingResponse(run=self.run)
        self.run.state, self.run.failure = self.ends, self.failure
        self.run.rows, self.run.held_out_rows, self.run.without_grant = 412, 98, 23
        self.run.dataset_id = "4f2a1c52a7e98d4b"
        self.run.model = MODEL if self.ends == training_pb2.RUN_STATE_DONE else ""
        yield service_pb2.WatchTrainingResponse(run=self.run)

    async def GetTraining(self, request: Any, context: Any) -> service_pb2.GetTrainingResponse:
        if request.run_id != RUN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such run")
        return service_pb2.GetTrainingResponse(run=self.run)

    async def ListTrainings(self, request: Any, context: Any) -> service_pb2.ListTrainingsResponse:
        return service_pb2.ListTrainingsResponse(runs=[self.run] if self.run.run_id else [])

    async def CancelTraining(self, request: Any, context: Any) -> service_pb2.CancelTrainingResponse:
        self.run.state, self.run.failure = training_pb2.RUN_STATE_CANCELLED, "person"
        return service_pb2.CancelTrainingResponse(run=self.run)


@dataclass
class FakeLoop(service_pb2_grpc.LoopServiceServicer):
    """A loop that can be paused."""

    loop: service_pb2.GetLoopResponse = field(default_factory=service_pb2.GetLoopResponse)
    paused: list[service_pb2.PauseLoopRequest] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)

    async def GetLoop(self, request: Any, context: Any) -> service_pb2.GetLoopResponse:
        return self.loop

    async def PutLoopRules(self, request: Any, context: Any) -> service_pb2.PutLoopRulesResponse:
        self.loop.rules.CopyFrom(request.rules)
        self.loop.rules.version += 1
        return service_pb2.PutLoopRulesResponse(rules=self.loop.rules)

    async def PauseLoop(self, request: Any, context: Any) -> service_pb2.PauseLoopResponse:
        self.paused.append(request)
        return service_pb2.PauseLoopResponse(stopped_runs=[RUN], taken_out=[MODEL])

    async def ResumeLoop(self, request: Any, context: Any) -> service_pb2.ResumeLoopResponse:
        self.resumed.append(request.tenant)
        return service_pb2.ResumeLoopResponse()


class FakeDocuments(DocumentServiceServicer):
    """Indexes everything but what is called "same"."""

    async def Put(self, request: Any, context: Any) -> documents_pb2.PutResponse:
        is_same = "same" in request.document_id
        outcome = documents_pb2.OUTCOME_UNCHANGED if is_same else documents_pb2.OUTCOME_INDEXED
        return documents_pb2.PutResponse(outcome=outcome)

    async def Delete(self, request: Any, context: Any) -> documents_pb2.DeleteResponse:
        return documents_pb2.DeleteResponse(outcome=documents_pb2.OUTCOME_DELETED)


@dataclass
class House:
    training: FakeTraining
    loop: FakeLoop
    where: str


@pytest.fixture
async def house() -> AsyncIterator[House]:
    server, training, loop = grpc.aio.server(), FakeTraining(), FakeLoop()
    service_pb2_grpc.add_TrainingServiceServicer_to_server(training, server)
    service_pb2_grpc.add_LoopServiceServicer_to_server(loop, server)
    add_DocumentServiceServicer_to_server(FakeDocuments(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield House(training, loop, f"trainer=127.0.0.1:{port},ingest=127.0.0.1:{port}")
    await server.stop(None)


async def command(house: House, *arguments: str) -> Any:
    environ = {"HEADRACE_ENDPOINTS": house.where, "HEADRACE_HOME": "", "COLUMNS": "160"}
    return await asyncio.to_thread(CliRunner().invoke, build_app(), list(arguments), env=environ)


async def test_a_run_is_asked_for_and_followed_to_its_end(house: House) -> None:
    ran = await command(
        house,
        *("train", "start", "--tenant", "acme", "--approved", "--kind", "how-to", "--method", "full"),
        *("--epochs", "2", "--seed", "7", "--base", "tiny"),
    )
    assert ran.exit_code == 0, ran.output
    (request,) = house.training.asked
    assert (request.tenant, request.base, request.seed, request.cause) == ("acme", "tiny", 7, 0)
    assert (request.query.approved_only, list(request.query.kinds)) == (True, ["how-to"])
    assert (request.recipe.method, request.recipe.epochs) == (training_pb2.METHOD_FULL, 2.0)
    assert f"Training {RUN}: done" in ran.stdout
    assert "412 rows to learn from, 98 held out" in ran.stdout
    assert "23 rows were left out: there is no grant to train on them" in ran.stdout
    assert f"headrace models show {MODEL} --tenant acme" in ran.stdout


async def test_an_embedder_is_asked_for_by_its_name(house: House) -> None:
    ran = await command(house, "train", "start", "--target", "embedder")
    assert ran.exit_code == 0, ran.output
    (request,) = house.training.asked
    assert request.target == training_pb2.TARGET_EMBEDDER
    assert f"Training {RUN} of the embedder: done" in ran.stdout


async def test_what_nobody_says_is_left_to_the_rules(house: House) -> None:
    house.training.folded = True
    ran = await command(house, "train", "start", "--detach", "--json")
    assert ran.exit_code == 0, ran.output
    (request,) = house.training.asked
    assert not request.HasField("query")
    assert not request.HasField("recipe")
    assert "yours is folded into it" in ran.stderr
    assert f"headrace train watch {RUN} --tenant demo" in ran.stderr
    told = json.loads(ran.stdout)
    assert (told["run_id"], told["state"], told["causes"]) == (RUN, "waiting", ["person"])


async def test_a_run_that_fails_says_what_to_do(house: House) -> None:
    house.training.ends, house.training.failure = training_pb2.RUN_STATE_FAILED, "nan_loss"
    ran = await command(house, "train", "start")
    assert ran.exit_code == 1
    assert "try a lower learning rate" in ran.stdout


async def test_runs_are_listed_shown_watched_and_stopped(house: House) -> None:
    assert "Nothing was trained yet" in (await command(house, "train", "list")).stderr
    await command(house, "train", "start", "--detach")
    assert RUN in (await command(house, "train", "list")).stdout
    (line,) = (await command(house, "train", "list", "--json")).stdout.splitlines()
    assert (json.loads(line)["run_id"], json.loads(line)["target"]) == (RUN, "generator")
    assert "waiting" in (await command(house, "train", "show", RUN)).stdout
    assert (await command(house, "train", "watch", RUN)).exit_code == 0
    assert "somebody stopped it" in (await command(house, "train", "cancel", RUN)).stdout
    assert (await command(house, "train", "show", "nobody")).exit_code == 1


async def test_rules_change_in_what_is_named_alone(house: House, tmp_path: Path) -> None:
    house.loop.loop.rules.recipe.epochs = 3.0
    house.loop.loop.rules.runs_a_day = 4
    ran = await command(
        house, "loop", "rules", "--automatic", "--debounce", "60", "--approved", "--canary-share", "0.2"
    )
    assert ran.exit_code == 0, ran.output
    rules = house.loop.loop.rules
    assert (rules.automatic, rules.debounce_seconds, rules.runs_a_day, rules.recipe.epochs) == (True, 60, 4, 3.0)
    assert (rules.query.approved_only, rules.canary_share) == (True, 0.2)
    changed = await command(house, "loop", "rules", "--train", "generator", "--train", "kinds")
    assert "they train: generator, kinds" in changed.output
    assert (await command(house, "loop", "rules", "--train", "kinds")).exit_code == 0
    assert list(rules.targets) == [training_pb2.TARGET_KINDS]
    shown = await command(house, "loop", "rules", "--json")
    assert json.loads(shown.stdout)["debounce_seconds"] == 60
    file = tmp_path / "rules.yaml"
    file.write_text("runs_a_day: 9\nrecipe: {rank: 8}\n")
    assert (await command(house, "loop", "rules", "--file", str(file))).exit_code == 0
    assert (rules.automatic, rules.runs_a_day, rules.recipe.rank) == (False, 9, 8)
    file.write_text("runs_a_day: 2\n")
    assert (await command(house, "loop", "rules", str(file))).exit_code == 0
    assert rules.runs_a_day == 2
    assert (await command(house, "loop", "rules", str(file), "--file", str(tmp_path / "other"))).exit_code == 2
    file.write_text("nobody_knows: 9\n")
    assert (await command(house, "loop", "rules", "--file", str(file))).exit_code == 2


async def test_the_loop_is_paused_and_resumed(house: House) -> None:
    ran = await command(house, "loop", "pause", "--all", "--at-once", "--reason", "too loud")
    assert (house.loop.paused[0].tenant, house.loop.paused[0].reason, house.loop.paused[0].at_once) == (
        "",
        "too loud",
        True,
    )
    assert f"stopped run {RUN}" in ran.stdout
    assert f"took out {MODEL}" in ran.stdout
    assert "headrace loop resume --all" in ran.stdout
    ran = await command(house, "loop", "pause", "--tenant", "acme")
    assert house.loop.paused[1].tenant == "acme"
    assert "What trains now goes on" in ran.stderr
    house.loop.loop.live_by_target["embedder"] = "acme-embedder@1"
    assert "live embedder acme-embedder@1" in (await command(house, "loop", "show")).stdout
    house.loop.loop.paused, house.loop.loop.paused_by = True, "sam"
    assert "by sam" in (await command(house, "loop", "show")).stdout
    await command(house, "loop", "resume", "--all")
    await command(house, "loop", "resume", "--tenant", "acme")
    assert house.loop.resumed == ["", "acme"]


async def test_a_stewards_change_asks_for_a_run(house: House, tmp_path: Path) -> None:
    for name in ("joins.md", "same.md"):
        (tmp_path / name).write_text("# Joins")
    put = ("documents", "put", "--source", "sql", "--refresh")
    ran = await command(house, *put, str(tmp_path))
    assert ran.exit_code == 0, ran.output
    (request,) = house.training.asked
    assert (request.cause, list(request.because)) == (training_pb2.CAUSE_STEWARD, ["document sql/joins.md"])
    assert f"headrace train watch {RUN} --tenant demo" in ran.stderr
    (tmp_path / "joins.md").unlink()
    ran = await command(house, *put, str(tmp_path))
    assert "nothing to learn anew" in ran.stderr
    ran = await command(house, "documents", "delete", "sql", "joins.md", "--refresh")
    assert len(house.training.asked) == 2
    await command(house, "documents", "put", "--source", "sql", str(tmp_path))
    assert len(house.training.asked) == 2


def test_every_state_and_failure_has_its_words() -> None:
    assert set(_STATES) == set(training_pb2.RunState.values()) - {0}
    assert all(word and word == word.strip() for word in _FAILURES.values())
