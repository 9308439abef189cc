"""The part of the client that routes: kinds of query, and who answers which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.inference.v1 import routes_pb2
from headrace.inference.v1.routes_pb2_grpc import RouteServiceStub
from headrace.privacy.v1.privacy_pb2 import TIER_UNSPECIFIED, Tier

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.inference.v1.routes_pb2_grpc import RouteServiceAsyncStub

#: Seconds that a call may take, and that learning kinds may: thousands of examples are embedded.
_CALL_TIMEOUT = 30.0
_LEARN_TIMEOUT = 300.0


class Routing:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def put_kinds(
        self, kinds: Sequence[routes_pb2.Kind], *, tenant: str, timeout: float = _LEARN_TIMEOUT
    ) -> routes_pb2.PutKindsResponse:
        """Replaces a tenant's kinds of query; returns how well they can be told apart."""
        callee, stub = self._routes()
        request = routes_pb2.PutKindsRequest(tenant=tenant, kinds=kinds)
        return await callee.unary(stub.PutKinds, request, name="PutKinds", timeout=timeout)

    async def kinds(self, *, tenant: str, timeout: float = _LEARN_TIMEOUT) -> routes_pb2.GetKindsResponse:
        """The kinds in force."""
        callee, stub = self._routes()
        request = routes_pb2.GetKindsRequest(tenant=tenant)
        return await callee.unary(stub.GetKinds, request, name="GetKinds", timeout=timeout)

    async def put_route(
        self, route: routes_pb2.Route, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> routes_pb2.Route:
        """Sends a kind of query to variants; returns the route as it is stored."""
        callee, stub = self._routes()
        request = routes_pb2.PutRouteRequest(tenant=tenant, route=route)
        return (await callee.unary(stub.PutRoute, request, name="PutRoute", timeout=timeout)).route

    async def delete_route(self, kind: str, *, tenant: str, reason: str = "", timeout: float = _CALL_TIMEOUT) -> None:
        """Takes a kind's route away."""
        callee, stub = self._routes()
        request = routes_pb2.DeleteRouteRequest(tenant=tenant, kind=kind, reason=reason)
        await callee.unary(stub.DeleteRoute, request, name="DeleteRoute", timeout=timeout)

    async def routes(self, *, tenant: str, kind: str = "", timeout: float = _CALL_TIMEOUT) -> list[routes_pb2.Route]:
        """The routes in force, or every version of one kind's, newest first."""
        callee, stub = self._routes()
        request = routes_pb2.ListRoutesRequest(tenant=tenant, kind=kind)
        return list((await callee.unary(stub.ListRoutes, request, name="ListRoutes", timeout=timeout)).routes)

    async def explain_route(
        self,
        *,
        tenant: str,
        text: str = "",
        kind: str = "",
        tier: Tier.ValueType = TIER_UNSPECIFIED,
        conversation_id: str = "",
        kinds_model: str = "",
        timeout: float = _CALL_TIMEOUT,
    ) -> routes_pb2.ExplainRouteResponse:
        """Which variant would answer a question, or a kind, now; TIER_2 where no tier is named. kinds_model: a trained
        model, "NAME@VERSION", that recognises the question's kind, in service or not; "examples": those alone."""
        callee, stub = self._routes()
        request = routes_pb2.ExplainRouteRequest(
            tenant=tenant,
            text=text,
            kind=kind,
            tier=tier,
            conversation_id=conversation_id,
            kinds_model=kinds_model,
        )
        return await callee.unary(stub.ExplainRoute, request, name="ExplainRoute", timeout=timeout)

    def _routes(self) -> tuple[Callee, RouteServiceAsyncStub]:
        callee = self._channels.callee("inference", "headrace.inference.v1.RouteService")
        return callee, RouteServiceStub(callee.channel)
