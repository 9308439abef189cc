"""What the verbs of reviews read and print, without a house."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from headrace.feedback.v1.reviews_pb2 import (
    SAMPLING_REASON_LOW_SCORE,
    SAMPLING_REASON_THUMB_DOWN,
    ReviewedPassage,
    ReviewItem,
)
from headrace.feedback.v1.rubrics_pb2 import Criterion, Rubric
from headrace_client.cli.review_queue import item_lines, read_rule, rule_word
from headrace_client.cli.rubrics import read_rubric

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
    lines = item_lines(item, rubric)
    assert "headrace review label 5f0c kind=pass" in lines
    assert "  (no longer indexed)" in lines
    assert not any("\x1b" in line for line in lines), "a stranger's words do not steer the terminal"
