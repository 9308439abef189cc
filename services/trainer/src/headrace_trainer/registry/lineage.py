"""What things were made of, and what was made of them, as a graph: from sources, documents and rows over datasets, runs
and models to answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from headrace_trainer.registry.models import Model, State
from headrace_trainer.registry.ports import Traced, TracedDataset

Kind = Literal["source", "document", "rows", "dataset", "grant", "run", "model", "variant", "answers", "erasure"]

MOST_EXAMPLES = 100
MOST_DOCUMENTS = 1_000


@dataclass(frozen=True, slots=True)
class Node:
    """A thing. count: how many, where it stands for many."""

    kind: Kind
    id: str
    state: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()
    tier: str = ""


@dataclass(slots=True)
class Graph:
    """Nodes, each once, and edges from what a thing was made of to the thing."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    _places: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, node: Node) -> int:
        """Adds a node, or finds it by kind and id."""
        key = (node.kind, node.id)
        if key not in self._places:
            self._places[key] = len(self.nodes)
            self.nodes.append(node)
        return self._places[key]

    def link(self, of: int, made: int) -> None:
        """Notes that one was made of the other."""
        if (of, made) not in self.edges and of != made:
            self.edges.append((of, made))


def add_documents(graph: Graph, documents: Sequence[str], made: int) -> None:
    """Documents as "SOURCE/ID", and their sources, behind a thing."""
    for document in documents[:MOST_DOCUMENTS]:
        source = graph.add(Node("source", document.partition("/")[0]))
        place = graph.add(Node("document", document))
        graph.link(source, place)
        graph.link(place, made)


def add_dataset(graph: Graph, dataset: TracedDataset, *, of: int | None) -> int:
    """A snapshot with its grants and, between what it holds something of and itself, the rows that do."""
    place = graph.add(Node("dataset", dataset.dataset_id, state=dataset.state, tier=dataset.tier.label))
    if dataset.rows:
        whole = f"{dataset.dataset_id}:{'' if of is None else graph.nodes[of].id}"
        node = Node("rows", whole, count=dataset.rows, examples=dataset.row_ids[:MOST_EXAMPLES])
        rows = graph.add(node)
        graph.link(rows, place)
        if of is not None:
            graph.link(of, rows)
    elif of is not None:
        graph.link(of, place)
    for grant in dataset.grants:
        graph.link(graph.add(Node("grant", grant)), place)
    return place


def add_model(graph: Graph, model: Model, *, dataset: int | None) -> int:
    """A model with its run, its erasures and its variant. dataset: the place of its snapshot."""
    run = graph.add(Node("run", str(model.run_id)))
    if dataset is None and model.dataset_id:
        dataset = graph.add(Node("dataset", model.dataset_id))
    if dataset is not None:
        graph.link(dataset, run)
    for grant in model.grants:
        graph.link(graph.add(Node("grant", grant)), run)
    place = graph.add(Node("model", model.model, state=standing(model), tier=model.tier.label))
    graph.link(run, place)
    for erasure in model.erasures:
        graph.link(place, graph.add(Node("erasure", erasure.removeprefix("erasure "))))
    if model.variant:
        graph.link(place, graph.add(Node("variant", str(model.variant))))
    return place


def add_answers(graph: Graph, model: Model, place: int, traced: Traced) -> None:
    """What a model answered, by its variant where it has one."""
    if not traced.answers:
        return
    by = graph.add(Node("variant", str(model.variant))) if model.variant else place
    examples = tuple(traced.query_ids[:MOST_EXAMPLES])
    graph.link(by, graph.add(Node("answers", model.model, count=traced.answers, examples=examples)))


def standing(model: Model) -> str:
    """In fixed words: "candidate", "canary", "live", "standing_by", "condemned", "retired", "deleted"."""
    if model.deleted_at:
        return "deleted"
    if model.is_condemned:
        return "condemned"
    if model.stands_by:
        return "standing_by"
    return State(model.state).name.lower()
