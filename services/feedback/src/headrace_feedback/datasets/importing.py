"""Rows that people wrote, with known answers, as a snapshot: masked and tiered like everything that comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid5

from headrace.feedback.v1.datasets_pb2 import DatasetRow, ImportDatasetRequest
from headrace.privacy.v1.privacy_pb2 import TIER_2
from headrace.query.v1.query_pb2 import Query
from headrace_identity import Principal
from headrace_privacy import Owner, Seal, Text, Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Rejected, Violation
from headrace_stream.envelope import derived_id

from headrace_feedback.datasets.building import Finished, Site, describe, write_words
from headrace_feedback.datasets.manifest import card_of, id_of, manifest_of
from headrace_feedback.datasets.shelf import DATA, Spill, sha256_of, write_data
from headrace_feedback.datasets.similarity import Vocabulary
from headrace_feedback.datasets.snapshots import NEVER, TEST_SHARE, Order, Row, Split, Wanted
from headrace_feedback.datasets.splitting import grouped, split
from headrace_feedback.datasets.translate import stamp
from headrace_feedback.datasets.words import Hasher, Taken, Taker, hasher_of
from headrace_feedback.interaction import OTHER_KIND
from headrace_feedback.ports import Classifier

#: Texts that are classified at a time: the classifier has two cores.
CLASSIFIED_AT_ONCE = 8
#: What rows that people wrote are for: to measure against.
PURPOSE = Purpose.EVALUATE


@dataclass(frozen=True, slots=True)
class Classified:
    """A row with its words masked, and the strictest tier of what was declared and what was found."""

    row: DatasetRow
    tier: Tier


class Import:
    """One import. product: rows are classified as this product's words."""

    def __init__(self, request: ImportDatasetRequest, site: Site, classifier: Classifier, *, by: Principal) -> None:
        self._request = request
        self._site = site
        self._classifier = classifier
        self._by = by
        self._gate = asyncio.Semaphore(CLASSIFIED_AT_ONCE)

    async def classified(self) -> list[Classified]:
        """Masks all texts. Raises Unavailable when they cannot be looked at: then nothing is kept."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._classify(row)) for row in self._request.rows]
        return [task.result() for task in tasks]

    async def _classify(self, row: DatasetRow) -> Classified:
        """All of a row's words are one row's: they are masked one by one, and the strictest tier is the row's."""
        masked = DatasetRow(documents=row.documents, unanswerable=row.unanswerable)
        declared = self._declared(row)
        found = [
            masked_question := await self._masked(row.question, declared),
            masked_answer := await self._masked(row.answer, declared),
        ]
        masked.question, masked.answer = masked_question.reveal(), masked_answer.reveal()
        for fact in row.key_facts:
            found.append(text := await self._masked(fact, declared))
            masked.key_facts.append(text.reveal())
        return Classified(masked, max(declared, *(text.tier for text in found)))

    async def _masked(self, text: str, declared: Tier) -> Text:
        if not text.strip():
            return Text(text, Tier.PUBLIC)
        async with self._gate:
            return await self._classifier.classify(
                Text(text, Tier.TIER_2), tenant=self._request.tenant, product=self._request.name, declared=declared
            )

    def _declared(self, row: DatasetRow) -> Tier:
        """What nobody declared is of the strictest tier."""
        return Tier.of(row.tier or self._request.declared_tier or TIER_2)

    async def finish(self, classified: Sequence[Classified], spill: Spill, *, now: datetime) -> Finished:
        """Seals the rows, and writes the folder. Raises Rejected for sides that contradict each other."""
        tenant, name = self._request.tenant, self._request.name
        seal = await self._site.vault.seal_for(owner_of_import(tenant, name))
        hasher = await hasher_of(self._site.vault, tenant)
        return await asyncio.to_thread(self._finish, classified, spill, seal, hasher, now)

    def _finish(
        self, classified: Sequence[Classified], spill: Spill, seal: Seal, hasher: Hasher, now: datetime
    ) -> Finished:
        taken = self._taken(classified, seal, hasher, now)
        spill.write([one.sealed for one in taken])
        request = self._request
        test_share = request.test_share if request.HasField("test_share") else TEST_SHARE
        rows = grouped([one.row for one in taken], name=hasher.group)
        _check_sides(rows)
        rows = split(rows, test_share=test_share, seed=request.seed)
        folder = spill.path.parent / "snapshot"
        folder.mkdir(mode=0o700)
        different, words = write_data(folder / DATA, rows, range(len(rows)), spill)
        manifest = manifest_of(rows, tenant=request.tenant, name=request.name, purpose=PURPOSE)
        order = Order(request.tenant, request.name, Wanted(PURPOSE, test_share=test_share), request.seed)
        snapshot = replace(
            describe(order, rows, (), by=self._by, policy=self._site.policy, now=now),
            dataset_id=id_of(manifest),
            # Nobody answered them at any time.
            card=replace(card_of(rows, vocabulary=len(different), words=words), earliest=None, latest=None),
            data_sha256=sha256_of(folder / DATA),
        )
        write_words(folder, manifest, snapshot)
        return Finished(snapshot, rows, folder)

    def _taken(self, classified: Sequence[Classified], seal: Seal, hasher: Hasher, now: datetime) -> list[Taken]:
        taker = Taker(hasher, Vocabulary(), lambda _: b"")
        query = Query(tenant=self._request.tenant, product=self._request.name, accepted_at=stamp(now))
        made = [
            (self._row(one, stated, hasher, now), one.row)
            for one, stated in zip(classified, self._request.rows, strict=True)
        ]
        return [taker.finish(row, content, query, seal) for row, content in made]

    def _row(self, one: Classified, stated: DatasetRow, hasher: Hasher, now: datetime) -> Row:
        content = hasher.content(one.row)
        documents = tuple(sorted(set(stated.documents)))
        return Row(
            row_id=stated.row_id or str(uuid5(derived_id("dataset row"), content.hex())),
            kind=stated.kind or OTHER_KIND,
            tier=one.tier,
            content_hash=content,
            # Not now: the same rows imported again are the same snapshot.
            completed_at=NEVER,
            asked_at=now,
            sources=tuple(sorted({document.partition("/")[0] for document in documents})),
            documents=documents,
            cited=documents,
            conversation=hasher.conversation(stated.group),
            question_characters=len(one.row.question),
            answer_characters=len(one.row.answer),
            split=Split(stated.split),
            kind_stated=stated.kind_stated and bool(stated.kind),
        )


def owner_of_import(tenant: str, name: str) -> Owner:
    """Whose the words of imported rows are: the series', erased as the source "dataset:NAME"."""
    return Owner.document(tenant, f"dataset:{name}", "rows")


def _check_sides(rows: Sequence[Row]) -> None:
    sides: dict[str, Split] = {}
    wrong = []
    for place, row in enumerate(rows):
        if row.split is Split.UNSPECIFIED:
            continue
        if sides.setdefault(row.group, row.split) is not row.split:
            what = "It shares a document or a group with a row on the other side."
            wrong.append(Violation(f"rows[{place}].split", "unknown_value", what))
    if wrong:
        raise Rejected(*wrong[:100])
