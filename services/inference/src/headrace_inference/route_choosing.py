"""From a query to those who may answer it: its kind, its route, and what stands in each variant's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import numpy as np
from headrace_privacy import Tier
from numpy.typing import NDArray

from headrace_inference.domain import Variant, Versioned
from headrace_inference.kinds import OTHER, Embedder, Recognised, Recognises, TrainedRecogniser
from headrace_inference.ports import Gate, Model
from headrace_inference.route_ports import Spending
from headrace_inference.route_records import Learned, Table
from headrace_inference.route_tables import RouteTables
from headrace_inference.routing import (
    Asked,
    Choice,
    Chosen,
    Route,
    Standing,
    choose,
    route_for,
    shadows_of,
)

Vector = NDArray[np.float32]


class Broken(Exception):
    """A variant cannot answer on this instance. Its text is in fixed words."""


class NotYet(Broken):
    """It will be able to, in some seconds: its model is being loaded."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """A variant that is ready to answer, with its backend's model and what guards it."""

    variant: Variant
    model: Model
    gate: Gate
    backend: str

    def named(self, key: Versioned) -> Answerer:
        """The same under another variant's name: who signs for one that is broken."""
        return replace(self, variant=replace(self.variant, name=key.name, version=key.version), backend="")


class Answerers(Protocol):
    """Who can answer."""

    async def of(self, tenant: str, key: Versioned) -> Answerer:
        """A variant that is ready. Raises Broken; Unavailable where nothing is known of the tenant yet."""

    def standing(self, tenant: str, answerer: Answerer, tier: Tier) -> Standing:
        """What can be expected of it now, for a question with passages of this tier at most."""


class Heads(Protocol):
    """The trained models that recognise kinds."""

    def in_service(self, tenant: str) -> TrainedRecogniser | None:
        """The one that was promoted last; None where there is none, or it is not in memory."""

    def promoted(self, tenant: str) -> str:
        """The name of the one that was promoted last, "NAME@VERSION", in memory or not; "" where there is none."""

    def named(self, tenant: str, model: str) -> TrainedRecogniser:
        """One by its name, "NAME@VERSION", in service or not. Raises Broken."""


class NoHeads:
    """See Heads. Examples alone tell kinds."""

    def in_service(self, tenant: str) -> TrainedRecogniser | None:
        """See Heads.in_service."""
        del tenant
        return None

    def promoted(self, tenant: str) -> str:
        """See Heads.promoted."""
        del tenant
        return ""

    def named(self, tenant: str, model: str) -> TrainedRecogniser:
        """See Heads.named."""
        raise Broken(f"{tenant} has no model {model} that recognises kinds")


@dataclass(frozen=True, slots=True)
class Arriving:
    """A query as it comes to be answered. tier: the strictest of the question and its passages.

    vector, embedder: the question's, where the event has them.
    """

    tenant: str
    query_id: str
    conversation_id: str
    tier: Tier
    accepted_at: datetime | None
    vector: Vector | None = field(default=None, repr=False)
    embedder: Embedder | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How a query may be answered. chosen: what is known of it before anybody has. shadows: who answers a copy."""

    choice: Choice
    answerers: Mapping[Versioned, Answerer]
    chosen: Chosen
    shadows: tuple[Versioned, ...] = ()

    def taken(self, choice: Choice) -> Chosen:
        """What the answer of the choice's first tells."""
        first = choice.candidates[0]
        backend = self.answerers[first.variant].backend
        return replace(self.chosen, reason=first.reason, passed_over=choice.passed_over, backend=backend)


