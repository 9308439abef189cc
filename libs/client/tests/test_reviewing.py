# ruff: noqa: N802  (gRPC names the methods)
"""What the verbs of reviews read, say and print, without a house."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from headrace.feedback.v1.reviews_pb2 import (
    SAMPLING_REASON_LOW_SCORE,
    SAMPLING_REASON_THUMB_DOWN,
    LabelReviewRequest,
    LabelReviewResponse,
    ReviewedPassage,
    ReviewItem,
)
from headrace.feedback.v1.reviews_pb2_grpc import ReviewServiceServicer, add_ReviewServiceServicer_to_server
from headrace.feedback.v1.rubrics_pb2 import Criterion, Rubric
from headrace.inference.v1.routes_pb2 import GetKindsResponse, Kind
from headrace.inference.v1.routes_pb2_grpc import RouteServiceServicer, add_RouteServiceServicer_to_server
from headrace_client.cli.review_queue import item_lines, read_rule, rule_word
from headrace_client.cli.rubrics import read_rubric

from libs.client.tests.test_cli import headrace_command

RUBRIC = """
name: tone
instructions: Listen.
criteria:
  - {name: kind, question: "Is it kind?"}
  - {name: warm, question: "How warm?", labels: [cold, warm, hot], ordered: true, least_kappa: 0.4}
"""


def test_a_rule_is_read_and_written_alike() -> None:
    rule = read_rule("thumb_down:1")
    assert (rule.reason, rule.share, rule.a_day) == (SAMPLING_REASON_THUMB_DOWN, 1.0, 0)
    assert read_rule("random:.05:20").a_day == 20
    score = read_rule("low_score(groundedness<.5):1")
    assert (score.reason, score.evaluator, score.below) == (SAMPLING_REASON_LOW_SCORE, "groundedness", 0.5)
    assert rule_word(score) == "low_score(groundedness<0.5)"


@pytest.mark.parametrize("text", ["", "random", "random:much", "boredom:1", "low_score(x<y):1"])
def test_what_is_no_rule_is_said(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="REASON:SHARE"):
        read_rule(text)


def test_a_rubric_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tone.yaml"
    file.write_text(RUBRIC)
    rubric = read_rubric(file)
    assert [criterion.name for criterion in rubric.criteria] == ["kind", "warm"]
    assert (list(rubric.criteria[1].labels), rubric.criteria[1].ordered) == (["cold", "warm", "hot"], True)


@pytest.mark.parametrize("text", ["[", "name: tone", "name: tone\ninstructions: x\ncriteria: []\ncolour: red", "- x"])
def test_a_file_that_is_no_rubric_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tone.yaml"
    file.write_text(text)
    with pytest.raises(typer.BadParameter, match=r"tone\.yaml"):
        read_rubric(file)


def test_an_answer_is_shown_with_what_it_cites_and_how_to_label_it() -> None:
    item = ReviewItem(
        item_id="5f0c",
        question="What is it?\x1b[2J",
        answer="A channel [1].",
        passages=[ReviewedPassage(number=1, title="Mills", text="")],
    )
    rubric = Rubric(name="tone", version=2, criteria=[Criterion(name="kind", labels=["fail", "pass"])])
    lines = item_lines(item, rubric, ["how-to", "other"])
    assert "headrace review label 5f0c kind=pass" in lines
    assert "  and --kind how-to|other, if you can tell" in lines
    assert "  (no longer indexed)" in lines
    assert not any("\x1b" in line for line in lines), "a stranger's words do not steer the terminal"


class Reviews(ReviewServiceServicer, RouteServiceServicer):
    """Keeps what it was told. kinds: of the tenant; none: it has defined none."""

    def __init__(self) -> None:
        self.kinds = ("how-to", "why")
        self.told: list[LabelReviewRequest] = []

    async def LabelReview(self, request: Any, context: Any) -> LabelReviewResponse:
        self.told.append(request)
        return LabelReviewResponse(finished=True)

    async def GetKinds(self, request: Any, context: Any) -> GetKindsResponse:
        if not self.kinds:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there are no kinds")
        return GetKindsResponse(kinds=[Kind(name=name) for name in self.kinds])


@pytest.fixture
async def reviews() -> AsyncIterator[tuple[Reviews, str]]:
    fake, server = Reviews(), grpc.aio.server()
    add_ReviewServiceServicer_to_server(fake, server)
    add_RouteServiceServicer_to_server(fake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield fake, ",".join(f"{service}=127.0.0.1:{port}" for service in ("feedback", "inference"))
    await server.stop(0)


async def label(stated: str, *words: str) -> Any:
    return await headrace_command("review", "label", "5f0c", "correct=pass", *words, where=stated)


async def test_a_label_says_the_kind_where_the_tenant_has_it(reviews: tuple[Reviews, str]) -> None:
    fake, stated = reviews
    assert (await label(stated, "--kind", "how-to")).code == 0
    assert (await label(stated, "--kind", "other")).code == 0
    assert [one.kind for one in fake.told] == ["how-to", "other"]


async def test_a_kind_that_the_tenant_has_not_is_refused_before_anything_is_labelled(
    reviews: tuple[Reviews, str],
) -> None:
    fake, stated = reviews
    refused = await label(stated, "--kind", "howto")
    assert refused.code == 2
    assert "how-to, why, other" in " ".join(refused.err.split())
    assert fake.told == []


async def test_whoever_names_no_kind_labels_where_there_are_none(reviews: tuple[Reviews, str]) -> None:
    fake, stated = reviews
    fake.kinds = ()
    assert (await label(stated)).code == 0
    assert [one.kind for one in fake.told] == [""]
