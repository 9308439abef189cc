"""How measuring is put together."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from headrace.feedback.v1.evaluation_pb2_grpc import add_EvaluationServiceServicer_to_server
from headrace_identity import current_principal
from headrace_privacy import Vault
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Ledger

from headrace_feedback.evaluating.ports import Neighbours
from headrace_feedback.evaluating.postgres import PostgresDesk
from headrace_feedback.evaluating.reading import Reader
from headrace_feedback.evaluating.servicer import EvaluationServicer
from headrace_feedback.evaluating.working import Limits, Parts, Worker
from headrace_feedback.ports import Authorizer

_LIMITS = Limits()


@asynccontextmanager
async def open_evaluations(
    ledger: Ledger, vault: Vault, authorizer: Authorizer, neighbours: Neighbours, *, limits: Limits = _LIMITS
) -> AsyncIterator[Servicer]:
    """Measures what waits while the context is open; returns what serves EvaluationService."""
    parts = Parts(
        desk=PostgresDesk(ledger),
        reader=Reader(vault, neighbours),
        authorizer=authorizer,
        now=lambda: datetime.now(UTC),
        new_nonce=lambda: secrets.token_hex(8),
        limits=limits,
    )
    servicer = EvaluationServicer(parts, caller=current_principal)
    async with Worker(parts, uuid4()).working():
        yield Servicer(add_EvaluationServiceServicer_to_server, servicer, "headrace.feedback.v1.EvaluationService")
