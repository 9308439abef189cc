"""What a run for kinds is told: people's words and no machine's, with the vectors of one embedder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headrace_models.kinds import BACKGROUND, OTHER, Embedder, read_head
from headrace_runtime.errors import Unavailable
from headrace_trainer.running import kinds as learned
from headrace_trainer.running.failures import Stopped
from headrace_trainer.running.kinds import TEXTS_A_CALL, Defined, Vectors, is_told
from headrace_trainer.running.ports import Row
from headrace_trainer.running.runs import Target

from services.trainer.tests.learning.house import job as job_of
from services.trainer.tests.learning.house import run as worked
from services.trainer.tests.running.house import laid
from services.trainer.tests.running.test_worker import a_run

SIZE = 24
MINI = Embedder("mini", SIZE, "ab" * 8)
EXAMPLES = {"how-to": ("how do I pour", "how do I lift", "how do I stop"), "why": ("why so", "why now", "why")}
DEFINED = Defined(4, EXAMPLES)


@dataclass
class SomeKinds:
    """See kinds.Kinds. Vectors by the first letters of words. made_by: one embedder a call; the last goes on."""

    found: Defined | None = field(default_factory=lambda: DEFINED)
    made_by: list[Embedder] = field(default_factory=lambda: [MINI])
    calls: list[Sequence[str]] = field(default_factory=list)

    async def defined(self, tenant: str) -> Defined | None:
        del tenant
        return self.found

    async def embed(self, texts: Sequence[str]) -> tuple[Sequence[Sequence[float]], Embedder]:
        self.calls.append(texts)
        embedder = self.made_by.pop(0) if len(self.made_by) > 1 else self.made_by[0]
        return [_vector(text) for text in texts], embedder


def _vector(text: str) -> Sequence[float]:
    made = np.full(SIZE, 0.01)
    for word in text.lower().split():
        made[ord(word[0]) % SIZE] += 1
    return [float(number) for number in made]


def row(name: str, question: str, kind: str, *, stated: bool = True, held_out: bool = False) -> Row:
    return Row(name, question, "", (), "", kind, held_out, kind_stated=stated)


async def rows(*some: Row) -> AsyncIterator[Row]:
    for one in some:
        yield one


async def told(kinds: SomeKinds, *some: Row) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    run = a_run(target=Target.KINDS)
    lines = await Vectors(kinds).lines(run, rows(*some), base="", laying=laid)
    first, *rest = [json.loads(line) for line in lines]
    return first, rest


async def test_examples_background_and_what_people_said_are_learned_from() -> None:
    first, lines = await told(SomeKinds(), row("q1", "how do I open", "how-to"), row("q2", "why", "why", held_out=True))
    assert first == {
        "names": ["how-to", "why"],
        "version": 4,
        "embedder": {"name": "mini", "dimensions": SIZE, "hash": "ab" * 8},
    }
    assert [(line["row_id"], line["split"], line["kind"], line["said"]) for line in lines[:3]] == [
        ("q1", "train", "how-to", "people"),
        ("q2", "test", "why", "people"),
        ("example how-to 0", "train", "how-to", "example"),
    ]
    assert {line["kind"] for line in lines if line["said"] == "background"} == {OTHER}
    assert len(lines) == 2 + 6 + len(BACKGROUND)
    assert lines[0]["vector"] == _vector("how do I open")


async def test_what_only_the_machine_said_is_never_learned_from() -> None:
    guessed = row("guessed", "how do I err", "how-to", stated=False)
    _, lines = await told(SomeKinds(), guessed, row("q1", "how do I open", "how-to"))
    assert {line["row_id"] for line in lines if line["said"] == "people"} == {"q1"}
    with pytest.raises(Stopped, match="empty_dataset"):
        await told(SomeKinds(), guessed)


async def test_that_it_never_is_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded bug: every row's kind is believed."""
    monkeypatch.setattr(learned, "is_told", lambda row: bool(row.question))
    _, lines = await told(SomeKinds(), row("guessed", "how do I err", "how-to", stated=False))
    assert "guessed" in {line["row_id"] for line in lines}


def test_a_row_of_a_document_says_nothing_of_kinds() -> None:
    assert not is_told(row("d", "", "document"))


async def test_many_questions_are_embedded_in_several_calls() -> None:
    kinds = SomeKinds()
    _, lines = await told(kinds, *(row(f"q{n}", f"how {n}", "how-to") for n in range(TEXTS_A_CALL)))
    assert [len(texts) for texts in kinds.calls] == [TEXTS_A_CALL, 6 + len(BACKGROUND)]
    assert len(lines) == TEXTS_A_CALL + 6 + len(BACKGROUND)


async def test_two_embedders_in_one_run_are_waited_out() -> None:
    other = Embedder("mini", SIZE, "cd" * 8)
    with pytest.raises(Unavailable):
        await told(SomeKinds(made_by=[MINI, other]), *(row(f"q{n}", "how", "how-to") for n in range(TEXTS_A_CALL)))


async def test_without_kinds_there_is_nothing_to_learn() -> None:
    with pytest.raises(Stopped, match="empty_dataset"):
        await told(SomeKinds(found=None), row("q1", "how", "how-to"))


async def test_what_is_told_is_what_a_worker_learns(tmp_path: Path) -> None:
    some = [row(f"q{n}", f"how do I {n}", "how-to", held_out=n % 4 == 0) for n in range(12)]
    lines = await Vectors(SomeKinds()).lines(a_run(target=Target.KINDS), rows(*some), base="", laying=laid)
    done = worked(job_of(tmp_path, tmp_path, rows=[json.loads(line) for line in lines], target="kinds")).done
    head = read_head(tmp_path / "model")
    assert (head.kinds, head.kinds_version, head.embedder) == (("how-to", "why", OTHER), 4, MINI)
    assert head.kinds[head.probabilities(np.array(_vector("how do I go"))).argmax()] == "how-to"
    assert done.measures["accuracy"] == 1.0
