"""Questions about Python's language reference with known answers, and the halves to choose on and to measure on."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import yaml

#: Of `halves`, wherever nobody says otherwise: what was measured with it can be measured again.
SEED = 7

Half = Literal["tune", "test"]


@dataclass(frozen=True, slots=True)
class KnownQuestion:
    """A question whose right outcome is known.

    answer: one or two sentences; empty when the reference does not say. facts: what a right answer states, each a
    phrase or several with "|" between, a word's "*" standing for any ending. documents: all topics that answer it.
    conversation: shared by a question and its follow-ups, which come after it; empty for one that stands alone.
    """

    id: str
    kind: str
    question: str
    answer: str = field(repr=False)
    facts: tuple[str, ...]
    documents: frozenset[str]
    conversation: str
    answerable: bool


def known_questions() -> list[KnownQuestion]:
    """All of them, in the file's order."""
    content = yaml.safe_load((resources.files(__package__) / "questions.yaml").read_text(encoding="utf-8"))
    return [_question(entry, content["also_in"]) for entry in content["questions"]]


def _question(entry: dict[str, Any], also_in: dict[str, list[str]]) -> KnownQuestion:
    named = entry.get("documents", [])
    return KnownQuestion(
        id=entry["id"],
        kind=entry["kind"],
        question=entry["question"],
        answer=entry.get("answer", ""),
        facts=tuple(entry.get("facts", [])),
        documents=frozenset(named).union(*(also_in.get(document, []) for document in named)),
        conversation=entry.get("conversation", ""),
        answerable=entry["answerable"],
    )


def halves(questions: Sequence[KnownQuestion], *, seed: int = SEED) -> dict[Half, list[KnownQuestion]]:
    """Two halves that share no document and no conversation, with about as many of each kind in both.

    Groups of questions that hang together go one by one, largest first, to the half that has fewer of their kinds;
    the seed decides the order of equals. Within a half the given order holds.
    """
    groups = _groups(questions)
    random.Random(seed).shuffle(groups)  # noqa: S311 - a draw to repeat, no secret
    counts: dict[Half, Counter[tuple[str, bool]]] = {"tune": Counter(), "test": Counter()}
    chosen: dict[str, Half] = {}
    for group in sorted(groups, key=len, reverse=True):
        kinds = Counter((q.kind, q.answerable) for q in group)
        half = min(counts, key=lambda h: (_crowding(counts[h], kinds), counts[h].total()))
        counts[half] += kinds
        chosen |= {q.id: half for q in group}
    return {half: [q for q in questions if chosen[q.id] == half] for half in counts}


def _crowding(there: Counter[tuple[str, bool]], coming: Counter[tuple[str, bool]]) -> int:
    """By how much the squares of the counts would grow: most where there are many of the same kind already."""
    return sum((there[kind] + n) ** 2 - there[kind] ** 2 for kind, n in coming.items())


def _groups(questions: Iterable[KnownQuestion]) -> list[list[KnownQuestion]]:
    """Questions that share a document or a conversation, directly or through others."""
    groups: list[tuple[set[str], list[KnownQuestion]]] = []
    for question in questions:
        ties = {f"document {d}" for d in question.documents} | ({question.conversation} - {""})
        touched = [g for g in groups if g[0] & ties]
        groups = [g for g in groups if not g[0] & ties]
        groups.append((ties.union(*(g[0] for g in touched)), [*(q for g in touched for q in g[1]), question]))
    return [members for _, members in groups]


def by_kind(questions: Iterable[KnownQuestion]) -> dict[str, list[KnownQuestion]]:
    """The questions of each kind."""
    kinds: defaultdict[str, list[KnownQuestion]] = defaultdict(list)
    for question in questions:
        kinds[question.kind].append(question)
    return dict(kinds)