@dataclass(frozen=True, slots=True)
class Router:
    """Finds ways. default: who answers where a tenant has no route, and where none of a route's can."""

    tables: RouteTables
    answerers: Answerers
    spending: Spending
    default: Versioned
    now: Callable[[], datetime]
    heads: Heads = NoHeads()  # noqa: RUF009 - it has no state

    async def way(self, query: Arriving) -> Way:
        """The way of a query. Reads nothing from a database when the tenant is known. Raises Unavailable."""
        table = await self.tables.of(query.tenant)
        found = self.recognise(query, table)
        return await self.way_of_kind(query, table, found)

    async def way_of_kind(self, query: Arriving, table: Table, found: Recognised) -> Way:
        """As way, for a query of a known kind."""
        version = table.kinds_version if found.confidence else 0
        chosen = Chosen(found.kind, found.confidence, version, kinds_model=found.model)
        route = route_for(table.routes, found.kind)
        if route is None:
            return await self._default_way(query, chosen)
        return await self._way_of(route, query, replace(chosen, route=route.kind, route_version=route.version))

    def recognise(self, query: Arriving, table: Table) -> Recognised:
        """The query's kind; "other" where there are none, and while they are being learned with its embedder."""
        recogniser = self.recogniser_for(query, table)
        if recogniser is None or query.vector is None:
            return Recognised(OTHER, 0.0)
        return recogniser.recognise(query.vector)

    def recogniser_for(self, query: Arriving, table: Table) -> Recognises | None:
        """What tells kinds now: the trained model in service, where it learned these kinds by this embedder's vectors;
        else the tenant's examples, which are learned beside it in any case; None where there are none yet."""
        learned = self.learned_for(query, table)
        head = self._head_for(query.tenant, table, query.embedder)
        return head or (learned.recogniser if learned else None)

    def model_for(self, tenant: str, table: Table, embedder: Embedder) -> str:
        """The trained model that tells kinds by this embedder's vectors now, "NAME@VERSION"; "" where examples do."""
        head = self._head_for(tenant, table, embedder)
        return head.model if head else ""

    def _head_for(self, tenant: str, table: Table, embedder: Embedder | None) -> TrainedRecogniser | None:
        head = self.heads.in_service(tenant)
        return head if head is not None and _fits(head, table, embedder) else None

    def named_recogniser(self, model: str, query: Arriving, table: Table) -> Recognises:
        """A trained model by its name, for trials. Raises Broken where it is not there, or would never be asked."""
        head = self.heads.named(query.tenant, model)
        if not _fits(head, table, query.embedder):
            raise Broken(f"{model} learned other kinds than those in force, or from another embedder's vectors")
        return head

    def learned_for(self, query: Arriving, table: Table) -> Learned | None:
        """What tells kinds by examples and this embedder's vectors; where there is nothing yet, it is being learned."""
        if table.kinds is None or query.embedder is None or query.vector is None:
            return None
        learned = table.learned.get(query.embedder.hash)
        if learned is None:
            self.tables.teach(query.tenant, table, query.embedder)
        return learned

    async def _default_way(self, query: Arriving, chosen: Chosen) -> Way:
        answerer = await self.answerers.of(query.tenant, self.default)
        return Way(Choice(()).with_default(self.default), {self.default: answerer}, chosen)

    async def _way_of(self, route: Route, query: Arriving, chosen: Chosen) -> Way:
        asked = await self._asked(route, query)
        answerers: dict[Versioned, Answerer] = {}
        standings: dict[Versioned, Standing] = {}
        for key in [*(arm.variant for arm in route.arms), *route.fallbacks]:
            standings[key] = await self._standing(key, query, answerers)
        choice = choose(route, asked, standings.__getitem__).with_default(self.default)
        if self.default not in answerers:
            answerers[self.default] = await self.answerers.of(query.tenant, self.default)
        first = choice.candidates[0].variant
        shadows = tuple(key for key in shadows_of(route, asked) if key != first)
        return Way(choice, answerers, chosen, shadows)

    async def _asked(self, route: Route, query: Arriving) -> Asked:
        elapsed = self.now() - query.accepted_at if query.accepted_at else None
        spent = 0
        if route.limits.daily_budget_micro_usd:
            spent = await self.spending.spent_today(query.tenant, route.kind)
        return Asked(
            query.tenant,
            query.query_id,
            query.conversation_id,
            query.tier,
            elapsed_ms=max(0.0, elapsed.total_seconds() * 1000) if elapsed else 0.0,
            spent_micro_usd=spent,
        )

    async def _standing(self, key: Versioned, query: Arriving, answerers: dict[Versioned, Answerer]) -> Standing:
        try:
            answerer = answerers[key] = await self.answerers.of(query.tenant, key)
        except Broken:
            return Standing(obstacle="broken")
        return self.answerers.standing(query.tenant, answerer, query.tier)


def _fits(head: TrainedRecogniser, table: Table, embedder: Embedder | None) -> bool:
    if table.kinds is None or embedder is None:
        return False
    return head.fits(table.kinds.kinds, table.kinds.version, embedder)
