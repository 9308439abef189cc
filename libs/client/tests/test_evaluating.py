"""What the verbs of measuring read and print."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from headrace.feedback.v1 import evaluation_pb2
from headrace.feedback.v1.evaluation_pb2 import Calibration, Judge, Score
from headrace.feedback.v1.evaluation_pb2_grpc import (
    EvaluationServiceServicer,
    add_EvaluationServiceServicer_to_server,
)
from headrace.feedback.v1.reviews_pb2 import Agreement
from headrace.query.v1.answer_pb2 import ModelIdentity, Versioned
from headrace_client.cli.app import build_app
from headrace_client.cli.evaluations import name_of, settings_sentence, value_of
from headrace_client.cli.judges import agreement_line, calibration_lines, read_judge
from typer.testing import CliRunner

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
KAPPA = Agreement(
    criterion="correct", answers=120, raw=0.88, coefficient=0.71, low=0.62, high=0.8, method="cohen_kappa", defined=True
)
JUDGE = Judge(
    name="strict",
    version=2,
    rubric=Versioned(name="answer-quality", version="1"),
    mode="pairwise",
    votes=3,
    calibration=Calibration(
        agreement=[KAPPA],
        state="below",
        first_position_rate=0.81,
        length_effect=0.4,
        model=ModelIdentity(name="SmolLM2-135M-Instruct", version="0123"),
    ),
)


class FakeEvaluations(EvaluationServiceServicer):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def GetScores(self, request: Any, context: Any) -> evaluation_pb2.GetScoresResponse:  # noqa: N802
        self.asked.append(request)
        judged = Score(
            evaluator="judge:strict", version="2", rubric=JUDGE.rubric, criterion="correct", value=1, label="pass"
        )
        return evaluation_pb2.GetScoresResponse(
            scores=[Score(evaluator="latency", version="1", value=1.5, decides=True), judged]
        )

    def PutEvaluation(self, request: Any, context: Any) -> evaluation_pb2.PutEvaluationResponse:  # noqa: N802
        self.asked.append(request)
        return evaluation_pb2.PutEvaluationResponse()

    def GetEvaluation(self, request: Any, context: Any) -> evaluation_pb2.GetEvaluationResponse:  # noqa: N802
        self.asked.append(request)
        evaluator = evaluation_pb2.Evaluator(name="token_f1", version="1", unit="share", needs_reference=True)
        return evaluation_pb2.GetEvaluationResponse(share=0.2, waiting=1, evaluators=[evaluator])

    def PutJudge(self, request: Any, context: Any) -> evaluation_pb2.PutJudgeResponse:  # noqa: N802
        self.asked.append(request)
        return evaluation_pb2.PutJudgeResponse(judge=Judge(name="strict", version=1), created=True)

    def ListJudges(self, request: Any, context: Any) -> evaluation_pb2.ListJudgesResponse:  # noqa: N802
        self.asked.append(request)
        return evaluation_pb2.ListJudgesResponse(judges=[JUDGE])

    def CalibrateJudge(self, request: Any, context: Any) -> Iterator[evaluation_pb2.CalibrateJudgeResponse]:  # noqa: N802
        self.asked.append(request)
        yield evaluation_pb2.CalibrateJudgeResponse(done=1, total=2)
        yield evaluation_pb2.CalibrateJudgeResponse(done=2, total=2, judge=JUDGE)


@contextmanager
def serving(fake: FakeEvaluations) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_EvaluationServiceServicer_to_server(fake, server)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"feedback=127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def call(*arguments: str) -> tuple[Any, list[Any]]:
    fake = FakeEvaluations()
    with serving(fake) as endpoints:
        result = CliRunner(env={"HEADRACE_TOKEN": "t"}).invoke(
            build_app(), [*arguments, *([] if "-h" in arguments else ["--endpoints", endpoints])]
        )
    return result, fake.asked


def test_scores_are_shown_with_what_they_may_decide() -> None:
    result, (request,) = call("evaluations", "show", QUERY, "--tenant", "acme")
    assert result.exit_code == 0, result.output
    assert (request.tenant, request.query_id) == ("acme", QUERY)
    assert "1.50 s" in result.stdout
    assert "pass, does not decide" in result.stdout
    assert "2, answer-quality 1" in result.stdout
    result, _ = call("evaluations", "show", QUERY, "--json")
    scores = json.loads(result.stdout)["scores"]
    assert [(score["evaluator"], score["decides"]) for score in scores] == [("latency", True), ("judge:strict", False)]


def test_settings_are_said_in_a_sentence() -> None:
    result, (request,) = call("evaluations", "set", "--share", "0.2", "--judge", "strict", "--judged-share", "0.5")
    assert result.exit_code == 0, result.output
    assert (request.share, list(request.judges), request.judged_share) == (0.2, ["strict"], 0.5)
    assert result.stdout == "20% of live answers are measured by their words, 50% of these by strict too.\n"
    assert settings_sentence(0, [], 0) == "No answer is measured by its words."
    result, _ = call("evaluations", "status")
    assert "1 answer waits." in result.stdout
    assert "Needs a row with a known answer." in result.stdout
    result, _ = call("evaluations", "status", "--json")
    assert json.loads(result.stdout)["evaluators"][0]["needs_reference"] is True


def test_a_judge_is_put_listed_and_calibrated(tmp_path: Path) -> None:
    file = tmp_path / "strict.yaml"
    file.write_text("name: strict\nrubric: answer-quality\nmode: pairwise\nvotes: 3\n")
    result, (request,) = call("judges", "put", str(file))
    assert result.exit_code == 0, result.output
    assert (request.judge.rubric.name, request.judge.votes) == ("answer-quality", 3)
    assert result.stdout == "strict 1 is new; never calibrated: it decides nothing.\n"
    result, _ = call("judges", "list")
    assert "below the rubric's threshold" in result.stdout
    result, (request,) = call("judges", "calibrate", "strict", "--version", "2")
    assert request.version == 2
    assert "correct: kappa 0.71 (95 % interval 0.62 to 0.80), 88% the same, 120 answers" in result.stdout
    assert "81%" in result.stdout
    result, _ = call("judges", "calibrate", "strict", "--json")
    assert json.loads(result.stdout)["calibration"]["state"] == "below"


@pytest.mark.parametrize("text", ["[", "name: x", "name: x\nrubric: r\nmode: single\nprompt: y", "- x"])
def test_a_file_that_is_no_judge_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "judge.yaml"
    file.write_text(text)
    with pytest.raises(typer.BadParameter, match=r"judge\.yaml"):
        read_judge(file)


def test_numbers_have_their_units() -> None:
    assert value_of(Score(evaluator="cost", value=7)) == "7 µ$"
    assert value_of(Score(evaluator="groundedness", value=0.917)) == "0.92"
    assert name_of(Score(evaluator="judge:strict", criterion="correct")) == "judge:strict correct"
    alike = Agreement(criterion="correct", answers=3, raw=1.0)
    assert "no meaning" in agreement_line(alike)
    assert not any("shown first" in line for line in calibration_lines(Judge(name="s", mode="single")))
