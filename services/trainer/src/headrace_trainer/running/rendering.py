"""From a dataset's row to what a model learns.

A generator learns the conversation as inference would make it, and the answer to give. An answer is learned as it is
supposed to be written: a sentence that one of the shown passages supports, with that passage's number before its stop.
A logged answer's own numbers say nothing here, since other passages may be shown; of a logged answer the first
supported sentence is taken, of a correction all of them. A row whose answer no shown passage supports teaches to make
things up, and is left out; a correction is believed, and kept as it is.

An embedder learns a question and a passage that bears its known answer out, one pair for each such passage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace_models.prompting import Layout, Rendered, render, without_markers
from headrace_models.prompting import sentences as cutting

from headrace_trainer.running.ports import Row

#: Of a sentence's words, in their order, so many must stand in the passage: a logged answer quotes it nearly.
SUPPORT = 0.85
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders rows. count: tokens of a text; window: tokens of the model."""

    layout: Layout
    count: Callable[[str], int]
    window: int

    def render(self, row: Row) -> Mapping[str, Any] | None:
        """The row as a worker reads it (learning/job.py); None where there is nothing to learn from it."""
        split = "test" if row.held_out else "train"
        if row.text:
            return {"row_id": row.row_id, "split": split, "text": row.text}
        rendered = render(row.question, row.passages, self.layout, count=self.count, window=self.window)
        answer = answer_of(row, rendered)
        if not answer:
            return None
        turns = [{"role": turn.role, "text": turn.text, "fixed": turn.fixed} for turn in rendered.turns]
        return {"row_id": row.row_id, "split": split, "kind": row.kind, "turns": turns, "answer": answer}


def pairs_of(row: Row) -> list[Mapping[str, Any]]:
    """The row as pairs of its question and each passage that bears the known answer out (learning/job.py), with what
    stands before it in the index; none where no passage does. A document's row has no question."""
    if row.text:
        return []
    numbers = supporting(row.answer, row.passages)
    pair = {"split": "test" if row.held_out else "train", "question": row.question}
    return [{"row_id": f"{row.row_id}#{number}", **pair, "passage": _as_indexed(row, number - 1)} for number in numbers]


def _as_indexed(row: Row, place: int) -> str:
    """What the embedder makes a passage's vector of; of long headings it leaves some out."""
    above = row.headings[place] if place < len(row.headings) else ""
    return f"{above}\n\n{row.passages[place]}" if above else row.passages[place]


def supporting(answer: str, passages: Sequence[str]) -> list[int]:
    """The numbers, from 1, of the passages that bear sentences of an answer out, in their order, each once."""
    sentences = (" ".join(without_markers(one).split()) for one in cutting.split(answer))
    return sorted({number for one in sentences if (number := support(one, passages))})


def answer_of(row: Row, rendered: Rendered) -> str:
    """The answer to learn; empty where no passage that is shown supports it."""
    sentences = [" ".join(without_markers(one).split()) for one in cutting.split(row.answer)]
    supported = [_cited(sentence, number) for sentence in sentences if (number := support(sentence, rendered.passages))]
    if row.corrected:
        return " ".join(supported) if len(supported) == len(sentences) else " ".join(sentences)
    return supported[0] if supported else ""


def support(sentence: str, passages: Sequence[str]) -> int:
    """The number, from 1, of the passage that has most of the sentence's words in their order; 0 where none has."""
    words = _words(sentence)
    if not words:
        return 0
    shares = [_in_order(words, _words(passage)) / len(words) for passage in passages]
    best = max(range(len(shares)), key=lambda place: shares[place], default=-1)
    return best + 1 if best >= 0 and shares[best] >= SUPPORT else 0


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _in_order(words: Sequence[str], text: Sequence[str]) -> int:
    """The longest run of the text as long as the sentence, and half as long again, that holds the most of its words,
    each as often as it occurs; in words."""
    room = len(words) + len(words) // 2
    wanted = {word: words.count(word) for word in words}
    held: dict[str, int] = {}
    best = inside = 0
    for place, word in enumerate(text):
        if word in wanted:
            held[word] = held.get(word, 0) + 1
            inside += held[word] <= wanted[word]
        if place >= room and (gone := text[place - room]) in wanted:
            inside -= held[gone] <= wanted[gone]
            held[gone] -= 1
        best = max(best, inside)
    return best


def _cited(sentence: str, number: int) -> str:
    """ "… the race." and 2 are "… the race [2]."."""
    body, stop = (sentence[:-1], sentence[-1]) if sentence[-1] in ".!?" else (sentence, ".")
    return f"{body} [{number}]{stop}"
