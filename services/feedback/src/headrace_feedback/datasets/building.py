"""Building a snapshot of the log.

log ─▶ Sieve (no words) ─▶ Exporting: policy, grants, audit, batch by batch ─▶ Taker: opened, measured, sealed anew
passages of documents ─▶ Sources, see documents.py: the same ─▶ PassageTaker
    ─▶ spill on disk ─▶ select (numbers) ─▶ data, manifest, card ─▶ books and store in one transaction
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast
from uuid import UUID

from headrace.retrieval.v1.retrieval_pb2 import RetrievedChunk
from headrace_identity import Principal
from headrace_privacy import Tier, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Conflict
from headrace_stream.erasing import Names, names_of

from headrace_feedback.datasets import documents
from headrace_feedback.datasets.candidates import Candidate, Page, unwanted
from headrace_feedback.datasets.documents import PassageTaker, Sources
from headrace_feedback.datasets.manifest import card_json, card_markdown, card_of, counts_of, id_of, manifest_of
from headrace_feedback.datasets.ports import Documents, Log, LogReader, Store
from headrace_feedback.datasets.selecting import select
from headrace_feedback.datasets.shelf import CARD_JSON, CARD_MARKDOWN, DATA, MANIFEST, Spill, sha256_of, write_data
from headrace_feedback.datasets.similarity import Hashes, Vocabulary
from headrace_feedback.datasets.snapshots import Excluded, Exclusion, Order, Row, Snapshot
from headrace_feedback.datasets.words import Hasher, Taken, Taker, hasher_of, prepare
from headrace_feedback.interaction import Exported, Outline
from headrace_feedback.ports import Authorizer, Reader
from headrace_feedback.reading import Desk, Exporting, Leave, Readable
from headrace_feedback.uses import Span, Wish

#: Interactions that are authorized, opened and held at a time; a call of the authorizer names at most 1,000.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Site:
    """Where snapshots are built. The policy only gives a refusal its name: the authorizer decides.

    documents: None where no retriever is named.
    """

    log: LogReader
    authorizer: Authorizer
    policy: Policy
    vault: Vault
    store: Store
    documents: Documents | None = None
    batch: int = BATCH


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a build is: the interactions and passages that it looked at, of as many as it knows of."""

    done: int
    total: int


class Tally:
    """What was left out, and why."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Exclusion, Tier]] = Counter()

    def add(self, reason: Exclusion, tier: Tier, rows: int = 1) -> None:
        """Counts rows."""
        self._counts[reason, tier] += rows

    def row(self, reason: str, row: Row) -> None:
        """Counts a row."""
        self.add(cast(Exclusion, reason), row.tier)

    def excluded(self) -> tuple[Excluded, ...]:
        """All, by reason and tier."""
        return tuple(Excluded(reason, tier, rows) for (reason, tier), rows in sorted(self._counts.items()))


class Sieve:
    """The log as Exporting reads it: without what is unwanted anyway, which is counted. For one build.

    It hands out pages of wanted outlines, full ones until the last.
    """

    def __init__(self, order: Order, log: LogReader, tally: Tally) -> None:
        self._order = order
        self._log = log
        self._tally = tally
        self._waiting: list[Candidate] = []
        self._last: Candidate | None = None
        self._is_through = False
        self.done = 0

    @asynccontextmanager
    async def open(self, tenant: str, *, clearance: Tier = Tier.TIER_2) -> AsyncIterator[_View]:
        """See headrace_feedback.ports.Reader."""
        async with self._log.open(tenant, clearance=clearance) as log:
            yield _View(self, log)

    async def page(self, log: Log, span: Span, most: int) -> Sequence[Candidate]:
        """The next wanted ones."""
        while len(self._waiting) < most and not self._is_through:
            self._waiting += self._wanted(await self._next(log, span, most))
        page, self._waiting = self._waiting[:most], self._waiting[most:]
        return page

    async def _next(self, log: Log, span: Span, most: int) -> Sequence[Candidate]:
        evaluators = tuple(evaluator for evaluator, _ in self._order.wanted.scores)
        found = await log.page(self._order.tenant, span, Page(self._last, most, evaluators))
        self._is_through = len(found) < most
        self._last = found[-1] if found else self._last
        self.done += len(found)
        return found

    def _wanted(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        kept = []
        for one in candidates:
            reason = unwanted(one, self._order.wanted)
            if reason is None:
                kept.append(one)
            else:
                self._tally.add(reason, one.tier)
        return kept


@dataclass(frozen=True, slots=True)
class _View:
    """One transaction of it."""

    sieve: Sieve
    log: Log

    async def outlines(self, tenant: str, span: Span, *, after: Outline | None, most: int) -> Sequence[Outline]:
        """See headrace_feedback.ports.Log. The sieve knows by itself how far it has come."""
        del tenant, after
        return await self.sieve.page(self.log, span, most)

    async def exported(self, tenant: str, query_ids: Collection[UUID]) -> Sequence[Exported]:
        """See headrace_feedback.ports.Log."""
        return await self.log.contents(tenant, query_ids)


@dataclass(frozen=True, slots=True)
class Finished:
    """A snapshot as it lies in a folder, not yet anybody's. lineage: its rows."""

    snapshot: Snapshot
    lineage: Sequence[Row]
    folder: Path


