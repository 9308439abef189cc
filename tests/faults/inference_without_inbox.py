"""Inference as it must not be: it forgets what took effect, so a record that comes twice is answered twice.

A seeded bug for test_exactly_once.py. Started in the place of `python -m headrace_inference`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from headrace_inference.adapters import postgres
from headrace_inference.app import open_app
from headrace_inference.settings import Settings
from headrace_runtime.service import run
from headrace_stream import Ledger, Unit, envelope


@asynccontextmanager
async def every_time(self: Ledger, delivery: Any, *, tenant: str = "") -> AsyncIterator[Unit]:
    async with self.unit(tenant=tenant) as unit:
        yield unit


async def never(*_: Any, **__: Any) -> bool:
    return False


async def always(*_: Any, **__: Any) -> bool:
    return True


# The inbox, and with it the two lines behind it: the answer's primary key, and ids that a replay makes again.
Ledger.once = every_time  # type: ignore[method-assign,assignment]
postgres.PostgresAnswerIndex.is_answered = never  # type: ignore[method-assign]
postgres.PostgresAnswers.add = always  # type: ignore[method-assign]
envelope.derived_id = lambda *_: uuid4()

if __name__ == "__main__":
    run("inference", Settings, open_app)
