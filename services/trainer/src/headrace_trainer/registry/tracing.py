"""Following a lineage: from any of its things, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace_runtime.errors import NotFound

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.lineage import (
    MOST_EXAMPLES,
    Graph,
    Node,
    add_answers,
    add_dataset,
    add_documents,
    add_model,
)
from headrace_trainer.registry.models import Model
from headrace_trainer.registry.ports import Rows, Traced
from headrace_trainer.registry.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Tracer:
    """Asks the registry's books and the feedback logger. Raises Unavailable, NotFound."""

    shelf: Shelf
    rows: Rows

    async def trace(self, tenant: str, what: str, value: str) -> Graph:
        """what: "model", "dataset", "source", "document", "subject" or "query_id". A subject is named by no node."""
        models = await self.shelf.all(tenant)
        if what == "model":
            return await self._of_model(tenant, shelves.find(models, value))
        traced = await self.rows.trace(tenant, what, value)
        graph = Graph()
        if what == "dataset":
            await self._of_dataset(tenant, graph, traced, models)
        elif what == "query_id":
            await self._of_query(tenant, graph, value, traced, models)
        else:
            await self._of_others(tenant, graph, _start(graph, what, value), traced, models)
        return graph

    async def _of_model(self, tenant: str, model: Model) -> Graph:
        graph = Graph()
        try:
            traced = await self.rows.trace(tenant, "dataset", model.dataset_id)
        except NotFound:
            traced = Traced()
        dataset = None
        for one in traced.datasets:
            dataset = add_dataset(graph, one, of=None)
            add_documents(graph, traced.documents, dataset)
        await self._add_model(tenant, graph, model, dataset)
        return graph

    async def _of_dataset(self, tenant: str, graph: Graph, traced: Traced, models: Sequence[Model]) -> None:
        for one in traced.datasets:
            place = add_dataset(graph, one, of=None)
            add_documents(graph, traced.documents, place)
            await self._add_made_of(tenant, graph, one.dataset_id, place, models)

    async def _of_query(
        self, tenant: str, graph: Graph, query_id: str, traced: Traced, models: Sequence[Model]
    ) -> None:
        """The model that answered and what it was made of are behind an answer; what learned from it comes after.
        Raises NotFound where nobody knows of it."""
        if not traced.answers and not traced.datasets:
            raise NotFound("query", query_id)
        answer = graph.add(Node("answers", query_id, count=1, examples=(query_id,)))
        add_documents(graph, traced.documents, answer)
        for model in models:
            if query_id in (await self.rows.trace(tenant, "model_version", model.version)).query_ids:
                graph.link(add_model(graph, model, dataset=None), answer)
        await self._of_others(tenant, graph, answer, traced, models)

    async def _of_others(self, tenant: str, graph: Graph, start: int, traced: Traced, models: Sequence[Model]) -> None:
        if traced.answers and graph.nodes[start].kind != "answers":
            own = Node("answers", "", count=traced.answers, examples=tuple(traced.query_ids[:MOST_EXAMPLES]))
            graph.link(start, graph.add(own))
        for one in traced.datasets:
            place = add_dataset(graph, one, of=start)
            await self._add_made_of(tenant, graph, one.dataset_id, place, models)

    async def _add_made_of(
        self, tenant: str, graph: Graph, dataset_id: str, place: int, models: Sequence[Model]
    ) -> None:
        for model in models:
            if model.dataset_id == dataset_id:
                await self._add_model(tenant, graph, model, place)

    async def _add_model(self, tenant: str, graph: Graph, model: Model, dataset: int | None) -> None:
        place = add_model(graph, model, dataset=dataset)
        add_answers(graph, model, place, await self.rows.trace(tenant, "model_version", model.version))


def _start(graph: Graph, what: str, value: str) -> int:
    """Where it begins. An end user is told by what is theirs, never by name."""
    match what:
        case "source":
            return graph.add(Node("source", value))
        case "document":
            source = graph.add(Node("source", value.partition("/")[0]))
            place = graph.add(Node("document", value))
            graph.link(source, place)
            return place
        case _:
            return graph.add(Node("rows", "of the subject"))
