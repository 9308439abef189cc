"""Erasures on a real Postgres: each step once, whatever is delivered again; a store that lies is found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from headrace import topics
from headrace.privacy.v1.erasure_pb2 import (
    ErasureApplied,
    ErasureCompleted,
    ErasureRequested,
    ErasureVerified,
    ErasureVerifying,
    GetErasureRequest,
    ReachedModel,
    StoreReport,
)
from headrace.privacy.v1.privacy_pb2 import TIER_1
from headrace.training.v1 import models_pb2
from headrace.training.v1.models_pb2 import Model, ModelChanged
from headrace_classifier.adapters import postgres_erasures as store
from headrace_classifier.adapters.master_keys import EnvironmentMasterKeys, FileMasterKeys
from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.adapters.postgres_keys import PostgresKeys
from headrace_classifier.adapters.postgres_models import ModelLog
from headrace_classifier.coordinator import Coordinator
from headrace_classifier.erasure_servicer import ErasureServicer
from headrace_classifier.erasures import SERVICES, TRAINER, State, last_day, last_day_of_all
from headrace_classifier.keys import MasterKeys
from headrace_classifier.retention import Retention
from headrace_client.receipts import Forged, verify_completion, verify_receipt
from headrace_database import Database
from headrace_identity import Principal, key_set, new_key
from headrace_privacy import Owner, Tier, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import NotFound, Rejected
from headrace_stream import Delivery, Ledger
from headrace_stream.erasing import Document, Source, Subject, What
from headrace_stream.memory import delivered

from services.classifier.tests.makers import AUDIT_KEY, OWN_KEY

pytestmark = pytest.mark.real

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
ANN = Principal("privacy", "*", "ann")
POLICY = Policy("7", retention_days={Tier.PUBLIC: 365, Tier.TIER_1: 180, Tier.TIER_2: 30})
MOST_STEPS = 50
#: The trainer first: what it names counts whether or not it is waited for.
EVERYONE = tuple(dict.fromkeys((TRAINER, *SERVICES)))
MODEL, OTHER = "acme-generator@0123456789abcdef", "acme-kinds@fedcba9876543210"
DELETED, RETIRED = models_pb2.MODEL_CHANGE_DELETED, models_pb2.MODEL_CHANGE_RETIRED


class House:
    """A coordinator, and stores that answer for all services as `honest` stores do unless a test says otherwise.

    What stands in the outbox is delivered, in order; `killed` has each delivery handled twice, as after a crash.
    """

    def __init__(self, database: Database, masters: MasterKeys, tenant: str) -> None:
        self.database, self.tenant, self.now = database, tenant, NOW
        self.keys = PostgresKeys(database, masters, now=lambda: self.now, new_id=uuid4)
        self.ledger = Ledger(database)
        self.left: Callable[[str, int], int] = lambda service, round_: 0
        self.checkpoints = 0
        self.models: list[ReachedModel] = []
        self.coordinator = Coordinator(
            database=database,
            ledger=self.ledger,
            keys=self.keys,
            vault=Vault(self.keys, clock=lambda: 0.0),
            audit=PostgresAudit(AUDIT_KEY),
            policy=POLICY,
            signer=OWN_KEY,
            forget_named=self._forget_named,
            checkpoint=self._checkpoint,
            now=lambda: self.now,
            new_id=uuid4,
        )

        self.models_log = ModelLog(self.ledger, PostgresAudit(AUDIT_KEY), self.coordinator, "7", lambda: self.now)

    async def _forget_named(self) -> bool:
        return True

    async def _checkpoint(self) -> None:
        self.checkpoints += 1

    async def seen(self, *owners: Owner) -> None:
        for owner in owners:
            await self.keys.issue(owner)

    async def begin(self, what: What) -> UUID:
        return (await self.coordinator.begin(self.tenant, what, reason="by letter", by=ANN)).erasure_id

    async def run(self, *, times: int = 1) -> list[Any]:
        """Delivers until nothing is left to deliver; returns what was announced as completed."""
        completed: list[Any] = []
        for _ in range(MOST_STEPS):
            events = await self.taken()
            if not events:
                return completed
            for topic, value in events:
                for _ in range(times):
                    await self._deliver(topic, value, completed)
        raise AssertionError("it goes on for ever")

    async def _deliver(self, topic: str, value: bytes, completed: list[Any]) -> None:
        match topic:
            case "erasure.requested":
                request = ErasureRequested.FromString(value)
                for service in EVERYONE:
                    await self.coordinator.on_applied(self.applied(request, service))
            case "erasure.verifying":
                verifying = ErasureVerifying.FromString(value)
                for service in EVERYONE:
                    await self.coordinator.on_verified(self.verified(verifying, service))
            case _:
                completed.append(ErasureCompleted.FromString(value))

    def applied(self, request: ErasureRequested, service: str) -> Delivery[ErasureApplied]:
        stores = [StoreReport(store=f"{service}.rows", records=1, how="deleted")]
        message = ErasureApplied(erasure_id=request.erasure_id, round=request.round, service=service, stores=stores)
        message.applied_at.FromDatetime(self.now)
        return delivered(message, topics.ERASURE_APPLIED, service="classifier", event_id=uuid4())

    def verified(self, request: ErasureVerifying, service: str) -> Delivery[ErasureVerified]:
        stores = [StoreReport(store=f"{service}.rows", records=self.left(service, request.round), how="deleted")]
        message = ErasureVerified(erasure_id=request.erasure_id, round=request.round, service=service, stores=stores)
        message.verified_at.FromDatetime(self.now)
        message.models.extend(self.models if service == TRAINER else [])
        return delivered(message, topics.ERASURE_VERIFIED, service="classifier", event_id=uuid4())

    async def changed(self, change: Any, model: str = MODEL, **more: Any) -> None:
        """The trainer says twice what became of a model."""
        message = ModelChanged(
            change_id=str(uuid4()),
            change=change,
            model=Model(model=model, tenant=more.pop("tenant", self.tenant), tier=TIER_1, **more),
            because="erasure",
            role="service:trainer",
        )
        message.changed_at.FromDatetime(self.now)
        event_id = uuid4()
        for _ in range(2):
            await self.models_log.on_change(
                delivered(message, topics.MODEL_CHANGED, service="classifier", event_id=event_id)
            )

    async def erasure(self, erasure_id: UUID) -> Any:
        """What GetErasure says."""
        servicer = ErasureServicer(self.coordinator, self.database, caller=lambda: ANN)
        request = GetErasureRequest(erasure_id=str(erasure_id))
        return (await servicer.GetErasure(request, cast(Any, None))).erasure

    async def taken(self) -> list[tuple[str, bytes]]:
        """What the relay would publish."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch("SELECT id, topic, value, headers FROM outbox ORDER BY id")
            mine = [row for row in rows if json.loads(row["headers"])["ce_tenant"] == self.tenant]
            await connection.execute("DELETE FROM outbox WHERE id = ANY($1)", [row["id"] for row in mine])
        return [(row["topic"], row["value"]) for row in mine]

    async def record(self, erasure_id: UUID) -> Any:
        async with self.database.transaction(tenant=self.tenant) as connection:
            return await store.find(connection, erasure_id)

    async def audited(self) -> list[str]:
        async with self.database.transaction() as connection:
            rows = await connection.fetch("SELECT action FROM audit WHERE tenant = $1 ORDER BY sequence", self.tenant)
        return [row["action"] for row in rows]


