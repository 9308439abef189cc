"""Sealing each row of the audit log outside the database, as soon as it is committed.

    transaction: … INSERT audit ─▶ commit ─▶ seal on the disk ─▶ the caller hears of it

Rows that are committed while a seal is being written share the next one, so many at a time cost one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog
from headrace_identity import PrivateKey
from headrace_identity.tokens import sign_json

from headrace_classifier.adapters.checkpoint_folder import CheckpointFolder
from headrace_classifier.audit import Row
from headrace_classifier.checkpoints import SEAL_KIND, Seal

log = structlog.get_logger()


class Sealer:
    """Writes the seals of one instance. `new_name` names a seal; no two are ever called the same."""

    def __init__(
        self,
        folder: CheckpointFolder,
        key: PrivateKey,
        *,
        now: Callable[[], datetime],
        new_name: Callable[[], str],
    ) -> None:
        self._folder = folder
        self._key = key
        self._now = now
        self._new_name = new_name
        self._name = new_name()
        self._lock = asyncio.Lock()
        self._newest: Row | None = None
        self._sealed = 0
        self._place = 0

    async def seal(self, row: Row) -> None:
        """Takes a row that is committed; returns once the disk has its seal, or a later row's.

        A seal that cannot be written is in the log of the service, and the next checkpoint stands in for it.
        """
        if self._newest is None or row.sequence > self._newest.sequence:
            self._newest = row
        async with self._lock:
            if row.sequence <= self._sealed or self._newest is None:
                return
            newest, name = self._newest, self._name
            try:
                await asyncio.to_thread(self._write, name, newest)
            except OSError as error:
                log.error("no seal of the audit log", error=type(error).__name__)
                return
            if name == self._name:
                self._sealed = newest.sequence

    def look(self, last: Row | None) -> None:
        """Takes the row that the next one is to follow.

        Where that is not what was committed, the log was cut: its seal stays as it is, and another is begun.
        """
        known = self._newest
        if known is None or _follows(known, last):
            return
        log.error("the audit log has lost a row", sequence=known.sequence, mend="run headrace audit verify")
        self._name, self._newest, self._sealed = self._new_name(), None, 0

    def _write(self, name: str, row: Row) -> None:
        seal = Seal(name, row.sequence, row.hash.hex(), self._now())
        self._place = 1 - self._place
        self._folder.write_seal(name, sign_json(seal.claims(), self._key, kind=SEAL_KIND), place=self._place)


def _follows(known: Row, last: Row | None) -> bool:
    """Whether a log that ends with `last` can still have the known row."""
    if last is None or last.sequence < known.sequence:
        return False
    return last.sequence > known.sequence or last.hash == known.hash
