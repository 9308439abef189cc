"""The part of the composition root that erases: the coordinator, the classifier's own part, and what runs by time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import structlog
from headrace import topics
from headrace.privacy.v1.erasure_pb2_grpc import add_ErasureServiceServicer_to_server
from headrace_database import Connection, Database
from headrace_identity import PrivateKey, current_principal
from headrace_privacy import Owner, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Conflict, Unavailable
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Bus, Ledger
from headrace_stream.erasing import Document, Eraser, Erasure, Expired, Names, Source, Subject
from headrace_stream.trimming import CannotTrim, Trimmer
from headrace_stream.worker import group_of

from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.adapters.postgres_keys import PostgresKeys
from headrace_classifier.adapters.postgres_models import ModelLog
from headrace_classifier.coordinator import Coordinator
from headrace_classifier.erasure_servicer import ErasureServicer
from headrace_classifier.erasures import SERVICES
from headrace_classifier.retention import Retention

log = structlog.get_logger()

#: How often the next rounds that are due are announced, and how often the policy's retention is looked at, in seconds.
ANNOUNCE_SECONDS = 2.0
EXPIRE_SECONDS = 3_600.0

KEYS = "classifier.data_keys"


@dataclass(frozen=True, slots=True)
class KeyHoldings:
    """The classifier's own: data keys. They go with the request already; what came between goes here."""

    database: Database
    keys: PostgresKeys
    how: Mapping[str, str]

    async def remove(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.remove. Nothing may be left that was there when it was asked for."""
        del names
        tenant = erasure.tenant
        match erasure.what:
            case Subject(name) if await self._count(connection, erasure):
                return {KEYS: await self.keys.destroy(connection, Owner.subject(tenant, name))}
            case Source(source):
                return {KEYS: await self.keys.destroy_source(connection, tenant, source)}
            case Document(source, document_id):
                return {KEYS: await self.keys.destroy(connection, Owner.document(tenant, source, document_id))}
            case _:
                return {KEYS: 0}

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.clear."""
        if not isinstance(erasure.what, Expired):
            await self.database.rewrite("data_keys")
        return {}

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.left."""
        del names
        return {KEYS: await self._count(connection, erasure)}

    async def left_elsewhere(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.left_elsewhere. There is nothing elsewhere."""
        del erasure
        return {}

    async def _count(self, connection: Connection, erasure: Erasure) -> int:
        tenant, until = erasure.tenant, erasure.requested_at
        match erasure.what:
            case Subject(name):
                return await self.keys.count(connection, Owner.subject(tenant, name), until=until)
            case Source(source):
                return await self.keys.count_source(connection, tenant, source, until=until)
            case Document(source, document_id):
                return await self.keys.count(connection, Owner.document(tenant, source, document_id), until=until)
            case Expired():
                return 0


@asynccontextmanager
async def open_erasures(
    database: Database,
    ledger: Ledger,
    bus: Bus,
    *,
    keys: PostgresKeys,
    vault: Vault,
    audit: PostgresAudit,
    policy: Policy,
    signer: PrivateKey,
    checkpoint: Callable[[], Awaitable[object]],
    trimmer: Trimmer,
) -> AsyncIterator[Servicer]:
    """Subscribes to what erasures cause, looks at what time causes, and serves ErasureService."""
    coordinator = Coordinator(
        database=database,
        ledger=ledger,
        keys=keys,
        vault=vault,
        audit=audit,
        policy=policy,
        signer=signer,
        forget_named=partial(forget_named, trimmer),
        checkpoint=checkpoint,
        now=_now,
        new_id=uuid4,
    )
    holdings = KeyHoldings(database, keys, {KEYS: "key destroyed"})
    subscribe(bus, coordinator, Eraser("classifier", ledger, vault, holdings, _now))
    ModelLog(ledger, audit, coordinator, policy.version, _now).subscribe(bus)
    async with _repeating(coordinator, Retention(coordinator, policy)):
        servicer = ErasureServicer(coordinator, database, caller=current_principal)
        yield Servicer(add_ErasureServiceServicer_to_server, servicer, "headrace.privacy.v1.ErasureService")


def subscribe(bus: Bus, coordinator: Coordinator, eraser: Eraser) -> None:
    """Wires the coordinator, and the classifier's own part."""
    bus.subscribe(topics.ERASURE_APPLIED, coordinator.on_applied)
    bus.subscribe(topics.ERASURE_VERIFIED, coordinator.on_verified)
    bus.subscribe(topics.ERASURE_REQUESTED, partial(eraser.apply, topics.ERASURE_APPLIED))
    bus.subscribe(topics.ERASURE_VERIFYING, partial(eraser.verify, topics.ERASURE_VERIFIED))


async def forget_named(trimmer: Trimmer) -> bool:
    """Takes off the bus what names whom an erasure is about, once every service has read it."""
    named: tuple[Any, ...] = (topics.ERASURE_REQUESTED, topics.ERASURE_VERIFYING)
    try:
        for topic in named:
            await trimmer.trim(topic, *(group_of(service, topic.name) for service in SERVICES))
    except CannotTrim:
        return False
    return True


@asynccontextmanager
async def _repeating(coordinator: Coordinator, retention: Retention) -> AsyncIterator[None]:
    """Looks at what time causes while the context is open."""

    async def expire() -> None:
        await retention.expire(_now())

    tasks = [
        asyncio.create_task(_repeat(coordinator.announce_due, ANNOUNCE_SECONDS)),
        asyncio.create_task(_repeat(expire, EXPIRE_SECONDS)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(look: Callable[[], Awaitable[object]], seconds: float) -> None:
    while True:
        try:
            await look()
        except (Unavailable, Conflict) as error:
            log.warning("erasures wait", reason=str(error))
        except asyncpg.PostgresError as error:
            log.error("erasures wait", error=type(error).__name__)
        await asyncio.sleep(seconds)


def _now() -> datetime:
    return datetime.now(UTC)