@pytest.fixture
async def house(opened: Database, tenant: str, tmp_path: Path) -> House:
    await _empty(opened)
    made = House(opened, FileMasterKeys(tmp_path / "master.json"), tenant)
    await made.keys.prepare()
    return made


async def _empty(database: Database) -> None:
    async with database.transaction(tenant="*") as connection:
        await connection.execute("DELETE FROM data_keys")
        await connection.execute("DELETE FROM master_keys")


def keys_of(*keys: Any) -> str:
    return json.dumps(key_set(keys))


async def test_an_erasure_closes_with_a_receipt_that_verifies(house: House) -> None:
    anna, other = Owner.subject(house.tenant, "anna"), Owner.subject(house.tenant, "bert")
    await house.seen(anna, other)
    key = (await house.keys.issue(anna)).key_id
    old = await house.keys.masters.current()
    erasure_id = await house.begin(Subject("anna"))
    assert await house.keys.open([key]) == {}, "the key goes with the request"
    [completed] = await house.run()
    record = await house.record(erasure_id)
    claims = verify_receipt(record.receipt, keys_of(OWN_KEY))
    assert (record.state, record.round, completed.erasure_id) == (State.CLOSED, 1, str(erasure_id))
    assert (claims["keys_destroyed"], claims["requested_by"], claims["backups"]["unreadable"]) == (1, "ann", True)
    assert {line["service"] for line in claims["stores"]} == set(EVERYONE)
    assert old not in await house.keys.masters.versions()
    assert await house.audited() == ["erasure.requested", "erasure.closed"]
    assert "anna" not in record.receipt_text
    assert record.what == Subject("")
    assert house.checkpoints == 1
    with pytest.raises(Forged):
        verify_receipt(record.receipt, keys_of(new_key("another")))


