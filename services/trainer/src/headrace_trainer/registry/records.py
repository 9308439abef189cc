"""A model as JSON and back, for the table."""

from __future__ import annotations

from pydantic import TypeAdapter

from headrace_trainer.registry.models import Model

_ADAPTER = TypeAdapter(Model)


def to_json(model: Model) -> str:
    """Writes it."""
    return _ADAPTER.dump_json(model).decode()


def from_json(text: str) -> Model:
    """Reads it."""
    return _ADAPTER.validate_json(text)
