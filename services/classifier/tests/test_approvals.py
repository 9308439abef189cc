"""Grants and Authorize at the gRPC edge: one suite, on memory and on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from headrace.privacy.v1 import approvals_pb2, privacy_pb2
from headrace_classifier.adapters.memory_registry import MemoryRegistry
from headrace_classifier.adapters.postgres_audit import PostgresAudit, to_row
from headrace_classifier.adapters.postgres_registry import PostgresRegistry
from headrace_classifier.approval_servicer import ApprovalServicer
from headrace_classifier.audit import Row
from headrace_classifier.granting import revoke_grant
from headrace_classifier.registry import Registry
from headrace_database import Database
from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_privacy.policy_file import read_policy
from headrace_runtime.errors import Conflict, Denied, NotFound, Rejected

from services.classifier.tests.makers import AUDIT_KEY

START = datetime(2026, 11, 21, 9, tzinfo=UTC)
POLICY = read_policy(None)
CONTEXT: Any = None
MARIA = Principal("privacy", "*", "maria")
PAUL = Principal("privacy", "*", "paul")
RITA = Principal("reviewer", "acme", "rita")
FEEDBACK = Principal("service:feedback", "*", "feedback")


class Office:
    """The edge, with a clock to turn and whoever calls it."""

    def __init__(self, registry: Registry, tenant: str) -> None:
        self.registry = registry
        self.tenant = tenant
        self.now = START
        self.caller = MARIA
        self.servicer = ApprovalServicer(
            registry, POLICY, caller=lambda: self.caller, now=lambda: self.now, new_id=uuid4
        )

    async def audit(self) -> Sequence[Row]:
        """The log's rows about this test's tenant, oldest first."""
        if isinstance(self.registry, MemoryRegistry):
            return [row for row in self.registry.audit if row.entry.tenant == self.tenant]
        assert isinstance(self.registry, PostgresRegistry)
        async with self.registry._database.transaction() as connection:
            rows = await connection.fetch("SELECT * FROM audit WHERE tenant = $1 ORDER BY sequence", self.tenant)
        return [to_row(row) for row in rows]

    async def actions(self) -> list[tuple[str, str]]:
        return [(row.entry.action, row.entry.actor) for row in await self.audit()]

    def asked(self, **changes: Any) -> approvals_pb2.RequestGrantRequest:
        request = approvals_pb2.RequestGrantRequest(
            tenant=self.tenant, purpose=privacy_pb2.PURPOSE_REVIEW, reason="judge the answers of November"
        )
        request.expires_at.FromDatetime(self.now + changes.pop("until", timedelta(days=7)))
        for name, value in changes.items():
            if isinstance(value, list):
                getattr(request, name).extend(value)
            else:
                setattr(request, name, value)
        return request

    async def request(self, by: Principal = MARIA, **changes: Any) -> approvals_pb2.Grant:
        self.caller = by
        return (await self.servicer.RequestGrant(self.asked(**changes), CONTEXT)).grant

    async def decide(self, grant_id: str, by: Principal = PAUL, *, approve: bool = True) -> approvals_pb2.Grant:
        self.caller = by
        request = approvals_pb2.DecideGrantRequest(grant_id=grant_id, approve=approve, note="seen")
        return (await self.servicer.DecideGrant(request, CONTEXT)).grant

    async def revoke(self, grant_id: str, by: Principal = MARIA) -> approvals_pb2.Grant:
        self.caller = by
        request = approvals_pb2.RevokeGrantRequest(grant_id=grant_id, note="no longer needed")
        return (await self.servicer.RevokeGrant(request, CONTEXT)).grant

    async def get(self, grant_id: str, by: Principal = MARIA) -> approvals_pb2.Grant:
        self.caller = by
        return (await self.servicer.GetGrant(approvals_pb2.GetGrantRequest(grant_id=grant_id), CONTEXT)).grant

    async def live(self, **changes: Any) -> approvals_pb2.Grant:
        return await self.decide((await self.request(**changes)).grant_id)

    async def authorize(self, **changes: Any) -> approvals_pb2.AuthorizeResponse:
        self.caller = FEEDBACK
        wanted: dict[str, Any] = {
            "role": "reviewer", "subject": "rita", "tenant": self.tenant, "purpose": privacy_pb2.PURPOSE_REVIEW,
            "tier": privacy_pb2.TIER_2, "records": ["q1"], **changes,
        }  # fmt: skip
        return await self.servicer.Authorize(approvals_pb2.AuthorizeRequest(**wanted), CONTEXT)


class ApprovalSuite:
    """Every test here holds for every registry."""

    async def test_two_people_make_a_grant(self, office: Office) -> None:
        asked = await office.request(sources=["wiki", "crm", "wiki"])
        assert asked.state == approvals_pb2.GRANT_STATE_REQUESTED
        assert (asked.requested_by, asked.decided_by, asked.tier) == ("maria", "", privacy_pb2.TIER_2)
        office.now += timedelta(hours=1)
        live = await office.decide(asked.grant_id)
        assert live == await office.get(asked.grant_id)
        assert live.state == approvals_pb2.GRANT_STATE_LIVE
        assert (live.decided_by, live.note, list(live.sources)) == ("paul", "seen", ["crm", "wiki"])
        assert live.decided_at.ToDatetime(UTC) == office.now
        assert live.policy_version == POLICY.version
        assert await office.actions() == [("grant.requested", "maria"), ("grant.approved", "paul")]

    @pytest.mark.parametrize("name", ["maria", "Maria", " MARIA "])
    async def test_nobody_decides_their_own(self, office: Office, name: str) -> None:
        asked = await office.request()
        with pytest.raises(Denied, match="another person"):
            await office.decide(asked.grant_id, Principal("privacy", "*", name))
        assert (await office.get(asked.grant_id)).state == approvals_pb2.GRANT_STATE_REQUESTED
        assert await office.actions() == [("grant.requested", "maria"), ("access.denied", name)]

    async def test_a_token_that_names_nobody_decides_nothing(self, office: Office) -> None:
        asked = await office.request()
        with pytest.raises(Denied, match="names nobody"):
            await office.decide(asked.grant_id, Principal("privacy", "*", " "))
        with pytest.raises(Denied, match="names nobody"):
            await office.request(Principal("privacy", "*", ""))

    async def test_a_decision_stands(self, office: Office) -> None:
        refused = await office.decide((await office.request()).grant_id, approve=False)
        assert refused.state == approvals_pb2.GRANT_STATE_REFUSED
        with pytest.raises(Conflict, match="is refused, not requested"):
            await office.decide(refused.grant_id)
        live = await office.live()
        with pytest.raises(Conflict, match="is live, not requested"):
            await office.decide(live.grant_id, approve=False)

    async def test_what_nobody_decided_expires_too(self, office: Office) -> None:
        asked = await office.request(until=timedelta(days=1))
        office.now += timedelta(days=1)
        assert (await office.get(asked.grant_id)).state == approvals_pb2.GRANT_STATE_EXPIRED
        with pytest.raises(Conflict, match="is expired"):
            await office.decide(asked.grant_id)

    async def test_revoking_ends_it_once(self, office: Office) -> None:
        live = await office.live()
        revoked = await office.revoke(live.grant_id)
        assert (revoked.state, revoked.revoked_by) == (approvals_pb2.GRANT_STATE_REVOKED, "maria")
        assert revoked == await office.get(live.grant_id)
        with pytest.raises(Conflict, match="is revoked, not live"):
            await office.revoke(live.grant_id)
        assert (await office.actions())[-1] == ("grant.revoked", "maria")

    async def test_a_request_is_not_revoked(self, office: Office) -> None:
        asked = await office.request()
        with pytest.raises(Conflict, match="is requested, not live"):
            await office.revoke(asked.grant_id)

    async def test_another_tenants_grant_is_not_there(self, office: Office) -> None:
        asked = await office.request()
        stranger = Principal("privacy", "other", "olga")
        for act in (office.get, office.decide, office.revoke):
            with pytest.raises(NotFound):
                await act(asked.grant_id, stranger)
        with pytest.raises(NotFound):
            await office.get(str(uuid4()))

    async def test_lists_by_state_newest_first(self, office: Office) -> None:
        first = await office.live(until=timedelta(days=1))
        office.now += timedelta(hours=1)
        second = await office.live()
        office.now += timedelta(hours=1)
        third = await office.request()

        async def listed(state: int = 0, by: Principal = MARIA, tenant: str = office.tenant) -> list[str]:
            office.caller = by
            request = approvals_pb2.ListGrantsRequest(tenant=tenant, state=state)  # type: ignore[arg-type]
            return [g.grant_id for g in (await office.servicer.ListGrants(request, CONTEXT)).grants]

        ids = [third.grant_id, second.grant_id, first.grant_id]
        assert await listed() == ids
        assert await listed(approvals_pb2.GRANT_STATE_LIVE) == ids[1:]
        office.now += timedelta(days=1)
        assert await listed(approvals_pb2.GRANT_STATE_LIVE) == [second.grant_id]
        assert await listed(approvals_pb2.GRANT_STATE_EXPIRED) == [first.grant_id]
        assert set(ids) <= set(await listed(tenant=""))
        assert await listed(tenant="", by=Principal("reviewer", "other", "olga")) == []
        with pytest.raises(Rejected, match="state: unknown_value"):
            await listed(99)

    @pytest.mark.parametrize(
        ("changes", "wrong"),
        [
            ({"tenant": ""}, "tenant: missing"),
            ({"tenant": "Acme Inc"}, "tenant: malformed"),
            ({"tenant": "*"}, "tenant: malformed"),
            ({"purpose": 0}, "purpose: missing"),
            ({"purpose": 77}, "purpose: unknown_value"),
            ({"tier": 9}, "tier: unknown_value"),
            ({"sources": ["a b"]}, "sources[0]: malformed"),
            ({"sources": [f"s{n}" for n in range(33)]}, "sources: too_long"),
            ({"reason": "  "}, "reason: empty"),
            ({"reason": "x" * 1001}, "reason: too_long"),
            ({"reason": "a\x00b"}, "reason: has_nul"),
            ({"until": timedelta(0)}, "expires_at: out_of_range"),
            ({"until": timedelta(days=-1)}, "expires_at: out_of_range"),
            ({"until": timedelta(days=90, seconds=1)}, "expires_at: out_of_range"),
        ],
    )
    async def test_a_request_is_told_each_wrong_field(
        self, office: Office, changes: dict[str, Any], wrong: str
    ) -> None:
        with pytest.raises(Rejected) as error:
            await office.request(**changes)
        assert [str(violation) for violation in error.value.violations] == [wrong]
        assert await office.actions() == []

    async def test_everything_that_is_missing_is_told_at_once(self, office: Office) -> None:
        with pytest.raises(Rejected) as error:
            await office.servicer.RequestGrant(approvals_pb2.RequestGrantRequest(), CONTEXT)
        wrong = [str(violation) for violation in error.value.violations]
        assert wrong == ["tenant: missing", "purpose: missing", "reason: empty", "expires_at: missing"]

    async def test_the_longest_grant_may_be_asked_for(self, office: Office) -> None:
        assert (await office.live(until=timedelta(days=90))).state == approvals_pb2.GRANT_STATE_LIVE

    @pytest.mark.parametrize(
        ("purpose", "tier", "why"),
        [
            (privacy_pb2.PURPOSE_LOG, privacy_pb2.TIER_2, "needs no grant"),
            (privacy_pb2.PURPOSE_REVIEW, privacy_pb2.TIER_1, "needs no grant"),
        ],
    )
    async def test_what_a_grant_would_not_change_cannot_be_asked_for(
        self, office: Office, purpose: int, tier: int, why: str
    ) -> None:
        with pytest.raises(Conflict, match=why):
            await office.request(purpose=purpose, tier=tier)

    # Authorize

    async def test_without_a_grant_a_reviewer_reads_no_tier_2(self, office: Office) -> None:
        answer = await office.authorize()
        assert not answer.allowed
        assert "no live grant covers it: purposes.review.tier_2 allows it to reviewer under a grant" in answer.reason
        (row,) = await office.audit()
        assert row.sequence == answer.audit_sequence
        assert (row.entry.action, row.entry.role, row.entry.actor) == ("read.denied", "reviewer", "rita")
        assert (row.entry.purpose, row.entry.tier, row.entry.records) == (4, Tier.TIER_2, ("q1",))

    async def test_with_one_the_read_is_allowed_and_recorded(self, office: Office) -> None:
        live = await office.live()
        answer = await office.authorize(records=["q1", "q2"])
        assert answer.allowed
        assert (answer.grant_id, answer.policy_version) == (live.grant_id, POLICY.version)
        row = (await office.audit())[-1]
        assert (row.sequence, row.entry.action) == (answer.audit_sequence, "read.allowed")
        assert (row.entry.object, row.entry.records) == (live.grant_id, ("q1", "q2"))

    async def test_a_grant_ends_at_once(self, office: Office) -> None:
        expiring = await office.live(until=timedelta(hours=1))
        office.now += timedelta(minutes=59, seconds=59)
        assert (await office.authorize()).allowed
        office.now += timedelta(seconds=1)
        assert not (await office.authorize()).allowed
        assert expiring.grant_id
        revoked = await office.live()
        assert (await office.authorize()).allowed
        await office.revoke(revoked.grant_id)
        assert not (await office.authorize()).allowed

    async def test_a_request_or_a_refusal_opens_nothing(self, office: Office) -> None:
        asked = await office.request()
        assert not (await office.authorize()).allowed
        await office.decide(asked.grant_id, approve=False)
        assert not (await office.authorize()).allowed

    @pytest.mark.parametrize(
        ("use", "allowed"),
        [
            ({"sources": ["wiki"]}, True),
            ({"sources": ["wiki", "crm"]}, True),
            ({"sources": ["wiki", "mail"]}, False),
            ({"sources": []}, False),
        ],
    )
    async def test_a_grant_for_sources_covers_only_what_lies_within_them(
        self, office: Office, use: dict[str, Any], allowed: bool
    ) -> None:
        await office.live(sources=["crm", "wiki"])
        assert (await office.authorize(**use)).allowed is allowed

    @pytest.mark.parametrize(
        ("use", "allowed"),
        [
            ({}, True),
            ({"role": "privacy", "subject": "paul"}, True),
            ({"role": "developer", "subject": "dan"}, False),
            ({"role": "product", "subject": "u"}, False),
            ({"purpose": privacy_pb2.PURPOSE_TRAIN, "role": "service:trainer"}, False),
            ({"tier": privacy_pb2.TIER_UNSPECIFIED}, True),
            ({"tier": 9}, True),
        ],
    )
    async def test_a_grant_is_for_its_purpose_and_the_roles_of_the_policy(
        self, office: Office, use: dict[str, Any], allowed: bool
    ) -> None:
        await office.live()
        assert (await office.authorize(**use)).allowed is allowed

    async def test_a_grant_is_for_one_tenant(self, office: Office) -> None:
        await office.live()
        assert not (await office.authorize(tenant=f"{office.tenant}-2")).allowed

    @pytest.mark.parametrize(
        ("use", "rows"),
        [
            ({"purpose": privacy_pb2.PURPOSE_EVALUATE, "role": "developer", "tier": privacy_pb2.TIER_1}, 0),
            ({"purpose": privacy_pb2.PURPOSE_REVIEW, "tier": privacy_pb2.TIER_PUBLIC}, 1),
            ({"purpose": privacy_pb2.PURPOSE_ANSWER, "role": "product", "tier": privacy_pb2.TIER_2}, 1),
        ],
    )
    async def test_what_the_log_hears_of_what_is_allowed(self, office: Office, use: dict[str, Any], rows: int) -> None:
        answer = await office.authorize(**use)
        assert answer.allowed
        assert len(await office.audit()) == rows
        assert bool(answer.audit_sequence) is bool(rows)

    async def test_the_log_does_not_name_an_end_user(self, office: Office) -> None:
        await office.authorize(purpose=privacy_pb2.PURPOSE_ANSWER, role="product", subject="jane.doe@example.org")
        (row,) = await office.audit()
        assert row.entry.actor == "an end user"

    async def test_tier_2_leaves_the_house_under_a_grant_only(self, office: Office) -> None:
        use = {"purpose": privacy_pb2.PURPOSE_ANSWER, "role": "product", "backend": "api.example.com"}
        answer = await office.authorize(**use)
        assert not answer.allowed
        assert "backends.*.tier_2" in answer.reason
        await office.live(purpose=privacy_pb2.PURPOSE_ANSWER)
        assert (await office.authorize(**use)).allowed
        assert (await office.audit())[-1].entry.reason.endswith("sent to api.example.com")
        assert (await office.authorize(**{**use, "tier": privacy_pb2.TIER_PUBLIC})).allowed

    async def test_a_question_without_its_parts_is_told_each(self, office: Office) -> None:
        with pytest.raises(Rejected) as error:
            await office.servicer.Authorize(approvals_pb2.AuthorizeRequest(records=["q"] * 1001), CONTEXT)
        wrong = [str(violation) for violation in error.value.violations]
        assert wrong == ["tenant: missing", "purpose: missing", "role: missing", "records: too_long"]


class TestInMemory(ApprovalSuite):
    @pytest.fixture
    def office(self, tenant: str) -> Office:
        return Office(MemoryRegistry(), tenant)


@pytest.mark.real
class TestInPostgres(ApprovalSuite):
    @pytest.fixture
    def office(self, opened: Database, tenant: str) -> Office:
        return Office(PostgresRegistry(opened, PostgresAudit(AUDIT_KEY)), tenant)

    async def test_a_decision_that_is_not_recorded_did_not_happen(self, opened: Database, tenant: str) -> None:
        """Decision and row are one transaction: where the log cannot grow, nothing is decided."""
        office = Office(PostgresRegistry(opened, PostgresAudit(AUDIT_KEY)), tenant)
        asked = await office.request()
        dumb = Office(PostgresRegistry(opened, _Dumb(AUDIT_KEY)), tenant)
        with pytest.raises(asyncpg.CheckViolationError):
            await dumb.decide(asked.grant_id)
        assert (await office.get(asked.grant_id)).state == approvals_pb2.GRANT_STATE_REQUESTED

    async def test_no_read_stands_after_the_revocation_on_the_log(self, opened: Database, tenant: str) -> None:
        """One that is asked for while a revocation is about to commit waits for it, and is refused."""
        office = Office(PostgresRegistry(opened, PostgresAudit(AUDIT_KEY)), tenant)
        live = await office.live()
        async with office.registry.open(tenant) as register:
            await revoke_grant(UUID(live.grant_id), register, note="", by=MARIA, now=office.now, trace_id="")
            asked = asyncio.create_task(office.authorize())
            await asyncio.sleep(0.2)
            assert not asked.done()
        assert not (await asked).allowed
        assert [action for action, _ in await office.actions()][-2:] == ["grant.revoked", "read.denied"]


class _Dumb(PostgresAudit):
    """A log that cannot grow."""

    async def append(self, connection: Any, entry: Any) -> Any:
        await connection.execute("INSERT INTO checkpoints VALUES (0, 0, '', now())")


@pytest.fixture
async def row(schema: Any) -> AsyncIterator[Any]:
    """Writes a grant as the service's own role would if its code were wrong, and gives the statement's outcome."""
    connection = await asyncpg.connect(schema.dsn("classifier"))
    await connection.execute("SELECT set_config('headrace.tenant', '*', false)")
    good: dict[str, Any] = {
        "tenant": "acme", "grant_id": uuid4(), "purpose": 4, "tier": 3, "sources": [], "reason": "why",
        "requested_by": "maria", "requested_at": START, "expires_at": START + timedelta(days=1), "longest_days": 90,
        "policy_version": "1",
    }  # fmt: skip

    async def insert(**changes: Any) -> Any:
        values = {**good, "grant_id": uuid4(), **changes}
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        await connection.execute(f"INSERT INTO grants ({', '.join(values)}) VALUES ({places})", *values.values())
        return values["grant_id"]

    insert.connection = connection  # type: ignore[attr-defined]
    yield insert
    await connection.close()


def decided(by: str = "paul", at: datetime = START, *, approved: bool = True) -> dict[str, Any]:
    return {"approved": approved, "decided_by": by, "decided_at": at}


@pytest.mark.real
@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        (decided("maria"), "nobody_decides_their_own"),
        (decided(" Maria"), "nobody_decides_their_own"),
        (decided("maria", approved=False), "nobody_decides_their_own"),
        ({"expires_at": START}, "a_grant_ends_in_time"),
        ({"expires_at": START - timedelta(days=1)}, "a_grant_ends_in_time"),
        ({"expires_at": START + timedelta(days=90, seconds=1)}, "a_grant_ends_in_time"),
        ({"longest_days": 367}, "grants_longest_days_check"),
        (decided(at=START + timedelta(days=1)), "nothing_expired_is_approved"),
        ({"approved": True}, "a_decision_is_whole"),
        ({"approved": True, "decided_at": START}, "a_decision_is_whole"),
        ({"purpose": 0}, "grants_purpose_check"),
        ({"purpose": 7}, "grants_purpose_check"),
        ({"tier": 0}, "grants_tier_check"),
        ({"tenant": ""}, "grants_tenant_check"),
        ({"tenant": "*"}, "grants_tenant_check"),
        ({"reason": ""}, "grants_reason_check"),
        ({"requested_by": ""}, "grants_requested_by_check"),
        ({"sources": ["a", None]}, "grants_sources_check"),
        ({"sources": [f"s{n}" for n in range(33)]}, "grants_sources_check"),
        ({"revoked_by": "x", "revoked_at": START}, "only_the_approved_is_revoked"),
        ({**decided(approved=False), "revoked_by": "x", "revoked_at": START}, "only_the_approved_is_revoked"),
        ({**decided(), "revoked_at": START}, "a_revocation_is_whole"),
    ],
)
async def test_the_database_refuses_what_code_let_through(row: Any, changes: dict[str, Any], constraint: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as error:
        await row(**changes)
    assert error.value.constraint_name == constraint


@pytest.mark.real
async def test_the_database_keeps_what_was_decided(row: Any) -> None:
    connection = row.connection
    grant_id = await row(**decided(approved=False))
    for statement in (
        "SET approved = true",
        "SET decided_by = 'olga'",
        "SET approved = NULL, decided_by = NULL, decided_at = NULL",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="decided once"):
            await connection.execute(f"UPDATE grants {statement} WHERE grant_id = $1", grant_id)
    revoked = await row(**decided(), revoked_by="olga", revoked_at=START)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="revoked once"):
        await connection.execute("UPDATE grants SET revoked_by = NULL, revoked_at = NULL WHERE grant_id = $1", revoked)
    for statement in (
        "UPDATE grants SET expires_at = expires_at + interval '1 day'", "UPDATE grants SET requested_by = 'x'",
        "UPDATE grants SET tenant = 'other'", "UPDATE grants SET tier = 3", "DELETE FROM grants", "TRUNCATE grants",
    ):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


@pytest.mark.real
async def test_a_transaction_sees_its_tenants_grants_and_none_without_a_tenant(row: Any) -> None:
    connection = row.connection
    await row(tenant="one")
    seen = {}
    for tenant in ("one", "two", "*", ""):
        await connection.execute("SELECT set_config('headrace.tenant', $1, false)", tenant)
        seen[tenant] = await connection.fetchval("SELECT count(*) FROM grants WHERE tenant = 'one'")
    assert seen == {"one": 1, "two": 0, "*": 1, "": 0}