async def test_whatever_comes_twice_takes_effect_once(house: House) -> None:
    await house.seen(Owner.subject(house.tenant, "anna"))
    erasure_id = await house.begin(Subject("anna"))
    completed = await house.run(times=3)
    assert len({each.receipt_sha256 for each in completed}) == 1
    assert (await house.record(erasure_id)).state is State.CLOSED
    assert await house.audited() == ["erasure.requested", "erasure.closed"]


async def test_the_same_again_is_the_one_under_way(house: House) -> None:
    await house.seen(Owner.subject(house.tenant, "anna"))
    first = await house.begin(Subject("anna"))
    assert await house.begin(Subject("anna")) == first
    await house.run()
    with pytest.raises(NotFound):
        await house.begin(Subject("anna"))


@pytest.mark.parametrize("what", [Subject("nobody"), Source("none"), Document("none", "none")])
async def test_what_has_no_key_was_never_there(house: House, what: What) -> None:
    with pytest.raises(NotFound):
        await house.begin(what)
    assert await house.taken() == []
    assert await house.audited() == []


async def test_a_source_goes_with_all_its_documents_keys(house: House) -> None:
    documents = [Owner.document(house.tenant, "contracts", name) for name in "ab"]
    wiki = Owner.document(house.tenant, "wiki", "a")
    await house.seen(*documents, wiki)
    kept = (await house.keys.issue(wiki)).key_id
    record = await house.record(await house.begin(Source("contracts")))
    assert record.keys == 2
    assert set(await house.keys.open([kept])) == {kept}
    assert await house.run()


async def test_what_is_left_makes_another_round(house: House) -> None:
    await house.seen(Owner.subject(house.tenant, "anna"))
    house.left = lambda service, round_: int(service == "retriever" and round_ < 3)
    erasure_id = await house.begin(Subject("anna"))
    assert await house.run() == []
    assert await house.coordinator.announce_due() == 0, "it pauses first"
    for _ in range(2):
        house.now += timedelta(minutes=1)
        assert await house.coordinator.announce_due() == 1
        completed = await house.run()
    assert completed
    assert (await house.record(erasure_id)).round == 3


async def test_a_store_that_claims_and_does_not_delete_keeps_it_open(house: House) -> None:
    await house.seen(Owner.subject(house.tenant, "anna"))
    house.left = lambda service, _: int(service == "feedback")
    erasure_id = await house.begin(Subject("anna"))
    for _ in range(4):
        assert await house.run() == []
        house.now += timedelta(hours=1)
        await house.coordinator.announce_due()
    record = await house.record(erasure_id)
    assert (record.state, record.receipt) == (State.REQUESTED, "")


async def test_a_word_of_an_earlier_round_says_nothing(house: House) -> None:
    await house.seen(Owner.subject(house.tenant, "anna"))
    erasure_id = await house.begin(Subject("anna"))
    [(_, value)] = await house.taken()
    request = ErasureRequested.FromString(value)
    request.round = 7
    for service in SERVICES:
        await house.coordinator.on_applied(house.applied(request, service))
    assert (await house.record(erasure_id)).state is State.REQUESTED


async def test_without_the_master_key_in_our_hands_the_receipt_says_so(opened: Database, tenant: str) -> None:
    await _empty(opened)
    house = House(opened, EnvironmentMasterKeys([b"m" * 32]), tenant)
    await house.keys.prepare()
    await house.seen(Owner.subject(tenant, "anna"))
    erasure_id = await house.begin(Subject("anna"))
    await house.run()
    record = await house.record(erasure_id)
    assert verify_receipt(record.receipt, keys_of(OWN_KEY))["backups"]["unreadable"] is False
    assert "out of use" in record.receipt_text