class Building:
    """One build: go through `steps`, then `finish`."""

    def __init__(
        self, order: Order, site: Site, folder: Path, *, by: Principal, hasher: Hasher, names: Names, now: datetime
    ) -> None:
        self._order = order
        self._site = site
        self._folder = folder
        self._by = by
        self._hasher = hasher
        self._tally = Tally()
        self._sieve = Sieve(order, site.log, self._tally)
        self._spill = Spill(folder / "spill.arrow")
        self._vocabulary = Vocabulary()
        self._taker = Taker(hasher, self._vocabulary, names.subject)
        self._passage_taker = PassageTaker(hasher, self._vocabulary, now)
        self._leave = Leave(site.authorizer, site.policy)
        self._rows: list[Row] = []
        self._shingles: list[Hashes] = []

    async def steps(self) -> AsyncIterator[Progress]:
        """Reads the log and the documents, and says how far it is. Raises Denied as Exporting does, Conflict where no
        retriever is named."""
        progress = Progress(0, 0)
        if not self._order.wanted.documents_only:
            async for progress in self._read_log():
                yield progress
        async for seen in self._read_documents():
            progress = Progress(progress.done + seen, progress.total + seen)
            yield progress
        self._leave.check()
        yield progress

    async def _read_log(self) -> AsyncIterator[Progress]:
        total = await self._total()
        exporting = self._exporting()
        async for batch in exporting.readable():
            await self._take(batch)
            yield Progress(min(self._sieve.done, total), total)
        for (reason, tier), rows in exporting.excluded.items():
            self._tally.add(reason, tier, rows)
        yield Progress(total, total)

    async def _read_documents(self) -> AsyncIterator[int]:
        """Yields how many passages each page had."""
        if not self._order.wanted.document_sources:
            return
        site = self._site
        if site.documents is None:
            raise Conflict("no retriever is named, which knows the documents: set HEADRACE_FEEDBACK_RETRIEVER")
        sources = Sources(self._order, site.documents, self._leave, site.policy, self._by, self._tally.add)
        async for page in sources.pages():
            await self._take_passages(page.allowed)
            yield page.seen

    async def _total(self) -> int:
        async with self._site.log.open(self._order.tenant) as log:
            return await log.count(self._order.tenant, self._order.wanted.span)

    def _exporting(self) -> Exporting:
        wanted, site = self._order.wanted, self._site
        wish = Wish(self._order.tenant, wanted.purpose, wanted.sources, wanted.span)
        desk = Desk(cast(Reader, self._sieve), site.authorizer, site.policy, batch=site.batch)
        return Exporting(wish, desk, by=self._by, leave=self._leave)

    async def _take(self, batch: Sequence[Readable]) -> None:
        prepared, opener, erased = await prepare(batch, self._site.vault)
        taken, more = await asyncio.to_thread(self._taker.take, prepared, opener)
        for gone in (*erased, *more):
            self._tally.add("erased", gone.tier)
        await self.add(taken)

    async def _take_passages(self, allowed: Sequence[tuple[RetrievedChunk, str]]) -> None:
        prepared, opener, erased = await documents.prepare(allowed, self._site.vault, tenant=self._order.tenant)
        taken, more = await asyncio.to_thread(self._passage_taker.take, prepared, opener)
        for gone in (*erased, *more):
            self._tally.add("erased", Tier.of(gone.reference.tier))
        await self.add(taken)

    async def add(self, taken: Sequence[Taken]) -> None:
        """Puts rows on the spill, and remembers what is said of them."""
        await asyncio.to_thread(self._spill.write, [one.sealed for one in taken])
        self._rows += [one.row for one in taken]
        self._shingles += [one.shingles for one in taken]

    async def finish(self, *, now: datetime) -> Finished:
        """Selects, and writes the folder. Raises Conflict when nothing is left."""
        return await asyncio.to_thread(self._finish, now)

    def _finish(self, now: datetime) -> Finished:
        rows = select(
            self._rows,
            self._shingles,
            self._order.wanted,
            seed=self._order.seed,
            name=self._hasher.group,
            leave_out=self._tally.row,
        )
        if not rows:
            raise Conflict(_nothing_left(self._tally.excluded()))
        folder = self._folder / "snapshot"
        folder.mkdir(mode=0o700)
        places = {row.row_id: place for place, row in enumerate(self._rows)}
        different, words = write_data(folder / DATA, rows, [places[row.row_id] for row in rows], self._spill)
        manifest = manifest_of(
            rows, tenant=self._order.tenant, name=self._order.name, purpose=self._order.wanted.purpose
        )
        snapshot = describe(self._order, rows, self._tally.excluded(), by=self._by, policy=self._site.policy, now=now)
        snapshot = replace(
            snapshot,
            dataset_id=id_of(manifest),
            card=card_of(rows, vocabulary=len(different), words=words),
            data_sha256=sha256_of(folder / DATA),
        )
        write_words(folder, manifest, snapshot)
        return Finished(snapshot, rows, folder)


