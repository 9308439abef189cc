"""What completes a receipt: what became of the models that had learned from what was erased. Pure.

The receipt is signed when no store has anything left. A model may go on answering until one that never saw what was
erased takes its place, or its time is up; so its end is signed apart, and names the receipt by its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace_classifier.erasures import BASE, Reached, Record, moment

#: The signature's type (RFC 7515, "typ"), which no receipt and no token has.
KIND = "headrace-completion+jwt"


@dataclass(frozen=True, slots=True)
class Completion:
    """All that is signed. models: every one that the receipt lists, each retired."""

    record: Record
    models: Sequence[Reached]
    completed_at: datetime

    def claims(self) -> dict[str, Any]:
        """What the signature covers."""
        return {
            "erasure_id": str(self.record.erasure_id),
            "tenant": self.record.tenant,
            "receipt_sha256": self.receipt_sha256,
            "models": [model_claims(model) for model in self.models],
            "completed_at": moment(self.completed_at),
            "iat": int(self.completed_at.timestamp()),
        }

    @property
    def receipt_sha256(self) -> str:
        """The hash of the receipt that it completes, 64 hex digits; on the bus erasure.completed has the same."""
        return hashlib.sha256(self.record.receipt.encode()).hexdigest()


def model_claims(model: Reached) -> dict[str, str]:
    """Writes one model; what it has no end of yet is left out."""
    claims = {"model": model.model, "dataset_id": model.dataset_id, "retire_by": moment(model.retire_by)}
    if model.retired_at is None:
        return claims
    return claims | {"retired_at": moment(model.retired_at), "replaced_by": model.replaced_by}


def page(completion: Completion) -> str:
    """Writes the completion for people."""
    return "\n".join(_page(completion)) + "\n"


def _page(completion: Completion) -> Iterator[str]:
    yield f"Completed:  {moment(completion.completed_at)}: what learned from it is retired, and the weights are deleted"
    for model in completion.models:
        yield f"  {_end_of(model)}"
    yield f"  It completes the receipt with sha256 {completion.receipt_sha256}"


def _end_of(model: Reached) -> str:
    assert model.retired_at is not None
    ended = f"{model.model}: weights deleted {moment(model.retired_at)}"
    if model.replaced_by == BASE:
        return f"{ended}; the base model answers in its place, which was never trained on it"
    return f"{ended}; {model.replaced_by} answers in its place, which was trained without it"
