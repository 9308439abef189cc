"""The model in service was trained on a dataset: from now on windows are measured against the time of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from headrace.training.v1.models_pb2 import MODEL_CHANGE_PROMOTED, ModelChanged
from headrace.training.v1.training_pb2 import TARGET_GENERATOR
from headrace_runtime.errors import Conflict, NotFound
from headrace_stream import Delivery, Event

from headrace_drift.handlers import Office, period_of, set_baseline_to

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModelFollower:
    """Follows models into service."""

    office: Office

    async def on_model(self, delivery: Delivery[ModelChanged]) -> Sequence[Event[Any]]:
        """model.changed: a promoted generator's dataset becomes the baseline, once; it stays as it is where too few
        sketches of the dataset's time are kept. Raises Unavailable."""
        change = delivery.message
        model = change.model
        if change.change != MODEL_CHANGE_PROMOTED or model.target != TARGET_GENERATOR or not model.dataset_id:
            return ()
        try:
            period = await period_of(model.tenant, model.dataset_id, self.office)
            async with self.office.desk.together(model.tenant, [delivery]) as (unit, books, fresh):
                if fresh:
                    await set_baseline_to(period, self.office, by=f"model {model.model}", unit=unit, books=books)
        except (NotFound, Conflict) as reason:
            log.warning("baseline stays", tenant=model.tenant, model=model.model, reason=str(reason))
        return ()
