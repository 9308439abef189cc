from __future__ import annotations

import pytest
from headrace.query.v1.answer_pb2 import Answer
from headrace.query.v1.service_pb2 import STAGE_GENERATING
from headrace_client.cli.ask import JsonView, TerminalView
from headrace_client.updates import Answered, Progress, Restarted, Text, Update

SEEN = {"query_id": "q", "trace_id": "t"}


def shown(capsys: pytest.CaptureFixture[str], *updates: Update) -> tuple[str, str]:
    view = TerminalView()
    for update in updates:
        view.show(update)
    view.close()
    captured = capsys.readouterr()
    return captured.out, captured.err


def text(sequence: int, words: str) -> Text:
    return Text(**SEEN, sequence=sequence, text=words)


def test_an_answer_that_was_made_again_is_shown_again(capsys: pytest.CaptureFixture[str]) -> None:
    answered = Answered(**SEEN, sequence=9, answer=Answer(text="Right."))
    out, err = shown(capsys, text(3, "Wro"), Restarted(**SEEN, sequence=4), text(5, "Right."), answered)
    assert out.startswith("Wro\nRight.\n\nTier")
    assert "void" in err


def test_an_answer_that_is_not_what_was_streamed_is_shown_in_its_final_form(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(capsys, text(3, "Streamed."), Answered(**SEEN, sequence=9, answer=Answer(text="Final.")))
    assert out.startswith("Streamed.\nFinal.\n\nTier")
    assert "final form" in err


def test_an_answer_that_was_not_streamed_comes_without_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = shown(capsys, Answered(**SEEN, sequence=9, answer=Answer(text="At once.")))
    assert out.startswith("At once.\n\nTier")
    assert err == ""


def test_one_passage_is_one_passage(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = shown(capsys, Progress(**SEEN, sequence=2, stage=STAGE_GENERATING, passages=1))
    assert err == "Writing the answer from 1 passage …\n"


def test_json_waits_for_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    view = JsonView()
    view.show(text(3, "part"))
    assert capsys.readouterr().out == ""
    view.show(Answered(**SEEN, sequence=9, answer=Answer(text="whole", trace_id="")))
    assert '"answer": "whole"' in capsys.readouterr().out
