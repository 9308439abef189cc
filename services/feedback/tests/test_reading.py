"""Who may read: asked before anything is opened, of every read and every batch. Seeded bugs are caught."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace.feedback.v1 import service_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import (
    PURPOSE_EVALUATE,
    PURPOSE_REVIEW,
    PURPOSE_SHARE,
    PURPOSE_TRAIN,
    ProtectedText,
)
from headrace_feedback import reading
from headrace_feedback.adapters.vault import VaultKeeper
from headrace_feedback.reading import Explained
from headrace_feedback.servicer import FeedbackServicer
from headrace_feedback.translate import read_reference
from headrace_feedback.uses import Use, Verdict
from headrace_identity import Principal
from headrace_privacy import Owner, Text, Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Denied, NotFound, Unavailable

from services.feedback.tests.house import CONTEXT, DEVELOPER, PRODUCT, REVIEWER, House, WatchedAuthorizer
from services.feedback.tests.makers import NOW, answer, feedback

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
OTHER = "1b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
WORDS = "my password is hunter2"
STRICT: dict[str, Any] = {"tier": "TIER_2"}


def chunk(source: str, number: int = 0) -> dict[str, str]:
    """A public chunk of a source."""
    return {
        "chunkId": f"{source}-{number}",
        "version": "1",
        "source": source,
        "documentId": f"d-{number}",
        "tier": "TIER_PUBLIC",
    }


def from_sources(*sources: str, **changes: Any) -> dict[str, Any]:
    """The changes of an answer that is made of these."""
    return {"citations": [], "retrieved": [chunk(source) for source in sources], **changes}


# One interaction


async def test_a_product_reads_what_it_asked_for(house: House) -> None:
    await house.answered(QUERY, **STRICT)
    shown = await house.get(QUERY)
    assert shown.interaction == answer("demo", QUERY, **STRICT)
    (use,) = house.authorizer.uses
    assert (use.purpose, use.role, use.tier, use.records) == (Purpose.ANSWER, "product", Tier.TIER_2, (QUERY,))


@pytest.mark.parametrize("caller", [REVIEWER, DEVELOPER, Principal("privacy", "*", "paula")])
async def test_anybody_elses_read_is_a_review_and_asked_about_by_name(house: House, caller: Principal) -> None:
    await house.answered(QUERY)
    house.caller = caller
    assert (await house.get(QUERY)).interaction.text.plain.startswith("A channel")
    (use,) = house.authorizer.uses
    assert (use.purpose, use.role, use.subject, use.tenant) == (Purpose.REVIEW, caller.role, caller.subject, "demo")
    assert (use.tier, use.sources, use.records) == (Tier.TIER_1, ("handbook",), (QUERY,))


async def test_a_refusal_says_why_and_what_would_mend_it_and_nothing_is_read(house: House) -> None:
    await house.answered(QUERY, **STRICT)
    house.caller = REVIEWER
    with pytest.raises(Denied) as caught:
        await house.get(QUERY)
    mend = "ask for a grant: headrace approvals request --tenant demo --purpose review --reason …"
    assert str(caught.value) == f"no live grant covers it; {mend}"
    assert house.journal == ["asked"]


async def test_where_no_grant_helps_none_is_offered(house: House) -> None:
    await house.answered(QUERY, **STRICT)
    house.caller = DEVELOPER
    with pytest.raises(Denied, match="no grant changes that"):
        await house.get(QUERY)


async def test_with_a_grant_the_read_happens_under_its_tier(house: House) -> None:
    await house.answered(QUERY, **STRICT)
    house.caller = REVIEWER
    house.authorizer.grants.add(Purpose.REVIEW)
    assert (await house.get(QUERY)).interaction == answer("demo", QUERY, **STRICT)
    assert house.journal == ["asked", "read up to tier_2", "opened"]


async def test_words_that_are_stricter_than_the_answer_count(house: House) -> None:
    await house.answered(QUERY, **from_sources("wiki", tier="TIER_PUBLIC"))
    await house.record(feedback("demo", queryId=QUERY, comment=WORDS))
    house.caller = REVIEWER
    with pytest.raises(Denied):
        await house.get(QUERY)


async def test_a_classifier_that_is_down_is_no_leave(house: House) -> None:
    await house.answered(QUERY)
    house.authorizer.is_down = True
    for caller in (PRODUCT, REVIEWER):
        house.caller = caller
        with pytest.raises(Unavailable):
            await house.get(QUERY)
    assert "opened" not in house.journal


async def test_what_is_erased_is_not_there(house: House) -> None:
    await house.answered(QUERY)
    house.keyring.destroy(Owner.subject("demo", "user-7"))
    with pytest.raises(NotFound) as erased:
        await house.get(QUERY)
    with pytest.raises(NotFound) as unknown:
        await house.get(OTHER)
    assert str(erased.value).replace(QUERY, OTHER) == str(unknown.value)


async def test_an_erased_document_leaves_the_answer_without_its_title(house: House) -> None:
    labelled = {**chunk("crm"), "tier": "TIER_2", "title": "Complaints"}
    await house.answered(QUERY, tier="TIER_2", citations=[], retrieved=[labelled])
    assert (await house.get(QUERY)).interaction.retrieved[0].title == "Complaints"
    house.keyring.destroy(Owner.document("demo", "crm", "d-0"))
    (shown,) = (await house.get(QUERY)).interaction.retrieved
    assert (shown.title, shown.document_id, shown.HasField("sealed_labels")) == ("", "d-0", False)


# Seeded bugs: what the check of all reads must catch.


class SkipsAsking(FeedbackServicer):
    """Reads without asking."""

    async def Get(  # noqa: N802
        self, request: service_pb2.GetRequest, context: Any
    ) -> service_pb2.GetResponse:
        about = read_reference(request.tenant, request.query_id, "")
        assert about.query_id
        async with self._desk.reader.open(about.tenant) as log:
            logged = await log.read(about.tenant, about.query_id)
        assert logged
        return await self._opened(Explained(logged, ()))


class OpensBeforeAsking(SkipsAsking):
    """Opens, and only then asks whether it may."""

    async def Get(  # noqa: N802
        self, request: service_pb2.GetRequest, context: Any
    ) -> service_pb2.GetResponse:
        opened = await super().Get(request, context)
        about = read_reference(request.tenant, request.query_id, "")
        await reading.explain(about, self._desk, by=self._caller())
        return opened


class KeepsInTheClear(VaultKeeper):
    """Stores words as they are."""

    async def keep(self, text: Text, owner: Owner) -> bytes:
        return ProtectedText(plain=text.reveal()).SerializeToString()


async def check_reads(house: House) -> None:
    """Everything is asked about once, before it is read, and what is refused is not read."""
    await house.answered(QUERY, **STRICT)
    house.caller = REVIEWER
    with pytest.raises(Denied):
        await house.get(QUERY)
    assert house.journal == ["asked"]
    house.authorizer.grants.add(Purpose.REVIEW)
    await house.get(QUERY)
    assert house.journal == ["asked", "asked", "read up to tier_2", "opened"]


async def check_rest(house: House) -> None:
    """No word of a comment rests in the clear."""
    await house.answered(QUERY)
    await house.record(feedback("demo", queryId=QUERY, comment="The mill is in Ohio."))
    assert b"Ohio" not in house.stored()


class AsksOnce(WatchedAuthorizer):
    """Remembers what was allowed."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__(journal)
        self._known: Verdict | None = None

    async def authorize(self, use: Use) -> Verdict:
        self._known = self._known or await super().authorize(use)
        return self._known


