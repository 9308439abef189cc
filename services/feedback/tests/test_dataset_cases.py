"""A dataset's held-out rows as cases, and what trials may be grounded in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from headrace.feedback.v1.datasets_pb2 import DatasetRow
from headrace.privacy.v1.privacy_pb2 import SealedBytes
from headrace.query.v1.events_pb2 import QueryClassified
from headrace.query.v1.query_pb2 import Hop, Query
from headrace_feedback.datasets.shelf import Stored
from headrace_feedback.datasets.snapshots import Split
from headrace_feedback.running.app import NoRows
from headrace_feedback.running.capping import capped, open_tier
from headrace_feedback.running.conducting import Window
from headrace_feedback.running.dataset_cases import DatasetCases, SealedRow
from headrace_feedback.running.planning import Office, plan
from headrace_feedback.running.runs import Kind, Request, Run, State
from headrace_feedback.running.snapshot_rows import BATCH, SnapshotRows
from headrace_privacy import Owner, Seal, Tier, Vault, is_sealed
from headrace_runtime.errors import Conflict, NotFound
from headrace_runtime.policy import load_policy

from services.feedback.tests.running_house import DORA, LONGER, SHORTER, MemoryHouse, SomeVariants

MOMENT = datetime(2026, 11, 20, tzinfo=UTC)
SNAPSHOT = "ab" * 32


class SomeRows:
    """One snapshot, in batches of two."""

    def __init__(self, *rows: SealedRow) -> None:
        self.rows = rows

    async def usable(self, tenant: str, dataset: str) -> str:
        del tenant
        if not SNAPSHOT.startswith(dataset):
            raise NotFound("dataset", dataset)
        return SNAPSHOT

    async def held_out(self, tenant: str, dataset_id: str) -> AsyncIterator[Sequence[SealedRow]]:
        assert (tenant, dataset_id) == ("t", SNAPSHOT)
        for first in range(0, len(self.rows), 2):
            yield self.rows[first : first + 2]


@pytest.fixture
def house() -> MemoryHouse:
    return MemoryHouse("t")


async def a_row(house: MemoryHouse, question: str, subject: str = "ann", **changes: Any) -> SealedRow:
    owner = Owner.subject("t", subject) if subject else Owner.anonymous("t", MOMENT)
    seal = Seal(owner, await house.keyring.issue(owner))
    row = DatasetRow(row_id=str(uuid4()), question=question, answer="A channel.", key_facts=["chan+el"])
    query = Query(query_id=row.row_id, tenant="t", subject=subject, hops=[Hop(service="ingest")])
    query.accepted_at.FromDatetime(MOMENT)
    content, asked = (seal.close(one.SerializeToString()).SerializeToString() for one in (row, query))
    made = SealedRow(row.row_id, Tier.TIER_1, "how-to", MOMENT, ("handbook",), ("handbook/mills",), content, asked)
    return replace(made, **changes)


async def planned(house: MemoryHouse, *rows: SealedRow, limit: int = 10, seed: int = 0) -> Run:
    request = Request("t", (SHORTER, LONGER), limit, seed, dataset=SNAPSHOT)
    cases = DatasetCases("t", SNAPSHOT, SomeRows(*rows), house.vault, open_to=Tier.TIER_1)
    office = Office(house.ledger, house.runs_on, house.authorizer, house.policy, SomeVariants())
    return await plan(request, cases, office, by=DORA, run_id=uuid4(), now=house.clock())


async def test_an_evaluation_asks_rows_and_compares_with_its_first_arm(house: MemoryHouse) -> None:
    rows = [await a_row(house, f"What is a headrace, {n}?") for n in range(5)]
    run = await planned(house, *rows)
    assert (run.kind, run.dataset_id, run.cases) == (Kind.EVALUATION, SNAPSHOT, 5)
    ended, asked = await house.finish(run)
    assert (ended.state, ended.progress.answered) == (State.DONE, 10)
    assert {event.message.query.trial.case_id for event in asked.events} == {row.row_id for row in rows}
    assert len(house.evaluations.pairs) == 5
    assert all(pair.first for pair in house.evaluations.pairs)
    assert house.evaluations.baselines == set()


async def test_a_question_is_sealed_for_its_owner_and_its_reference_rests_as_it_was(house: MemoryHouse) -> None:
    row = await a_row(house, "What is a headrace?")
    run = await planned(house, row)
    (case,) = await house.books.cases(run, first=0, most=10)
    assert (case.case_id, case.subject, case.kind, case.reference) == (row.row_id, "ann", "how-to", row.content)
    assert (case.sources, case.documents, case.of_time) == (("handbook",), ("handbook/mills",), MOMENT)
    message = QueryClassified.FromString(case.question)
    assert is_sealed(message.text)
    assert b"headrace" not in case.question
    assert message.text.sealed.key_id == SealedBytes.FromString(row.content).key_id
    opener = await house.vault.opener_for(message)
    assert opener.reveal(message.text, Tier.TIER_1).reveal() == "What is a headrace?"
    assert (message.query.subject, message.query.accepted_at.ToDatetime(UTC)) == ("ann", MOMENT)
    assert not message.query.hops


async def test_what_nobody_asked_is_the_days(house: MemoryHouse) -> None:
    run = await planned(house, await a_row(house, "What is a weir?", subject=""))
    conductor = house.conductor()
    turn = await conductor.take()
    assert turn
    await conductor.step(turn, Window())
    event, _ = await house.new_events()
    assert (event.message.query.subject, event.message.query.product) == ("", "dataset")
    assert run.cases == 1


async def test_rows_whose_key_is_destroyed_are_left_out_as_erased(house: MemoryHouse) -> None:
    kept, gone = await a_row(house, "a"), await a_row(house, "b", subject="bob")
    house.keyring.destroy(Owner.subject("t", "bob"))
    run = await planned(house, kept, gone)
    assert run.cases == 1
    assert [(one.reason, one.cases) for one in run.exclusions] == [("erased", 1)]
    house.keyring.destroy(Owner.subject("t", "ann"))
    house.vault = Vault(house.keyring, clock=time.monotonic)
    with pytest.raises(Conflict, match="erased meanwhile"):
        await planned(house, kept, gone)


async def test_rows_that_may_not_be_evaluated_are_left_out(house: MemoryHouse) -> None:
    run = await planned(house, await a_row(house, "a"), await a_row(house, "b", tier=Tier.TIER_2))
    assert [(one.reason, one.tier, one.cases) for one in run.exclusions] == [("no_grant", Tier.TIER_2, 1)]


async def test_the_same_seed_samples_the_same_rows(house: MemoryHouse) -> None:
    rows = [await a_row(house, str(n)) for n in range(20)]
    samples = []
    for seed in (1, 1, 2):
        run = await planned(house, *rows, limit=5, seed=seed)
        samples.append([case.case_id for case in await house.books.cases(run, first=0, most=20)])
    assert samples[0] == samples[1] != samples[2]
    assert len(samples[0]) == 5


async def test_without_datasets_there_is_none() -> None:
    with pytest.raises(NotFound):
        await NoRows().usable("t", "questions")
    assert [batch async for batch in NoRows().held_out("t", SNAPSHOT)] == []


def test_a_developer_may_evaluate_up_to_tier_1_without_a_grant() -> None:
    policy = load_policy(None)
    assert (open_tier(policy, "developer"), open_tier(policy, "sre")) == (Tier.TIER_1, Tier.PUBLIC)


@pytest.mark.parametrize(
    ("own", "tier", "open_to", "expected"),
    [
        (0, Tier.PUBLIC, Tier.TIER_1, 2),  # no limit of its own: what needs no grant
        (0, Tier.TIER_2, Tier.TIER_1, 3),  # leave was given for stricter
        (1, Tier.TIER_2, Tier.TIER_1, 1),  # never more than the one who asked might see
        (3, Tier.TIER_1, Tier.TIER_1, 2),  # never what nobody gave leave for
    ],
)
def test_a_trial_is_grounded_in_nothing_stricter_than_there_is_leave_for(
    own: int, tier: Tier, open_to: Tier, expected: int
) -> None:
    query = Query(max_document_tier=own)  # type: ignore[arg-type]
    assert capped(query, tier, open_to).max_document_tier == expected
    assert query.max_document_tier == own


class SomeStore:
    """One row on each side; gone when it is told so."""

    def __init__(self, row: SealedRow) -> None:
        self._row, self.is_gone = row, False

    async def read(
        self, tenant: str, dataset_id: str, *, batch: int, split: Split = Split.UNSPECIFIED
    ) -> AsyncIterator[Sequence[Stored]]:
        assert (tenant, dataset_id, batch) == ("t", SNAPSHOT, BATCH)
        if self.is_gone:
            raise FileNotFoundError
        assert split is Split.TEST
        row = self._row
        yield [
            Stored(
                row.row_id, split, row.kind, row.tier, "", False, "", row.sources, row.documents, (), (),
                SHORTER.variant, SHORTER.variant, row.completed_at, row.content, row.asked,
            )
        ]  # fmt: skip


async def test_only_what_is_held_out_is_read_of_a_snapshot(house: MemoryHouse) -> None:
    async def find(tenant: str, dataset: str) -> Any:
        assert (tenant, dataset) == ("t", "questions")
        return SimpleNamespace(dataset_id=SNAPSHOT)

    store = SomeStore(row := await a_row(house, "What is a headrace?"))
    rows = SnapshotRows(find, store)
    assert await rows.usable("t", "questions") == SNAPSHOT
    assert [one async for batch in rows.held_out("t", SNAPSHOT) for one in batch] == [row]
    store.is_gone = True
    with pytest.raises(Conflict, match="abababababab are not there"):
        assert not [batch async for batch in rows.held_out("t", SNAPSHOT)]
