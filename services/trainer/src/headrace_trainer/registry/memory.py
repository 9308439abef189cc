"""The registry's books in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from headrace_trainer.registry.evidence import Answer, Sample, Thumb
from headrace_trainer.registry.models import Model
from headrace_trainer.registry.records import from_json, to_json

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Turn:
    due_at: datetime
    watched: int
    holder: UUID | None = None
    held_until: datetime | None = None


@dataclass(slots=True)
class MemoryBooks:
    """See ports.Models, ports.Counts and ports.Turns."""

    models: dict[tuple[str, str], str] = field(default_factory=dict)
    answers: dict[tuple[str, str], dict[UUID, Answer]] = field(default_factory=dict)
    thumbs: dict[tuple[str, UUID], int] = field(default_factory=dict)
    turns: dict[tuple[str, str], _Turn] = field(default_factory=dict)

    async def hold(self, tenant: str) -> None:
        """Nobody else is there."""

    async def add(self, model: Model) -> bool:
        if (model.tenant, model.model) in self.models or await self.of_run(model.tenant, model.run_id):
            return False
        self.models[model.tenant, model.model] = to_json(model)
        return True

    async def save(self, model: Model) -> None:
        self.models[model.tenant, model.model] = to_json(model)

    async def get(self, tenant: str, model: str) -> Model | None:
        found = self.models.get((tenant, model))
        return from_json(found) if found else None

    async def of_run(self, tenant: str, run_id: UUID) -> Model | None:
        return next((model for model in await self.newest(tenant, 1_000) if model.run_id == run_id), None)

    async def of_dataset(self, tenant: str, dataset_id: str) -> Sequence[Model]:
        return [model for model in await self.newest(tenant, 1_000) if model.dataset_id == dataset_id]

    async def newest(self, tenant: str, most: int) -> Sequence[Model]:
        mine = [from_json(text) for (of, _), text in self.models.items() if of == tenant]
        return sorted(mine, key=lambda model: (model.registered_at, model.model), reverse=True)[:most]

    async def count(self, tenant: str, model: str, query_id: UUID, answer: Answer) -> None:
        self.answers.setdefault((tenant, model), {}).setdefault(query_id, answer)

    async def thumb(self, tenant: str, query_id: UUID, *, up: int) -> None:
        self.thumbs[tenant, query_id] = up

    async def sample(self, tenant: str, model: str, *, share: float, most: int) -> Sample:
        answers = self.answers.get((tenant, model), {})
        judged = [(answers[q], up) for (of, q), up in self.thumbs.items() if of == tenant and q in answers]
        thumbs = [Thumb(answer.side, bool(up)) for answer, up in judged]
        return Sample(list(answers.values())[:most], thumbs, share)

    async def forget(self, tenant: str, model: str) -> None:
        self.answers.pop((tenant, model), None)
        for key in [key for key in self.thumbs if key[0] == tenant]:
            del self.thumbs[key]

    async def put(self, tenant: str, model: str, *, due_at: datetime, watched: int) -> None:
        turn = self.turns.setdefault((tenant, model), _Turn(due_at, watched))
        turn.due_at, turn.watched = due_at, watched

    async def drop(self, tenant: str, model: str) -> None:
        self.turns.pop((tenant, model), None)

    async def take(self, holder: UUID, *, now: datetime, seconds: float) -> tuple[str, str] | None:
        for key, turn in sorted(self.turns.items(), key=lambda item: (item[1].due_at, item[0])):
            is_free = turn.held_until is None or turn.held_until <= now
            if is_free and (turn.due_at <= now or turn.holder is not None):
                turn.holder, turn.held_until, turn.due_at = holder, now + timedelta(seconds=seconds), _NEVER
                return key
        return None

    async def release(self, holder: UUID, tenant: str, model: str, *, due_at: datetime) -> None:
        turn = self.turns.get((tenant, model))
        if turn is not None and turn.holder == holder:
            turn.holder, turn.held_until = None, None
            turn.due_at = min(turn.due_at, due_at)

    async def watched(self) -> Sequence[tuple[str, str]]:
        return sorted(key for key, turn in self.turns.items() if turn.watched)
