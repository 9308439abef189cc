"""Making checkpoints, signed with the classifier's own key, and reading what they prove."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog
from headrace_database import Database
from headrace_identity import EVERYBODY, Identities, PrivateKey, Unproven, key_set
from headrace_identity.keys import parse_key_set
from headrace_identity.tokens import read_signed, sign_json
from headrace_runtime.errors import Conflict, Unavailable

from headrace_classifier.adapters.checkpoint_folder import CheckpointFolder
from headrace_classifier.adapters.postgres_audit import PostgresAudit, PostgresAuditReader
from headrace_classifier.checkpoints import (
    KIND,
    SEAL_KIND,
    Checkpoint,
    Seal,
    Signed,
    next_checkpoint,
    read_claims,
    read_seal,
)
from headrace_classifier.verifying import Evidence

log = structlog.get_logger()

#: A checkpoint cannot be replaced, as a seal can; what has only a seal is at most so old, in seconds.
EVERY_SECONDS = 60.0
#: A seal that a checkpoint stands in for is removed when it is so old: an instance that lives writes its own anew.
KEEP_SEALS = timedelta(days=1)
ROLE = "service:classifier"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Makes checkpoints. One instance at a time does."""

    database: Database
    audit: PostgresAudit
    folder: CheckpointFolder
    key: PrivateKey
    now: Callable[[], datetime]

    async def make(self) -> Checkpoint | None:
        """Seals the log's last row, unless it is sealed already.

        Raises Unavailable; Conflict when the log ends before what was sealed last; OSError when the file cannot be
        written.
        """
        async with self.database.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('headrace checkpoints'))")
            noted = await connection.fetchrow(
                "SELECT coalesce(max(number), 0) AS number, coalesce(max(sequence), 0) AS sequence FROM checkpoints"
            )
            assert noted is not None
            head = await self.audit.last(connection)
            if (head.sequence if head else 0) < noted["sequence"]:
                raise Conflict("the audit log ends before what its last checkpoint sealed: run headrace audit verify")
            if head is None or head.sequence == noted["sequence"]:
                return None
            last = await asyncio.to_thread(self.folder.last)
            number = max(last.number if last else 0, noted["number"]) + 1
            checkpoint = next_checkpoint(last, head, number=number, now=self.now())
            # The file first: a row without its file is a fault, a file without its row is not.
            signed = Signed(number, sign_json(checkpoint.claims(), self.key, kind=KIND))
            await asyncio.to_thread(self.folder.write, signed)
            await connection.execute(
                "INSERT INTO checkpoints (number, sequence, signed, made_at) VALUES ($1, $2, $3, $4)",
                number,
                checkpoint.sequence,
                signed.text,
                checkpoint.made_at,
            )
        return checkpoint

    async def drop_old_seals(self) -> None:
        """Removes the seals of instances that are gone, where what they say is so and a checkpoint says it too."""
        own = _only(self.key)
        for name, texts in (await asyncio.to_thread(self.folder.read_seals)).items():
            seal = await proven_seal(texts, own)
            if seal is not None and seal.made_at < self.now() - KEEP_SEALS and await self._is_kept(seal):
                await asyncio.to_thread(self.folder.remove_seal, name)

    async def _is_kept(self, seal: Seal) -> bool:
        async with self.database.transaction() as connection:
            found = await connection.fetchval(
                "SELECT hash FROM audit WHERE sequence = $1 AND $1 <= (SELECT max(sequence) FROM checkpoints)",
                seal.sequence,
            )
        return bool(found) and found.hex() == seal.hash


@asynccontextmanager
async def keeping(checkpoints: Checkpoints, *, seconds: float = EVERY_SECONDS) -> AsyncIterator[None]:
    """Makes a checkpoint every minute in which something changed, and one at the end, while the context is open."""
    await checkpoints.drop_old_seals()
    task = asyncio.create_task(_keep(checkpoints, seconds))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await try_to_make(checkpoints)


async def _keep(checkpoints: Checkpoints, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        await try_to_make(checkpoints)


async def try_to_make(checkpoints: Checkpoints) -> None:
    """What went wrong is in the log of the service; the next minute tries again."""
    try:
        await checkpoints.make()
    except (Unavailable, Conflict) as error:
        log.error("no checkpoint of the audit log", reason=str(error))
    except (OSError, asyncpg.PostgresError) as error:
        log.error("no checkpoint of the audit log", error=type(error).__name__)


@dataclass(frozen=True, slots=True)
class Evidences:
    """Reads what is known of the log from outside."""

    reader: PostgresAuditReader
    folder: CheckpointFolder
    identities: Identities

    async def read(self) -> Evidence:
        """What the files prove, and what the database remembers of the checkpoints. Raises Unavailable."""
        noted = await self.reader.noted_checkpoints()  # first: a file may come after it, but none is noted without one
        files = await asyncio.to_thread(self.folder.read_all)
        checkpoints = [(each, read_claims(await proven(each.text, KIND, self.identities))) for each in files]
        return Evidence(checkpoints, noted, await self._seals())

    async def _seals(self) -> dict[str, Seal | None]:
        found = await asyncio.to_thread(self.folder.read_seals)
        return {name: await proven_seal(texts, self.identities) for name, texts in found.items()}


async def proven(text: str, kind: str, identities: Identities) -> Mapping[str, Any]:
    """What a classifier signed; nothing where none of these identities did."""
    try:
        claims, key = await read_signed(text, identities, kinds=(kind,))
    except Unproven:
        return {}
    return claims if key.allows(ROLE, EVERYBODY) else {}


async def proven_seal(texts: Iterable[str], identities: Identities) -> Seal | None:
    """The later of the seals in a file; None where none of them is a classifier's."""
    seals = [read_seal(await proven(text, SEAL_KIND, identities)) for text in texts]
    return max((seal for seal in seals if seal is not None), key=lambda seal: seal.sequence, default=None)


def _only(key: PrivateKey) -> Identities:
    """One key, without its private half, as all that is believed."""
    content = json.dumps(key_set([key]))
    return Identities(parse_key_set(content, origin="its own"), lambda: content, origin="its own", clock=time.monotonic)
