"""From a question and its passages to the conversation that a model continues. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from headrace_models.prompting import sentences as cutting
from headrace_models.prompting.turns import Turn

#: How many tokens a text takes within a turn.
Count = Callable[[str], int]

# Marks of emphasis, grammar and sessions: a small model copies them instead of the words between.
_MARKS = re.compile(r"[*`]+")
_NO_PROSE_LINE = re.compile(r"::=|>>>|^\s*[-=~_*]{3,}\s*$")
_CITATION = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")
# What a number, two line breaks and a template's turn take beside the text.
_AROUND = 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """A version of a prompt: what comes before the passages and the question. It never changes."""

    name: str
    version: str
    system: str
    examples: tuple[tuple[str, str], ...]
    question: str  # with {passages} and {question}


@dataclass(frozen=True, slots=True)
class Layout:
    """What decides how a conversation is laid out.

    passages, passage_tokens: at most so much is read. output_tokens: so many are kept for the answer.
    """

    prompt: Prompt
    passages: int
    passage_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation. passages: the texts that it shows, numbered from 1, as they stand in it."""

    turns: tuple[Turn, ...]
    passages: tuple[str, ...] = field(repr=False)


def render(question: str, passages: Sequence[str], layout: Layout, *, count: Count, window: int) -> Rendered:
    """The conversation of a question with as many of the passages, best first, as a window of tokens holds."""
    room = room_for_passages(question, layout, count=count, window=window)
    texts = fit(passages, layout, count=count, room=room)
    return Rendered(tuple(conversation(question, texts, layout.prompt)), tuple(texts))


def conversation(question: str, passages: Sequence[str], prompt: Prompt) -> list[Turn]:
    """The prompt's fixed turns, then the numbered passages with the question."""
    turns = [Turn("system", prompt.system, fixed=True)]
    for asked, answered in prompt.examples:
        turns += [Turn("user", asked, fixed=True), Turn("assistant", answered, fixed=True)]
    numbered = "\n\n".join(f"[{i}] {text}" for i, text in enumerate(passages, start=1))
    # One replacement after the other could fill in what a passage says of "{question}".
    filled = re.sub(r"\{(passages|question)\}", lambda m: numbered if m[1] == "passages" else question, prompt.question)
    return [*turns, Turn("user", filled)]


def fit(passages: Sequence[str], layout: Layout, *, count: Count, room: int) -> list[str]:
    """The texts of the best passages for as long as they fit, whole; the last cut at a sentence's end.

    room: tokens that the model's window leaves for them; the layout's own limit holds too.
    """
    left = min(room, layout.passage_tokens)
    fitting: list[str] = []
    for passage in passages[: layout.passages]:
        text = readable(passage)
        needed = count(text) + _AROUND
        if needed > left:
            fitting += _cut(text, count=count, room=left - _AROUND)
            break
        fitting.append(text)
        left -= needed
    return fitting


def room_for_passages(question: str, layout: Layout, *, count: Count, window: int) -> int:
    """Tokens that the window leaves for passages, beside the prompt, the question and the answer."""
    fixed = sum(count(turn.text) + _AROUND for turn in conversation(question, [], layout.prompt))
    return max(0, window - fixed - layout.output_tokens)


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


def without_markers(text: str) -> str:
    """Text without citation marks such as "[2]"."""
    return _CITATION.sub("", text)
