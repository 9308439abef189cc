"""The gRPC edge of kinds and routes. Who may call what is decided before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from grpc.aio import ServicerContext
from headrace.inference.v1 import routes_pb2
from headrace.inference.v1.routes_pb2_grpc import RouteServiceServicer
from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, NotFound, Unavailable

from headrace_inference import route_handlers as handlers
from headrace_inference import route_translate as translate
from headrace_inference.kinds import OTHER, Recognised, Recognises
from headrace_inference.route_choosing import Arriving, Broken, NotYet, Router
from headrace_inference.route_handlers import Making, Variants
from headrace_inference.route_ports import RouteBooks
from headrace_inference.route_records import Table

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class RouteServicer(RouteServiceServicer):
    """Serves headrace.inference.v1.RouteService."""

    books: RouteBooks
    router: Router
    variants: Variants
    caller: Callable[[], Principal]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID] = uuid4

    async def PutKinds(self, request: routes_pb2.PutKindsRequest, context: Context) -> routes_pb2.PutKindsResponse:
        """Raises Rejected; Unavailable and Overloaded while the examples cannot be embedded."""
        version, learned = await handlers.put_kinds(
            request.tenant,
            translate.to_kinds(request),
            books=self.books,
            tables=self.router.tables,
            making=self._making(),
        )
        return routes_pb2.PutKindsResponse(version=version, quality=map(translate.from_quality, learned.quality))

    async def GetKinds(self, request: routes_pb2.GetKindsRequest, context: Context) -> routes_pb2.GetKindsResponse:
        """Raises NotFound; Unavailable while kinds of another release are learned anew."""
        table = await self.router.tables.of(request.tenant)
        if table.kinds is None:
            raise NotFound("kinds of", request.tenant)
        learned = next(iter(table.learned.values()), None)
        if learned is None:
            learned = await self.router.tables.learn(request.tenant, table.kinds)
        asked = self.router.model_for(request.tenant, table, learned.embedder)
        promoted = self.router.heads.promoted(request.tenant)
        return routes_pb2.GetKindsResponse(
            version=table.kinds.version,
            kinds=map(translate.from_kind, table.kinds.kinds),
            quality=map(translate.from_quality, learned.quality),
            embedder=translate.from_embedder(learned.embedder),
            kinds_model=asked,
            passed_over_model=promoted if promoted != asked else "",
        )

    async def PutRoute(self, request: routes_pb2.PutRouteRequest, context: Context) -> routes_pb2.PutRouteResponse:
        """Raises Rejected; Conflict, which says which variant is broken, and how."""
        table = await self.router.tables.of(request.tenant)
        translate.check_route(request.route, kinds=_names(table))
        record = await handlers.put_route(
            request.tenant,
            translate.to_route(request.route),
            request.route.reason,
            books=self.books,
            tables=self.router.tables,
            variants=self.variants,
            making=self._making(),
        )
        return routes_pb2.PutRouteResponse(route=translate.from_record(record))

    async def DeleteRoute(
        self, request: routes_pb2.DeleteRouteRequest, context: Context
    ) -> routes_pb2.DeleteRouteResponse:
        """Raises Rejected, NotFound."""
        translate.check_reason(request.reason)
        await handlers.delete_route(
            request.tenant,
            request.kind,
            request.reason,
            books=self.books,
            tables=self.router.tables,
            making=self._making(),
        )
        return routes_pb2.DeleteRouteResponse()

    async def ListRoutes(
        self, request: routes_pb2.ListRoutesRequest, context: Context
    ) -> routes_pb2.ListRoutesResponse:
        """Those in force, or every version of one kind's."""
        async with self.books.open(request.tenant) as book:
            if request.kind:
                records = list(await book.versions_of(request.kind))
            else:
                records = [record for record in await book.newest_routes() if not record.deleted]
        return routes_pb2.ListRoutesResponse(routes=map(translate.from_record, records))

    async def ExplainRoute(
        self, request: routes_pb2.ExplainRouteRequest, context: Context
    ) -> routes_pb2.ExplainRouteResponse:
        """Raises Rejected; Unavailable and Overloaded while the text cannot be embedded; Conflict for a model that
        cannot recognise it."""
        table = await self.router.tables.of(request.tenant)
        translate.check_explained(request, kinds=_names(table))
        query = await self._arriving(request)
        scores = self._scores(query, table, request.kinds_model)
        found = scores[0] if scores else Recognised(request.kind or OTHER, 1.0 if request.kind else 0.0)
        way = await self.router.way_of_kind(query, table, found)
        return routes_pb2.ExplainRouteResponse(
            variant=translate.from_key(way.choice.candidates[0].variant),
            routing=translate.from_chosen(way.taken(way.choice)),
            scores=map(translate.from_score, scores),
        )

    async def _arriving(self, request: routes_pb2.ExplainRouteRequest) -> Arriving:
        tier = Tier(request.tier) if request.tier else Tier.TIER_2
        asked = (request.tenant, str(self.new_id()), request.conversation_id, tier, self.now())
        if not request.text:
            return Arriving(*asked)
        vectors, embedder = await self.router.tables.embedder.embed([request.text])
        return Arriving(*asked, vectors[0].astype(np.float32), embedder)

    def _scores(self, query: Arriving, table: Table, model: str) -> list[Recognised]:
        """Best first, by the model that is named, or by what is in service; empty where nothing tells kinds."""
        if query.vector is None:
            return []
        recogniser = self._recogniser(query, table, model)
        return recogniser.scores(query.vector) if recogniser else []

    def _recogniser(self, query: Arriving, table: Table, model: str) -> Recognises | None:
        if not model:
            return self.router.recogniser_for(query, table)
        if model == translate.EXAMPLES:
            learned = self.router.learned_for(query, table)
            return learned.recogniser if learned else None
        try:
            return self.router.named_recogniser(model, query, table)
        except NotYet:
            raise Unavailable("the model") from None
        except Broken as error:
            raise Conflict(str(error)) from None

    def _making(self) -> Making:
        return Making(self.caller(), self.now(), self.new_id)


def _names(table: Table) -> set[str]:
    return {kind.name for kind in table.kinds.kinds} if table.kinds else set()
