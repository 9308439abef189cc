"""Models as tests need them."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from headrace_privacy import Tier
from headrace_trainer.registry.models import Model
from headrace_trainer.running.runs import Base, Target


def a_model(name: str = "acme-generator@0123456789abcdef", *, dataset: str = "d1") -> Model:
    """A candidate that nobody has judged."""
    moment = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    return Model(
        tenant="acme",
        model=name,
        target=Target.GENERATOR,
        run_id=UUID(int=1),
        dataset_id=dataset,
        parent="SmolLM2",
        grants=("g1",),
        tier=Tier.TIER_1,
        address=f"file:///models/{name}",
        files={"model.safetensors": "a" * 64},
        base=Base("SmolLM2", "b" * 16),
        registered_at=moment,
        changed_at=moment,
    )
