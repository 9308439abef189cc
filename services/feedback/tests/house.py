"""Both edges over one log in memory, with neighbours in memory, and a journal of who was asked for what when."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from headrace.feedback.v1 import service_pb2
from headrace_feedback.adapters.memory import MemoryLog
from headrace_feedback.adapters.vault import VaultKeeper
from headrace_feedback.consumers import Consumers
from headrace_feedback.handlers import Door
from headrace_feedback.ports import Keeper
from headrace_feedback.reading import BATCH, Desk
from headrace_feedback.servicer import FeedbackServicer
from headrace_feedback.uses import Use, Verdict
from headrace_identity import Principal
from headrace_privacy import DataKey, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy_file import read_policy
from headrace_stream.memory import MemoryLedger

from services.feedback.tests.makers import (
    ANSWER,
    NOW,
    SomeAuthorizer,
    SomeClassifier,
    delivery,
    sealed_answer,
)

MADE = UUID("7c1b7b7e-4c39-4b8e-9a53-0d8f0e0a6f10")
CONTEXT: Any = None
PRODUCT = Principal("product", "demo", "user-7")
REVIEWER = Principal("reviewer", "demo", "rita")
DEVELOPER = Principal("developer", "demo", "dora")


class WatchedKeyring(MemoryKeyring):
    """Says in the journal when keys are fetched to open something."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__()
        self._journal = journal

    async def open(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        self._journal.append("opened")
        return await super().open(key_ids)


class WatchedAuthorizer(SomeAuthorizer):
    """Says in the journal when it is asked."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__()
        self._journal = journal

    async def authorize(self, use: Use) -> Verdict:
        self._journal.append("asked")
        return await super().authorize(use)


class WatchedLog(MemoryLog):
    """Says in the journal under which clearance it is read."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__()
        self.journal = journal

    @asynccontextmanager
    async def open(self, tenant: str, *, clearance: Tier = Tier.TIER_2) -> AsyncIterator[MemoryLog]:
        async with super().open(tenant) as view:
            shown = WatchedLog(self.journal)
            shown.interactions, shown.feedback, shown.clearance = view.interactions, view.feedback, clearance
            yield shown

    async def read(self, tenant: str, query_id: UUID) -> Any:
        self.journal.append(f"read up to {self.clearance.label}")
        return await super().read(tenant, query_id)

    async def exported(self, tenant: str, query_ids: Collection[UUID]) -> Any:
        self.journal.append(f"read up to {self.clearance.label}")
        return await super().exported(tenant, query_ids)


class House:
    """Both edges over one log in memory. `caller` is who calls."""

    def __init__(
        self,
        *,
        make_servicer: Callable[..., FeedbackServicer] = FeedbackServicer,
        make_keeper: Callable[[Vault], Keeper] = VaultKeeper,
        make_authorizer: Callable[[list[str]], SomeAuthorizer] = WatchedAuthorizer,
        batch: int = BATCH,
    ) -> None:
        self.journal: list[str] = []
        self.log = WatchedLog(self.journal)
        self.ledger = cast(Any, MemoryLedger())
        self.keyring = WatchedKeyring(self.journal)
        # A clock that runs on: no key is held, so every opening is seen.
        self.vault = Vault(self.keyring, clock=iter(range(0, 10**9, 100)).__next__)
        self.classifier, self.authorizer = SomeClassifier(), make_authorizer(self.journal)
        self.caller = PRODUCT
        door = Door(self.log, self.classifier, make_keeper(self.vault))
        self.consumers = Consumers(self.ledger, self.log_on, door=door)
        self.servicer = make_servicer(
            self.ledger,
            self.log_on,
            door=door,
            desk=Desk(self.log, self.authorizer, read_policy(None), batch=batch),
            vault=self.vault,
            caller=lambda: self.caller,
            new_id=lambda: MADE,
            now=self.now,
        )
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def log_on(self, unit: object) -> MemoryLog:
        del unit
        return self.log

    async def answered(self, query_id: str, **changes: Any) -> None:
        """An answer comes over the bus as inference seals it."""
        message = await sealed_answer(self.keyring, "demo", query_id, **changes)
        await self.consumers.on_answer(delivery(message, ANSWER))

    async def record(self, message: Any) -> service_pb2.RecordResponse:
        return await self.servicer.Record(service_pb2.RecordRequest(feedback=message), CONTEXT)

    async def get(self, query_id: str, *, tenant: str = "demo") -> service_pb2.GetResponse:
        return await self.servicer.Get(service_pb2.GetRequest(tenant=tenant, query_id=query_id), CONTEXT)

    async def export(self, **request: Any) -> list[service_pb2.ExportResponse]:
        whole = service_pb2.ExportRequest(**({"tenant": "demo"} | request))
        return [response async for response in self.servicer.Export(whole, CONTEXT)]

    def stored(self) -> bytes:
        """All that rests of judgements and answers, as bytes."""
        answers = [interaction.record for interaction, _ in self.log.interactions.values()]
        judged = [part for f in self.log.feedback.values() for part in (f.record, f.words.sealed if f.words else b"")]
        return b"\n".join([*answers, *judged, repr(self.ledger.published).encode()])