async def test_what_is_too_old_goes_by_itself_and_once_a_day(house: House) -> None:
    anonymous = Owner.anonymous(house.tenant, NOW)
    await house.seen(anonymous)
    old = (await house.keys.issue(anonymous)).key_id
    retention = Retention(house.coordinator, POLICY)
    assert await retention.expire(NOW + timedelta(days=29)) == 0
    house.now = NOW + timedelta(days=31)
    assert await retention.expire(house.now) == 1
    assert await retention.expire(house.now + timedelta(hours=1)) == 0
    [completed] = await house.run()
    record = await house.record(UUID(completed.erasure_id))
    assert (record.requested_role, record.what.tier) == ("service:classifier", Tier.TIER_2)
    assert await house.keys.open([old])
    house.now = NOW + timedelta(days=367)
    assert await retention.expire(house.now) == 3
    await house.run()
    assert await house.keys.open([old]) == {}, "a day's key is older than all retention"


async def test_a_retention_that_finds_nothing_leaves_nothing(house: House) -> None:
    await house.seen(Owner.subject(house.tenant, "anna"))
    house.now = NOW + timedelta(days=31)
    assert await Retention(house.coordinator, POLICY).expire(house.now) == 1
    house.applied = _nothing(house)  # type: ignore[method-assign]
    assert await house.run() == []
    async with house.database.transaction(tenant=house.tenant) as connection:
        assert await store.newest(connection, most=10) == []
    assert await house.audited() == []


def _nothing(house: House) -> Callable[[ErasureRequested, str], Delivery[ErasureApplied]]:
    def applied(request: ErasureRequested, service: str) -> Delivery[ErasureApplied]:
        message = ErasureApplied(erasure_id=request.erasure_id, round=request.round, service=service)
        message.applied_at.FromDatetime(house.now)
        return delivered(message, topics.ERASURE_APPLIED, service="classifier", event_id=uuid4())

    return applied


def test_the_last_day_that_is_kept() -> None:
    assert last_day(POLICY, Tier.TIER_2, NOW) == datetime(2026, 10, 22, tzinfo=UTC)
    assert last_day_of_all(POLICY, NOW) == datetime(2025, 11, 21, tzinfo=UTC)
    assert last_day_of_all(Policy("7", retention_days={Tier.TIER_2: 30}), NOW) is None


def reached(model: str, *, days: int = 7) -> ReachedModel:
    """A model as the trainer names it."""
    made = ReachedModel(model=model, dataset_id="4f2a" * 16)
    made.retire_by.FromDatetime(NOW + timedelta(days=days))
    return made


async def closed(house: House, *models: str) -> UUID:
    """An erasure that reached these models, and is closed."""
    house.models = [reached(model) for model in models]
    await house.seen(Owner.subject(house.tenant, "anna"))
    erasure_id = await house.begin(Subject("anna"))
    assert len(await house.run(times=2)) >= 1
    return erasure_id


async def test_the_receipt_lists_the_models_that_learned_from_it(house: House) -> None:
    erasure_id = await closed(house, OTHER, MODEL)
    record = await house.record(erasure_id)
    claims = verify_receipt(record.receipt, keys_of(OWN_KEY))
    assert claims["to_retrain"] == [
        {"model": model, "dataset_id": "4f2a" * 16, "retire_by": "2026-11-28T09:00:00.000Z"} for model in (MODEL, OTHER)
    ]
    assert f"{MODEL}: by 2026-11-28T09:00:00.000Z at the latest" in record.receipt_text
    erasure = await house.erasure(erasure_id)
    assert [model.model for model in erasure.models] == [MODEL, OTHER]
    assert (erasure.completion, record.completion) == ("", "")
    assert await house.audited() == ["erasure.requested", "erasure.closed"]


async def test_a_receipt_without_models_says_so_and_needs_no_completion(house: House) -> None:
    erasure_id = await closed(house)
    record = await house.record(erasure_id)
    assert verify_receipt(record.receipt, keys_of(OWN_KEY))["to_retrain"] == []
    assert "none learned from it" in record.receipt_text
    await house.changed(DELETED)
    assert (await house.record(erasure_id)).completion == ""


