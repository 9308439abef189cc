# ruff: noqa: N802  (gRPC names the methods)
"""`headrace evaluate|replay|runs|answers`, against a RunService of ten lines a method."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from headrace.feedback.v1 import reports_pb2, runs_pb2
from headrace.feedback.v1.reports_pb2_grpc import ReportServiceServicer, add_ReportServiceServicer_to_server
from headrace.feedback.v1.runs_pb2_grpc import RunServiceServicer, add_RunServiceServicer_to_server
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.query_pb2 import (
    TRIAL_KIND_EVALUATION,
    TRIAL_KIND_REPLAY,
    TRIAL_SETTING_CLOSED_BOOK,
    TRIAL_SETTING_UNSPECIFIED,
    TRIAL_SETTING_ZERO_SHOT,
)
from headrace_client.cli.app import build_app
from headrace_client.cli.runs_words import arm_word
from typer.testing import CliRunner

#: The command, as a terminal starts it: a job in a shell's background would be deaf to Ctrl-C.
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from headrace_client.cli import main; main()"
)

RUN = "7a1f3c52-6f0e-4f0e-9d9b-0a2f6a0a6f10"


@dataclass
class FakeRuns(RunServiceServicer):
    """A run that is answered in two looks, and measured in one more; `endless` never ends.

    broken_off: so many times the server has held a watcher for long enough.
    """

    run: runs_pb2.Run = field(default_factory=runs_pb2.Run)
    started: list[runs_pb2.StartRunRequest] = field(default_factory=list)
    stale: runs_pb2.ListStaleAnswersResponse = field(default_factory=runs_pb2.ListStaleAnswersResponse)
    asked: list[Any] = field(default_factory=list)
    endless: bool = False
    broken_off: int = 0
    ends: runs_pb2.RunState.ValueType = runs_pb2.RUN_STATE_DONE
    failure: str = ""

    async def StartRun(self, request: runs_pb2.StartRunRequest, context: Any) -> runs_pb2.StartRunResponse:
        self.started.append(request)
        is_replay = request.WhichOneof("cases") == "queries"
        self.run = runs_pb2.Run(
            run_id=RUN,
            tenant=request.tenant,
            kind=TRIAL_KIND_REPLAY if is_replay else TRIAL_KIND_EVALUATION,
            dataset_id=request.dataset_id,
            arms=request.arms,
            state=runs_pb2.RUN_STATE_RUNNING,
            cases=2,
            total=2 * len(request.arms),
            created_by="dora",
            exclusions=[runs_pb2.RunExclusion(reason="no_grant", tier=3, cases=5)],
        )
        for arm in self.run.arms:
            arm.variant.version = arm.variant.version or "1"
        return runs_pb2.StartRunResponse(run=self.run)

    async def WatchRun(
        self, request: runs_pb2.WatchRunRequest, context: Any
    ) -> AsyncIterator[runs_pb2.WatchRunResponse]:
        yield runs_pb2.WatchRunResponse(run=self.run)
        if self.broken_off:
            self.broken_off -= 1
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "held for long enough")
        if self.endless:
            await asyncio.sleep(60)
        self.run.answered, self.run.state, self.run.failure = self.run.total, self.ends, self.failure
        yield runs_pb2.WatchRunResponse(run=self.run)

    async def GetRun(self, request: runs_pb2.GetRunRequest, context: Any) -> runs_pb2.GetRunResponse:
        if request.run_id != RUN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such run")
        self.run.evaluated = self.run.answered
        return runs_pb2.GetRunResponse(run=self.run)

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Any) -> runs_pb2.ListRunsResponse:
        return runs_pb2.ListRunsResponse(runs=[self.run] if self.run.run_id else [])

    async def CancelRun(self, request: runs_pb2.CancelRunRequest, context: Any) -> runs_pb2.CancelRunResponse:
        self.run.state = runs_pb2.RUN_STATE_CANCELLED
        return runs_pb2.CancelRunResponse(run=self.run)

    async def ListStaleAnswers(self, request: Any, context: Any) -> runs_pb2.ListStaleAnswersResponse:
        self.asked.append(request)
        return self.stale


@dataclass
class FakeReports(ReportServiceServicer):
    """Says of every pair that B is grounded more often."""

    asked: list[reports_pb2.CompareRequest] = field(default_factory=list)

    async def Compare(self, request: reports_pb2.CompareRequest, context: Any) -> reports_pb2.CompareResponse:
        self.asked.append(request)
        line = reports_pb2.ReportLine(
            measure="groundedness",
            unit="share",
            a=reports_pb2.Estimate(value=0.5, low=0.4, high=0.6, answers=2),
            b=reports_pb2.Estimate(value=0.7, low=0.6, high=0.8, answers=2),
            sentence="B is better",
        )
        of_a_kind = reports_pb2.ReportLine(kind="how-to", measure="groundedness")
        return reports_pb2.CompareResponse(lines=[line, of_a_kind])


@dataclass
class House:
    runs: FakeRuns
    reports: FakeReports
    where: str


@pytest.fixture
async def house() -> AsyncIterator[House]:
    server, runs, reports = grpc.aio.server(), FakeRuns(), FakeReports()
    add_RunServiceServicer_to_server(runs, server)
    add_ReportServiceServicer_to_server(reports, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield House(runs, reports, f"feedback=127.0.0.1:{port}")
    await server.stop(None)


async def command(house: House, *arguments: str) -> Any:
    environ = {"HEADRACE_ENDPOINTS": house.where, "HEADRACE_HOME": "", "COLUMNS": "160"}
    return await asyncio.to_thread(CliRunner().invoke, build_app(), list(arguments), env=environ)


def settings_of(request: runs_pb2.StartRunRequest) -> list[tuple[str, str, int]]:
    return [(arm.variant.name, arm.variant.version, arm.setting) for arm in request.arms]


async def test_an_evaluation_asks_each_variant_in_each_setting_and_ends_with_a_table(house: House) -> None:
    ran = await command(
        house,
        *("evaluate", "--dataset", "questions", "--variant", "shorter@2", "--against", "default", "--limit", "50"),
        *("--settings", "zero-shot,closed-book", "--seed", "7", "--judge", "careful", "--tenant", "acme"),
    )
    assert ran.exit_code == 0, ran.output
    (request,) = house.runs.started
    assert (request.tenant, request.dataset_id, request.limit, request.seed) == ("acme", "questions", 50, 7)
    assert list(request.judges) == ["careful"]
    assert settings_of(request) == [
        ("default", "", TRIAL_SETTING_UNSPECIFIED),
        ("shorter", "2", TRIAL_SETTING_UNSPECIFIED),
        ("shorter", "2", TRIAL_SETTING_ZERO_SHOT),
        ("shorter", "2", TRIAL_SETTING_CLOSED_BOOK),
    ]
    assert "Evaluation 7a1f3c52-6f0e-4f0e-9d9b-0a2f6a0a6f10: done" in ran.stdout
    assert "8 of 8 answered, 0 will not be, 8 measured" in ran.stdout
    assert "5 cases of tier-2 were left out: there is no grant to evaluate them" in ran.stdout
    assert "50 % (40 % to 60 %)" in ran.stdout
    assert "shorter 2, closed-book, groundedness: B is better" in ran.stdout
    assert "how-to" not in ran.stdout
    sides = [(asked.a.variant.name, asked.b.variant.name, asked.b.setting) for asked in house.reports.asked]
    assert sides == [("default", "shorter", 0), ("default", "shorter", 1), ("default", "shorter", 2)]


async def test_a_replay_compares_with_the_answers_of_then(house: House) -> None:
    ran = await command(
        house,
        *("replay", "--variant", "shorter", "--kind", "how-to", "--product", "shop", "--answered-by", "default"),
        *("--since", "2026-11-01", "--until", "2026-11-20T09:00", "--stale", "--query", RUN, "--json"),
    )
    assert ran.exit_code == 0, ran.output
    queries = house.runs.started[0].queries
    assert (queries.kind, queries.product, queries.variant, queries.stale_only) == ("how-to", "shop", "default", True)
    assert list(queries.query_ids) == [RUN]
    assert queries.since.ToJsonString() == "2026-11-01T00:00:00Z"
    assert queries.until.ToJsonString() == "2026-11-20T09:00:00Z"
    told = json.loads(ran.stdout)
    assert (told["run"]["state"], told["run"]["answered"], told["run"]["kind"]) == ("done", 2, "replay")
    assert [(one["arm"], one["measure"]) for one in told["measures"]] == [("shorter 1", "groundedness")]
    assert house.reports.asked[0].a == reports_pb2.Side()


async def test_one_arm_alone_is_compared_with_nothing(house: House) -> None:
    ran = await command(house, "evaluate", "--dataset", "d", "--variant", "shorter")
    assert ran.exit_code == 0, ran.output
    assert "One arm alone has nothing to be compared with" in ran.stderr
    assert house.reports.asked == []


async def test_who_does_not_wait_is_told_how_to_look(house: House) -> None:
    ran = await command(house, "replay", "--variant", "shorter", "--detach")
    assert ran.exit_code == 0
    assert f"headrace runs watch {RUN} --tenant demo" in ran.stderr


async def test_a_run_is_followed_for_longer_than_a_server_holds_a_call(house: House) -> None:
    house.runs.broken_off = 2
    ran = await command(house, "replay", "--variant", "shorter")
    assert ran.exit_code == 0, ran.stderr
    assert house.runs.broken_off == 0


async def test_leaving_by_ctrl_c_lets_the_run_go_on_and_says_how_to_watch_it(house: House) -> None:
    house.runs.endless = True
    environ = {**os.environ, "HEADRACE_ENDPOINTS": house.where, "HEADRACE_HOME": ""}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MAIN, "replay", "--variant", "shorter"),
        stdout=PIPE,
        stderr=PIPE,
        env=environ,
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        first = await process.stderr.readline()
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, rest = await process.communicate()
    assert first.startswith(b"Run 7a1f3c52")
    assert f"The run goes on. headrace runs watch {RUN} --tenant demo".encode() in rest
    assert process.returncode == 130
    assert house.runs.run.state == runs_pb2.RUN_STATE_RUNNING


async def test_a_run_that_could_not_go_on_leaves_with_1_and_says_why(house: House) -> None:
    house.runs.ends, house.runs.failure = runs_pb2.RUN_STATE_FAILED, "grant_ended"
    ran = await command(house, "replay", "--variant", "shorter")
    assert ran.exit_code == 1
    assert "failed: a grant that it read under has ended" in ran.stdout


@pytest.mark.parametrize("verb", ["list", "show", "watch", "cancel"])
async def test_runs_are_listed_shown_watched_and_cancelled(house: House, verb: str) -> None:
    await command(house, "replay", "--variant", "shorter", "--detach")
    ran = await command(house, "runs", verb, *([] if verb == "list" else [RUN]))
    assert ran.exit_code == 0, ran.output
    assert RUN in ran.stdout
    assert ("cancelled" in ran.stdout) == (verb == "cancel")
    as_json = await command(house, "runs", verb, *([] if verb == "list" else [RUN]), "--json")
    assert RUN in as_json.stdout
    assert json.loads(as_json.stdout)


async def test_a_run_that_there_is_none_of(house: House) -> None:
    ran = await command(house, "runs", "show", "nobody")
    assert (ran.exit_code, "no such run" in ran.stderr) == (1, True)
    ran = await command(house, "runs", "list")
    assert "There are no runs." in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["evaluate", "--dataset", "d", "--variant", "Not A Name"], "is no variant"),
        (["evaluate", "--dataset", "d", "--variant", "v", "--settings", "one-shot"], "is not a setting"),
        (["replay", "--variant", "v", "--since", "yesterday"], "is not a moment"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_starts(house: House, arguments: list[str], told: str) -> None:
    ran = await command(house, *arguments)
    assert ran.exit_code == 2
    assert told in " ".join(ran.stderr.split())
    assert house.runs.started == []


async def test_stale_answers_with_what_changed(house: House) -> None:
    ran = await command(house, "answers", "stale")
    assert "No answer is stale." in ran.stderr
    document = runs_pb2.StaleDocument(source="handbook", document_id="mills", version=3, current_version=4, cited=True)
    gone = runs_pb2.StaleDocument(source="handbook", document_id="weirs", version=1, current_version=2, deleted=True)
    answer = runs_pb2.StaleAnswer(query_id=RUN, tier=2, documents=[document, gone])
    house.runs.stale = runs_pb2.ListStaleAnswersResponse(answers=[answer], total=3)
    ran = await command(house, "answers", "stale", "--source", "handbook", "--document", "mills", "--limit", "5")
    assert "handbook/mills (version 3, now 4, cited); handbook/weirs (deleted)" in ran.stdout
    assert "1 of 3 stale answers" in ran.stderr
    asked = house.runs.asked[-1]
    assert (asked.source, asked.document_id, asked.limit) == ("handbook", "mills", 5)
    ran = await command(house, "answers", "stale", "--json")
    assert json.loads(ran.stdout)["answers"][0]["documents"][1]["deleted"] is True


def test_an_arm_in_words() -> None:
    arm = runs_pb2.RunArm(variant=Versioned(name="shorter", version="2"), setting=TRIAL_SETTING_ZERO_SHOT)
    assert arm_word(arm) == "shorter 2, zero-shot"