def describe(
    order: Order,
    rows: Sequence[Row],
    excluded: tuple[Excluded, ...],
    *,
    by: Principal,
    policy: Policy,
    now: datetime,
) -> Snapshot:
    """What the books say of rows, without their name, card and file."""
    kinds, tiers, test_rows = counts_of(rows)
    wanted = order.wanted
    return Snapshot(
        dataset_id="",
        tenant=order.tenant,
        name=order.name,
        purpose=wanted.purpose,
        seed=order.seed,
        rows=len(rows),
        test_rows=test_rows,
        tier=max(row.tier for row in rows),
        kinds=kinds,
        tiers=tiers,
        grants=tuple(sorted({row.grant_id for row in rows if row.grant_id})),
        exclusions=excluded,
        card=card_of((), vocabulary=0, words=0),
        policy_version=policy.version,
        created_by=by.subject,
        created_at=now,
        record=wanted.record,
    )


def write_words(folder: Path, manifest: bytes, snapshot: Snapshot) -> None:
    """Writes what lies beside the data."""
    (folder / MANIFEST).write_bytes(manifest)
    (folder / CARD_JSON).write_bytes(card_json(snapshot))
    (folder / CARD_MARKDOWN).write_bytes(card_markdown(snapshot))


def _nothing_left(excluded: Sequence[Excluded]) -> str:
    counted = ", ".join(f"{one.reason} {one.rows} ({one.tier.label})" for one in excluded)
    return f"nothing is left: {counted}" if counted else "nothing is left: there is nothing of what was asked for"


@asynccontextmanager
async def building(order: Order, site: Site, *, by: Principal, now: datetime) -> AsyncIterator[Building]:
    """Opens a build that begins now; what it wrote for itself goes when the context ends."""
    hasher = await hasher_of(site.vault, order.tenant)
    names = await names_of(site.vault, order.tenant)
    async with site.store.workplace() as folder:
        yield Building(order, site, folder, by=by, hasher=hasher, names=names, now=now)
