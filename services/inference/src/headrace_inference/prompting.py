"""From a question and its passages to the conversation that a model continues. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from headrace_inference import sentences as cutting
from headrace_inference.domain import Passage, Turn, Variant
from headrace_inference.terms import without_markers

Count = Callable[[str], int]

# Marks of emphasis, grammar and sessions: a small model copies them instead of the words between.
_MARKS = re.compile(r"[*`]+")
_NO_PROSE_LINE = re.compile(r"::=|>>>|^\s*[-=~_*]{3,}\s*$")
# What a number, two line breaks and a template's turn take beside the text.
_AROUND = 8


def conversation(question: str, passages: Sequence[str], variant: Variant) -> list[Turn]:
    """The prompt's fixed turns, then the numbered passages with the question."""
    prompt = variant.prompt
    turns = [Turn("system", prompt.system, fixed=True)]
    for asked, answered in prompt.examples:
        turns += [Turn("user", asked, fixed=True), Turn("assistant", answered, fixed=True)]
    numbered = "\n\n".join(f"[{i}] {text}" for i, text in enumerate(passages, start=1))
    # One replacement after the other could fill in what a passage says of "{question}".
    filled = re.sub(r"\{(passages|question)\}", lambda m: numbered if m[1] == "passages" else question, prompt.question)
    return [*turns, Turn("user", filled)]


def fit(passages: Sequence[Passage], variant: Variant, *, count: Count, room: int) -> list[str]:
    """The texts of the best passages for as long as they fit, whole; the last cut at a sentence's end.

    room: tokens that the model's window leaves for them; the variant's own limit holds too.
    """
    left = min(room, variant.passage_tokens)
    fitting: list[str] = []
    for passage in passages[: variant.passages]:
        text = readable(passage.text)
        needed = count(text) + _AROUND
        if needed > left:
            fitting += _cut(text, count=count, room=left - _AROUND)
            break
        fitting.append(text)
        left -= needed
    return fitting


def room_for_passages(question: str, variant: Variant, *, count: Count, window: int) -> int:
    """Tokens that the window leaves for passages, beside the prompt, the question and the answer."""
    fixed = sum(count(turn.text) + _AROUND for turn in conversation(question, [], variant))
    return max(0, window - fixed - variant.decoding.max_output_tokens)


def _cut(text: str, *, count: Count, room: int) -> Iterator[str]:
    kept = ""
    for sentence in cutting.split(text):
        longer = f"{kept} {sentence}".strip()
        if count(longer) > room:
            break
        kept = longer
    if kept:
        yield kept


def readable(text: str) -> str:
    """A passage in running text: its own "[1]" taken out, so that numbers are ours alone, and what is no prose."""
    lines = [line for line in without_markers(text).splitlines() if not _NO_PROSE_LINE.search(line)]
    return " ".join(_MARKS.sub("", "\n".join(lines)).split())
