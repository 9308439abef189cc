"""From a question and its passages to a conversation, without a model."""

from __future__ import annotations

import subprocess
import sys

from headrace_models.prompting import Layout, Prompt, Turn, conversation, fit, readable, render, room_for_passages
from hypothesis import given
from hypothesis import strategies as st

PROMPT = Prompt("p", "1", "Be brief.", (("Is it?", "It is."),), "Sources:\n{passages}\n\nQuestion: {question}")
LAYOUT = Layout(PROMPT, passages=2, passage_tokens=100, output_tokens=20)
RIVER = "The sluice opens at dawn. It closes when the basin is full."


def words(text: str) -> int:
    return len(text.split())


def test_a_conversation_has_the_prompts_fixed_turns_and_then_what_is_asked() -> None:
    assert conversation("When?", ["One.", "Two."], PROMPT) == [
        Turn("system", "Be brief.", fixed=True),
        Turn("user", "Is it?", fixed=True),
        Turn("assistant", "It is.", fixed=True),
        Turn("user", "Sources:\n[1] One.\n\n[2] Two.\n\nQuestion: When?"),
    ]


def test_what_a_passage_says_of_the_prompts_places_is_not_filled_in() -> None:
    assert conversation("When?", ["Say {question}."], PROMPT)[-1].text.startswith("Sources:\n[1] Say {question}.\n")


def test_no_more_passages_are_shown_than_the_layout_says() -> None:
    assert fit([RIVER] * 3, LAYOUT, count=words, room=1_000) == [RIVER, RIVER]


def test_the_last_passage_is_cut_at_a_sentences_end() -> None:
    needed = words(RIVER) + 8
    assert fit([RIVER, RIVER], LAYOUT, count=words, room=needed + 8 + 6) == [RIVER, "The sluice opens at dawn."]


@given(room=st.integers(0, 80), passages=st.lists(st.sampled_from([RIVER, "Short.", "A longer one, all in all."])))
def test_what_fits_never_takes_more_than_the_room(room: int, passages: list[str]) -> None:
    assert sum(words(text) + 8 for text in fit(passages, LAYOUT, count=words, room=room)) <= room


def test_the_room_is_what_prompt_question_and_answer_leave() -> None:
    fixed = sum(words(turn.text) + 8 for turn in conversation("When then?", [], PROMPT))
    assert room_for_passages("When then?", LAYOUT, count=words, window=200) == 200 - fixed - 20
    assert room_for_passages("When then?", LAYOUT, count=words, window=10) == 0


def test_rendering_is_these_steps_together() -> None:
    room = room_for_passages("When?", LAYOUT, count=words, window=90)
    texts = fit([RIVER, RIVER], LAYOUT, count=words, room=room)
    rendered = render("When?", [RIVER, RIVER], LAYOUT, count=words, window=90)
    assert rendered.passages == tuple(texts)
    assert rendered.turns == tuple(conversation("When?", texts, PROMPT))


def test_a_passage_is_read_as_running_text() -> None:
    assert readable("It **opens** [3]\nat `dawn`.\nrule ::= x\n>>> open()\n----\nThen it waits [1, 2].") == (
        "It opens at dawn. Then it waits."
    )


def test_no_repr_shows_a_text() -> None:
    assert "dawn" not in repr(render("When at dawn?", [RIVER], LAYOUT, count=words, window=500))


def test_it_can_be_imported_without_what_runs_models() -> None:
    code = "import sys, headrace_models.prompting as p; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
