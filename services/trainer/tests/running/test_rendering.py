"""Rows become conversations as inference makes them, and answers as they are to be written."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headrace_trainer.running.ports import Row
from headrace_trainer.running.rendering import Renderer, pairs_of, support

from services.trainer.tests.running.house import LAYOUT

SLUICE = "A sluice is a gate that controls how much water enters the race. It is raised by a rack."
TAILRACE = "The tailrace carries the water away from the wheel."
ROW = Row(
    row_id="r-1",
    question="What does a sluice do?",
    answer="A sluice is a gate that controls how much water enters the race [4].",
    passages=(TAILRACE, SLUICE),
    text="",
    kind="how-to",
    held_out=False,
)


def words(text: str) -> int:
    return len(text.split())


RENDERER = Renderer(LAYOUT, words, window=512)


def test_an_answer_has_the_number_of_the_passage_that_is_shown() -> None:
    line = RENDERER.render(ROW)
    assert line is not None
    assert line["answer"] == "A sluice is a gate that controls how much water enters the race [2]."
    assert (line["row_id"], line["split"], line["kind"]) == ("r-1", "train", "how-to")
    system, asked = line["turns"]
    assert (system["role"], system["fixed"], asked["role"], asked["fixed"]) == ("system", True, "user", False)
    assert asked["text"] == f"[1] {TAILRACE}\n\n[2] {SLUICE}\n\nWhat does a sluice do?"


def test_of_a_logged_answer_the_first_supported_sentence_is_learned() -> None:
    answer = f"Nobody knows why. {TAILRACE} It is raised by a rack."
    line = RENDERER.render(replace(ROW, answer=answer, held_out=True))
    assert line is not None
    assert (line["answer"], line["split"]) == ("The tailrace carries the water away from the wheel [1].", "test")


def test_what_no_passage_supports_is_not_learned() -> None:
    assert RENDERER.render(replace(ROW, answer="A sluice is a kind of fish that enters the sea.")) is None
    assert RENDERER.render(replace(ROW, answer="")) is None
    assert RENDERER.render(replace(ROW, passages=())) is None


def test_a_correction_is_believed() -> None:
    line = RENDERER.render(replace(ROW, answer="Ask the miller! It is raised by a rack.", corrected=True))
    assert line is not None
    assert line["answer"] == "Ask the miller! It is raised by a rack."
    line = RENDERER.render(replace(ROW, answer=f"It is raised by a rack. {TAILRACE}", corrected=True))
    assert line is not None
    assert line["answer"] == "It is raised by a rack [2]. The tailrace carries the water away from the wheel [1]."


def test_a_pair_for_each_passage_that_bears_the_known_answer_out() -> None:
    """All sentences count, whoever wrote them; what nothing bears out teaches nothing."""
    answer = f"Nobody knows why. {TAILRACE} It is raised by a rack. It is raised by a rack."
    first, second = pairs_of(replace(ROW, answer=answer, held_out=True))
    assert first == {"row_id": "r-1#1", "split": "test", "question": ROW.question, "passage": TAILRACE}
    assert (second["row_id"], second["passage"]) == ("r-1#2", SLUICE)
    indexed = replace(ROW, answer=answer, headings=("Mills\nWater", ""))
    assert [pair["passage"] for pair in pairs_of(indexed)] == [f"Mills\nWater\n\n{TAILRACE}", SLUICE]
    assert pairs_of(replace(ROW, answer="Ask the miller!", corrected=True)) == []
    assert pairs_of(replace(ROW, question="", answer="", text=SLUICE)) == []


def test_a_documents_row_is_its_text() -> None:
    row = replace(ROW, question="", answer="", passages=(), text=SLUICE)
    assert RENDERER.render(row) == {"row_id": "r-1", "split": "train", "text": SLUICE}


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("It is raised by a rack.", 2),
        ("The tailrace carries water away from the wheel.", 1),
        ("The wheel carries the race by a gate of water.", 0),
        ("", 0),
    ],
)
def test_which_passage_supports_a_sentence(sentence: str, passage: int) -> None:
    assert support(sentence, (TAILRACE, SLUICE)) == passage


def test_words_all_over_a_passage_support_nothing() -> None:
    scattered = "Gates are old. " * 10 + "The race was won. " * 10 + "Water is wet. " * 10
    assert support("Water enters the race by old gates.", (scattered,)) == 0