async def check_end(house: House) -> None:
    """A grant that ends stops a stream at the next batch, however much was asked for."""
    house.caller = REVIEWER
    house.authorizer.grants.add(Purpose.REVIEW)
    names = await log_some(house, 7, **STRICT)
    request = service_pb2.ExportRequest(tenant="demo", purpose=PURPOSE_REVIEW)
    seen: list[str] = []
    with pytest.raises(Denied, match="a grant ended"):
        async for response in house.servicer.Export(request, CONTEXT):
            seen += ids([response])
            house.authorizer.grants.clear()
    assert seen == names[:3]
    assert house.journal == ["asked", "read up to tier_2", "opened", "asked"]


@pytest.mark.parametrize("check", [check_reads, check_rest, check_end])
async def test_the_service_passes(check: Callable[[House], Awaitable[None]]) -> None:
    await check(House(batch=3))


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (check_reads, {"make_servicer": SkipsAsking}),
        (check_reads, {"make_servicer": OpensBeforeAsking}),
        (check_rest, {"make_keeper": KeepsInTheClear}),
        (check_end, {"make_authorizer": AsksOnce}),
    ],
)
async def test_a_seeded_bug_is_caught(check: Callable[[House], Awaitable[None]], broken: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check(House(**broken, batch=3))


# Exports


def ids(responses: list[service_pb2.ExportResponse]) -> list[str]:
    return [one.query_id for response in responses for one in response.interactions]


def left_out(responses: list[service_pb2.ExportResponse]) -> dict[tuple[str, str], int]:
    assert not any(response.exclusions for response in responses[:-1])
    return {(one.reason, privacy_pb2.Tier.Name(one.tier)): one.interactions for one in responses[-1].exclusions}


async def log_some(house: House, number: int, *, minute: int = 0, **changes: Any) -> list[str]:
    """So many answers, a second apart."""
    names = [str(uuid4()) for _ in range(number)]
    for second, query_id in enumerate(names):
        moment = f"2026-11-21T09:{minute:02}:{second:02}Z"
        await house.answered(query_id, **({"completedAt": moment} | changes))
    return names


async def test_an_export_has_what_is_allowed_oldest_first_and_counts_the_rest(house: House) -> None:
    house.caller = DEVELOPER
    strict = await log_some(house, 2, minute=1, **STRICT)
    later = await log_some(house, 3, minute=2)
    sooner = await log_some(house, 2, minute=0)
    responses = await house.export(purpose=PURPOSE_TRAIN)
    assert ids(responses) == sooner + later
    assert left_out(responses) == {("no_grant", "TIER_2"): 2}
    assert {record for use in house.authorizer.uses for record in use.records} == {*strict, *sooner, *later}
    first = responses[0].interactions[0]
    assert (first.question, first.answer) == ("What is a headrace?", "A channel to the mill wheel [1].")
    assert (list(first.sources), first.grant_id, first.correction) == (["handbook"], "", "")
    assert first.completed_at.ToDatetime(tzinfo=NOW.tzinfo) == NOW.replace(second=0)


async def test_under_a_grant_each_says_which(house: House) -> None:
    house.caller = DEVELOPER
    house.authorizer.grants.add(Purpose.TRAIN)
    (query_id,) = await log_some(house, 1, **STRICT)
    (response, last) = await house.export(purpose=PURPOSE_TRAIN)
    (one,) = response.interactions
    assert (one.query_id, one.grant_id, one.tier) == (query_id, "grant-1", privacy_pb2.TIER_2)
    assert not last.exclusions


async def test_the_latest_correction_goes_along(house: House) -> None:
    house.caller = DEVELOPER
    (query_id,) = await log_some(house, 1)
    for second, correction in ((3, "A mill race."), (2, "A river.")):
        house.moment = NOW.replace(second=second)
        await house.record(feedback("demo", queryId=query_id, correction=correction, feedbackId=str(uuid4())))
    (response, _) = await house.export(purpose=PURPOSE_EVALUATE)
    assert response.interactions[0].correction == "A mill race."


async def test_groups_are_asked_about_one_by_one(house: House) -> None:
    house.caller = DEVELOPER
    await log_some(house, 2, **from_sources("wiki"))
    await log_some(house, 1, **from_sources("wiki", "handbook"))
    await log_some(house, 1, **from_sources("wiki", tier="TIER_PUBLIC"))
    await house.export(purpose=PURPOSE_TRAIN)
    asked = {(use.tier, use.sources): len(use.records) for use in house.authorizer.uses}
    assert asked == {
        (Tier.TIER_1, ("wiki",)): 2,
        (Tier.TIER_1, ("handbook", "wiki")): 1,
        (Tier.PUBLIC, ("wiki",)): 1,
    }


async def test_only_what_is_grounded_in_the_named_sources_alone(house: House) -> None:
    house.caller = DEVELOPER
    (wanted,) = await log_some(house, 1, **from_sources("wiki"))
    await log_some(house, 1, **from_sources("wiki", "handbook"))
    await log_some(house, 1, **from_sources())
    responses = await house.export(purpose=PURPOSE_TRAIN, sources=["wiki"])
    assert ids(responses) == [wanted]
    assert left_out(responses) == {("other_source", "TIER_1"): 2}
    assert [use.records for use in house.authorizer.uses] == [(wanted,)]


async def test_what_is_erased_is_counted_and_not_exported(house: House) -> None:
    house.caller = DEVELOPER
    (kept,) = await log_some(house, 1)
    gone = {"queryId": str(uuid4()), "tenant": "demo", "subject": "user-9", "acceptedAt": "2026-11-21T09:00:00Z"}
    await house.answered(gone["queryId"], query=gone)
    house.keyring.destroy(Owner.subject("demo", "user-9"))
    responses = await house.export(purpose=PURPOSE_TRAIN)
    assert ids(responses) == [kept]
    assert left_out(responses) == {("erased", "TIER_1"): 1}


async def test_what_is_removed_while_it_is_asked_about_counts_as_erased(house: House) -> None:
    house.caller = DEVELOPER
    kept, gone = await log_some(house, 2)
    ask = house.authorizer.authorize

    async def meanwhile(use: Use) -> Verdict:
        del house.log.interactions["demo", UUID(gone)]
        return await ask(use)

    house.authorizer.authorize = meanwhile  # type: ignore[method-assign]
    responses = await house.export(purpose=PURPOSE_TRAIN)
    assert ids(responses) == [kept]
    assert left_out(responses) == {("erased", "TIER_1"): 1}


async def test_when_nothing_of_it_is_allowed_the_export_is_refused(house: House) -> None:
    house.caller = DEVELOPER
    await log_some(house, 2, **STRICT)
    with pytest.raises(Denied, match="headrace approvals request --tenant demo --purpose train"):
        await house.export(purpose=PURPOSE_TRAIN)
    assert house.journal == ["asked"]


async def test_a_purpose_that_no_grant_opens_is_refused_and_on_the_log(house: House) -> None:
    house.caller = Principal("service:trainer", "*", "service:trainer")

    async def refuse(use: Any) -> Any:
        house.authorizer.uses.append(use)
        return Verdict(False, "the policy does not list service:trainer")

    house.authorizer.authorize = refuse  # type: ignore[method-assign]
    with pytest.raises(Denied, match="no grant changes that"):
        await house.export(purpose=PURPOSE_SHARE)
    (use,) = house.authorizer.uses
    assert (use.role, use.purpose, use.records) == ("service:trainer", Purpose.SHARE, ())


async def test_nothing_at_all_is_an_empty_export(house: House) -> None:
    house.caller = DEVELOPER
    (only,) = await house.export(purpose=PURPOSE_TRAIN)
    assert only == service_pb2.ExportResponse()


async def test_a_batch_is_read_under_the_tier_that_was_allowed(house: House) -> None:
    house.caller = DEVELOPER
    await log_some(house, 1, **from_sources("wiki", tier="TIER_PUBLIC"))
    await log_some(house, 1, **STRICT)
    await house.export(purpose=PURPOSE_TRAIN)
    assert [step for step in house.journal if step.startswith("read")] == ["read up to public"]


async def test_large_interactions_come_in_several_responses(house: House) -> None:
    house.caller = DEVELOPER
    text = {"plain": "x" * 700_000, "characters": 700_000}
    names = await log_some(house, 3, text=text)
    responses = await house.export(purpose=PURPOSE_TRAIN)
    assert ids(responses) == names
    assert len(responses) == 4


@pytest.fixture
def house() -> House:
    return House()
