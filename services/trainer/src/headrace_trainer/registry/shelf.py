"""The books with a transaction, and finding a model in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from headrace_runtime.errors import NotFound
from headrace_stream import Ledger, Unit

from headrace_trainer.registry.models import Model, State, Variant
from headrace_trainer.registry.ports import Counts, Models, Turns
from headrace_trainer.running.runs import Target

#: So many models of a tenant are looked at.
MOST = 1_000
#: The first digits of a version that are enough to name it.
LEAST_DIGITS = 8


class Books(Models, Counts, Turns, Protocol):
    """Everything that is written down."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Opens the books. now: the clock."""

    ledger: Ledger
    books_on: Callable[[Unit], Books]
    now: Callable[[], datetime]

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[tuple[Unit, Books]]:
        """A transaction in which nobody else changes the tenant's models."""
        async with self.ledger.unit(tenant=tenant) as unit:
            books = self.books_on(unit)
            await books.hold(tenant)
            yield unit, books

    async def get(self, tenant: str, model: str) -> Model | None:
        """One model, by its whole name."""
        async with self.ledger.unit(tenant=tenant) as unit:
            return await self.books_on(unit).get(tenant, model)

    async def all(self, tenant: str) -> Sequence[Model]:
        """Newest first."""
        async with self.ledger.unit(tenant=tenant) as unit:
            return await self.books_on(unit).newest(tenant, MOST)


def find(models: Sequence[Model], wanted: str) -> Model:
    """By "NAME@VERSION", the first 8 or more digits of a version, or "live"; that is the generator, and "live-embedder"
    the embedder. Raises NotFound."""
    for model in models:
        if wanted == model.model or (model.answers and wanted in _live_names(model.target)):
            return model
    if len(wanted) >= LEAST_DIGITS:
        begun = [model for model in models if model.version.startswith(wanted)]
        if len(begun) == 1:
            return begun[0]
    raise NotFound("model", wanted[:200])


def _live_names(target: Target) -> Sequence[str]:
    return ("live", "live-generator") if target is Target.GENERATOR else (f"live-{target.label}",)


def live_of(models: Sequence[Model], target: Target) -> Model | None:
    """The one that answers; None: the base."""
    return next((model for model in models if model.answers and model.target is target), None)


def canary_of(models: Sequence[Model], target: Target) -> Model | None:
    """The one that answers a share; None: none."""
    return next((model for model in models if model.state is State.CANARY and model.target is target), None)


def is_watched(model: Model) -> bool:
    """Whether answers are looked at for it: to be counted, or for the first of its own, which its variant tells."""
    awaits_first = model.answers and model.variant is not None and model.first_answer_at is None
    return model.state is State.CANARY or awaits_first


def by_variant(models: Sequence[Model], variant: Variant) -> Model | None:
    """The trained model that a variant answers with; None: it is the base's, or somebody's own."""
    return next((model for model in models if model.variant == variant), None)


def sound(models: Sequence[Model], variant: Variant) -> Variant:
    """The variant itself; where it is of a model that is condemned or gone, what that one had taken the place of."""
    seen: set[Variant] = set()
    while (model := by_variant(models, variant)) is not None and variant not in seen:
        if not (model.is_condemned or model.state is State.RETIRED) or model.rollout is None:
            break
        seen.add(variant)
        variant = model.rollout.champion
    return variant


def stand_ins(models: Sequence[Model], *, but: Model) -> dict[Variant, Variant]:
    """Whom the variants of models that are condemned or gone are replaced by, other than of the one that is at hand."""
    others = [model for model in models if model.variant and model.model != but.model]
    found = {model.variant: sound(models, model.variant) for model in others if model.variant}
    return {variant: other for variant, other in found.items() if variant != other}