async def test_the_last_model_that_goes_completes_the_receipt(house: House) -> None:
    erasure_id = await closed(house, MODEL, OTHER)
    receipt = (await house.record(erasure_id)).receipt
    house.now += timedelta(hours=1)
    await house.changed(RETIRED)
    await house.changed(DELETED, replaced_by="acme-generator@aaaaaaaaaaaaaaaa")
    await house.changed(DELETED, model="acme-generator@aaaaaaaaaaaaaaaa")
    await house.changed(DELETED, model=OTHER, tenant=f"{house.tenant}-x")
    erasure = await house.erasure(erasure_id)
    assert [model.HasField("retired_at") for model in erasure.models] == [True, False]
    assert erasure.completion == ""
    house.now += timedelta(hours=1)
    await house.changed(DELETED, model=OTHER)
    erasure = await house.erasure(erasure_id)
    assert erasure.receipt == receipt, "what is signed stays as it is"
    claims = verify_completion(erasure.completion, erasure.receipt, keys_of(OWN_KEY))
    assert [(one["model"], one["replaced_by"], one["retired_at"]) for one in claims["models"]] == [
        (MODEL, "acme-generator@aaaaaaaaaaaaaaaa", "2026-11-21T10:00:00.000Z"),
        (OTHER, "base", "2026-11-21T11:00:00.000Z"),
    ]
    assert "which was trained without it" in erasure.receipt_text
    assert "which was never trained on it" in erasure.receipt_text
    assert "anna" not in erasure.receipt_text
    actions = await house.audited()
    assert (actions.count("erasure.completed"), actions[-2:]) == (1, ["model.deleted", "erasure.completed"])
    assert house.checkpoints == 2


async def test_a_model_that_goes_before_the_erasure_closes_is_not_waited_for(house: House) -> None:
    await house.changed(DELETED, replaced_by="base")
    erasure_id = await closed(house, MODEL)
    record = await house.record(erasure_id)
    claims = verify_completion(record.completion, record.receipt, keys_of(OWN_KEY))
    assert [one["model"] for one in claims["models"]] == [MODEL]
    assert await house.audited() == ["model.deleted", "erasure.requested", "erasure.closed", "erasure.completed"]


async def test_one_model_completes_every_erasure_that_it_is_retired_for(house: House) -> None:
    first = await closed(house, MODEL)
    await house.seen(Owner.subject(house.tenant, "bert"))
    second = await house.begin(Subject("bert"))
    await house.run()
    await house.changed(DELETED)
    receipts = [await house.record(erasure_id) for erasure_id in (first, second)]
    for record in receipts:
        verify_completion(record.completion, record.receipt, keys_of(OWN_KEY))
    with pytest.raises(Forged, match="another receipt"):
        verify_completion(receipts[0].completion, receipts[1].receipt, keys_of(OWN_KEY))


async def test_models_that_another_service_names_are_none(house: House) -> None:
    erasure_id = await closed(house)
    house.models = [reached(MODEL)]
    await house.seen(Owner.subject(house.tenant, "bert"))
    erasure_id = await house.begin(Subject("bert"))
    said = house.verified

    def lying(request: ErasureVerifying, service: str) -> Delivery[ErasureVerified]:
        delivery = said(request, service)
        del delivery.message.models[:]
        delivery.message.models.extend([reached(MODEL)] if service == "feedback" else [])
        return delivery

    house.verified = lying  # type: ignore[method-assign]
    await house.run()
    assert verify_receipt((await house.record(erasure_id)).receipt, keys_of(OWN_KEY))["to_retrain"] == []


async def test_what_becomes_of_a_model_is_on_the_audit_log_once(house: House) -> None:
    for change in models_pb2.ModelChange.values()[1:]:
        await house.changed(change, erasures=["erasure 4e1b7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"])
    async with house.database.transaction() as connection:
        rows = await connection.fetch("SELECT * FROM audit WHERE tenant = $1 ORDER BY sequence", house.tenant)
    assert [row["action"] for row in rows] == [
        "model.registered",
        "model.tried",
        "model.promoted",
        "model.withdrawn",
        "model.retired",
        "model.deleted",
        "model.condemned",
    ]
    assert {tuple(row["records"]) for row in rows} == {("4e1b7b7e-4c39-4b8e-9a53-0d8f0e0a6f10",)}
    assert {(row["role"], row["actor"], row["object"], row["reason"], row["tier"]) for row in rows} == {
        ("service:trainer", "trainer", MODEL, "something that it learned from was erased", 2)
    }


async def test_a_step_of_a_model_that_nobody_knows_is_rejected(house: House) -> None:
    with pytest.raises(Rejected):
        await house.changed(99)
    with pytest.raises(Rejected):
        await house.changed(DELETED, model="")
