"""The queue from an answer to its labels, over a real Postgres."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace.feedback.v1 import reviews_pb2, rubrics_pb2
from headrace_database import Database
from headrace_feedback.adapters.postgres import PostgresLog, PostgresReader
from headrace_feedback.adapters.vault import VaultKeeper
from headrace_feedback.consumers import Consumers
from headrace_feedback.handlers import Door
from headrace_feedback.reading import Desk
from headrace_feedback.reviewing.erasing import ITEMS, LABELS, ReviewPart
from headrace_feedback.reviewing.intake import ReviewSampler
from headrace_feedback.reviewing.ports import NoPassages
from headrace_feedback.reviewing.postgres import PostgresBooks, PostgresQueue
from headrace_feedback.reviewing.review_servicer import House, ReviewServicer
from headrace_feedback.reviewing.rubric_servicer import RubricServicer
from headrace_feedback.reviewing.sampling import KNOWN_WORDS
from headrace_identity import Principal
from headrace_privacy import Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy import Purpose
from headrace_privacy.policy_file import read_policy
from headrace_runtime.errors import Denied, NotFound, Rejected, Unavailable
from headrace_stream import Ledger
from headrace_stream.erasing import Erasure, Names, Subject

from services.feedback.tests.makers import (
    ANSWER,
    FEEDBACK,
    NOW,
    SomeAuthorizer,
    SomeClassifier,
    delivery,
    feedback,
    sealed_answer,
)

pytestmark = pytest.mark.real
CONTEXT: Any = None
PASS = {"correct": "pass", "supported": "pass", "helpful": "helpful"}


@dataclass
class Reviews:
    """The queue of one tenant, with the logger that fills it. `reviewer` is who calls."""

    tenant: str
    database: Database
    now: datetime = NOW
    reviewer: str = "rita"
    classifier: SomeClassifier = field(default_factory=SomeClassifier)
    authorizer: SomeAuthorizer = field(default_factory=SomeAuthorizer)
    keyring: MemoryKeyring = field(default_factory=MemoryKeyring)

    def __post_init__(self) -> None:
        vault = Vault(self.keyring, clock=lambda: 0.0)
        ledger, reader = Ledger(self.database), PostgresReader(self.database)
        door = Door(reader, self.classifier, VaultKeeper(vault))
        self.consumers = Consumers(ledger, self.log_on, door=door, sampler=ReviewSampler(vault))
        books = PostgresBooks(self.database)
        house = House(
            books=books,
            queue_on=lambda unit: PostgresQueue(unit.connection),
            log_on=self.log_on,
            ledger=ledger,
            door=door,
            desk=Desk(reader, self.authorizer, read_policy(None)),
            vault=vault,
            passages=NoPassages(),
            caller=lambda: Principal("reviewer", self.tenant, self.reviewer),
            new_id=uuid4,
            now=lambda: self.now,
        )
        self.servicer = ReviewServicer(house)
        self.rubrics = RubricServicer(books, caller=house.caller, now=house.now)

    def log_on(self, unit: Any) -> PostgresLog:
        return PostgresLog(unit.connection)

    async def sample(self, *rules: dict[str, Any], reviewers: int = 1, rubric: str = "answer-quality") -> None:
        request = reviews_pb2.PutSamplingRequest(tenant=self.tenant, rubric=rubric, reviewers=reviewers)
        for rule in rules:
            request.rules.add(**({"share": 1.0} | rule))
        await self.servicer.PutSampling(request, CONTEXT)

    async def answered(self, query_id: str = "", **changes: Any) -> str:
        query_id = query_id or str(uuid4())
        message = await sealed_answer(self.keyring, self.tenant, query_id, **changes)
        await self.consumers.on_answer(delivery(message, ANSWER))
        return query_id

    async def judged(self, query_id: str, **judgement: Any) -> None:
        message = feedback(self.tenant, queryId=query_id, **judgement)
        await self.consumers.on_feedback(delivery(message, FEEDBACK))

    async def next(self, reviewer: str = "rita", query_id: str = "") -> reviews_pb2.ClaimReviewResponse:
        self.reviewer = reviewer
        request = reviews_pb2.ClaimReviewRequest(tenant=self.tenant, query_id=query_id)
        return await self.servicer.ClaimReview(request, CONTEXT)

    async def label(self, item_id: str, reviewer: str = "rita", **changes: Any) -> bool:
        self.reviewer = reviewer
        words = {name: changes.pop(name) for name in ("comment", "correction", "kind") if name in changes}
        request = reviews_pb2.LabelReviewRequest(tenant=self.tenant, item_id=item_id, **words)
        for criterion, label in (PASS | changes).items():
            request.labels.add(criterion=criterion, label=label)
        return (await self.servicer.LabelReview(request, CONTEXT)).finished

    async def stats(self) -> reviews_pb2.GetReviewStatsResponse:
        return await self.servicer.GetReviewStats(reviews_pb2.GetReviewStatsRequest(tenant=self.tenant), CONTEXT)

    async def nothing_waits_for(self, reviewer: str) -> bool:
        try:
            await self.next(reviewer)
        except NotFound:
            return True
        return False


@pytest.fixture
def reviews(opened: Database, tenant: str) -> Reviews:
    return Reviews(tenant, opened)


RANDOM = {"reason": reviews_pb2.SAMPLING_REASON_RANDOM}
THUMB_DOWN = {"reason": reviews_pb2.SAMPLING_REASON_THUMB_DOWN}
NEW_WORDS = {"reason": reviews_pb2.SAMPLING_REASON_NEW_VOCABULARY}


async def test_a_sampled_answer_is_handed_out_in_the_clear_and_labelled_once(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    query_id = await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next()).item
    assert (item.query_id, item.rubric.name, list(item.reasons)) == (query_id, "answer-quality", [RANDOM["reason"]])
    assert (item.question, item.answer) == ("What is a headrace?", "A channel to the mill wheel [1].")
    assert [passage.number for passage in item.passages] == [1]
    assert await reviews.label(item.item_id)
    assert await reviews.nothing_waits_for("rita")
    stats = await reviews.stats()
    assert (stats.waiting, stats.claimed, stats.finished) == (0, 0, 1)
    assert (dict(stats.labelled_by), dict(stats.sampled_for)) == ({"rita": 1}, {"random": 1})


async def test_nothing_is_sampled_without_rules(reviews: Reviews) -> None:
    await reviews.answered()
    assert await reviews.nothing_waits_for("rita")


async def test_a_thumb_down_brings_an_answer_in_and_adds_its_reason_to_one_that_is_there(reviews: Reviews) -> None:
    await reviews.sample(THUMB_DOWN, RANDOM)
    there = await reviews.answered(tier="TIER_PUBLIC")
    await reviews.judged(there, thumb="THUMB_UP")
    await reviews.judged(there, thumb="THUMB_DOWN")
    item = (await reviews.next()).item
    assert list(item.reasons) == [RANDOM["reason"], THUMB_DOWN["reason"]]
    early = str(uuid4())
    await reviews.sample(THUMB_DOWN)
    await reviews.judged(early, rating=1)
    await reviews.answered(early)
    assert (await reviews.stats()).sampled_for["thumb_down"] == 2, "feedback that came before its answer counts too"


async def test_a_rule_takes_no_more_a_day_than_it_says(reviews: Reviews) -> None:
    await reviews.sample({**RANDOM, "a_day": 2})
    for _ in range(4):
        await reviews.answered()
    assert (await reviews.stats()).waiting == 2


async def test_a_question_in_new_words_is_looked_at_once_enough_are_known(reviews: Reviews) -> None:
    await reviews.sample(NEW_WORDS)
    words = [f"w{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}" for n in range(KNOWN_WORDS)]
    common = {"plain": " ".join(words)}
    await reviews.answered(tier="TIER_PUBLIC", question=common)  # from here on it is known that words are asked for
    await reviews.answered(tier="TIER_PUBLIC", question=common)
    await reviews.answered(tier="TIER_PUBLIC", question=common)
    assert (await reviews.stats()).waiting == 0
    new = await reviews.answered(tier="TIER_PUBLIC", question={"plain": f"{words[0]} tardigrade"})
    await reviews.answered(tier="TIER_2", question={"plain": "quokka"})
    assert (await reviews.next()).item.query_id == new
    assert (await reviews.stats()).sampled_for["new_vocabulary"] == 1, "what is TIER_2 is not opened for it"


async def test_two_reviewers_get_the_same_answer_and_no_third(reviews: Reviews) -> None:
    await reviews.sample(RANDOM, reviewers=2)
    await reviews.answered(tier="TIER_PUBLIC")
    first, second = (await reviews.next("rita")).item, (await reviews.next("ravi")).item
    assert first.item_id == second.item_id
    assert await reviews.nothing_waits_for("rosa")
    assert (await reviews.next("rita")).item.item_id == first.item_id, "what one holds comes first"
    assert not await reviews.label(first.item_id, "rita")
    assert await reviews.label(first.item_id, "ravi", correct="fail")
    assert [(one.criterion, one.answers, one.raw) for one in (await reviews.stats()).agreement] == [
        ("correct", 1, 0.0),
        ("supported", 1, 1.0),
        ("helpful", 1, 1.0),
    ]


async def test_a_reviewer_may_say_what_kind_it_is(reviews: Reviews) -> None:
    await reviews.sample(RANDOM, reviewers=2)
    await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next()).item
    with pytest.raises(Rejected) as refused:
        await reviews.label(item.item_id, kind="How to?")
    assert [violation.field for violation in refused.value.violations] == ["kind"]
    await reviews.label(item.item_id, kind="how-to")
    await reviews.next("ravi")
    await reviews.label(item.item_id, "ravi")
    async with reviews.database.transaction(tenant=reviews.tenant) as connection:
        rows = await connection.fetch("SELECT reviewer, kind FROM review_labels ORDER BY reviewer")
    assert {row["reviewer"]: row["kind"] for row in rows} == {"rita": "how-to", "ravi": ""}


async def test_a_claim_ends_by_itself_or_is_given_back(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next("rita")).item
    assert await reviews.nothing_waits_for("ravi")
    request = reviews_pb2.ReleaseReviewRequest(tenant=reviews.tenant, item_id=item.item_id)
    with pytest.raises(NotFound):
        await reviews.servicer.ReleaseReview(request, CONTEXT)
    reviews.reviewer = "rita"
    await reviews.servicer.ReleaseReview(request, CONTEXT)
    assert (await reviews.next("ravi")).item.item_id == item.item_id


async def test_what_was_claimed_and_left_is_anybodys_again(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next("rita")).item
    reviews.now += timedelta(minutes=31)
    assert (await reviews.next("ravi")).item.item_id == item.item_id
    with pytest.raises(NotFound):
        await reviews.label(item.item_id, "rita")


async def test_nobody_labels_what_they_do_not_hold(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next("rita")).item
    with pytest.raises(NotFound):
        await reviews.label(item.item_id, "ravi")
    with pytest.raises(NotFound):
        await reviews.label(str(uuid4()), "rita")
    with pytest.raises(Rejected, match=r"labels\.helpful"):
        await reviews.label(item.item_id, "rita", helpful="very")


async def test_a_reviewer_gets_what_they_may_read_and_leaves_the_rest(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    secret = await reviews.answered(tier="TIER_2")
    open_one = await reviews.answered(tier="TIER_PUBLIC")
    assert (await reviews.next("rita")).item.query_id == open_one
    with pytest.raises(Denied, match="headrace approvals request"):
        await reviews.next("ravi")
    reviews.authorizer.grants.add(Purpose.REVIEW)
    assert (await reviews.next("ravi")).item.query_id == secret
    assert {use.purpose for use in reviews.authorizer.uses} == {Purpose.REVIEW}


async def test_nobody_reads_while_nobody_can_say_who_may(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    await reviews.answered(tier="TIER_PUBLIC")
    reviews.authorizer.is_down = True
    with pytest.raises(Unavailable):
        await reviews.next()


async def test_any_answer_may_be_asked_for_by_its_query(reviews: Reviews) -> None:
    query_id = await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next(query_id=query_id)).item
    assert (item.query_id, list(item.reasons)) == (query_id, [])
    with pytest.raises(NotFound):
        await reviews.next(query_id=str(uuid4()))


async def test_a_comment_and_a_correction_rest_masked_and_sealed(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next()).item
    await reviews.label(item.item_id, comment="They said hunter2.", correction="It leads water to the wheel.")
    async with reviews.database.transaction(tenant=reviews.tenant) as connection:
        [labelled] = await connection.fetch("SELECT * FROM review_labels WHERE tenant = $1", reviews.tenant)
        [correction] = await connection.fetch("SELECT * FROM feedback WHERE tenant = $1", reviews.tenant)
        recorded = await connection.fetchval(
            "SELECT count(*) FROM outbox WHERE topic = 'feedback.recorded' AND headers::text LIKE $1",
            f"%{reviews.tenant}%",
        )
    assert b"They said" not in labelled["comment"]
    assert labelled["tier"] == 3, "a secret in it makes it so"
    assert (correction["kind"], correction["subject"], b"wheel" in correction["words"]) == ("correction", "rita", False)
    assert recorded == 1


async def test_the_last_labels_of_a_reviewer_count_and_the_earlier_are_kept(reviews: Reviews) -> None:
    await reviews.sample(RANDOM, reviewers=2)
    await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next("rita")).item
    await reviews.next("ravi")
    await reviews.label(item.item_id, "rita", correct="fail")
    await reviews.label(item.item_id, "ravi")
    reviews.now += timedelta(minutes=1)
    await reviews.label(item.item_id, "rita")
    assert [one.raw for one in (await reviews.stats()).agreement] == [1.0, 1.0, 1.0]
    async with reviews.database.transaction(tenant=reviews.tenant) as connection:
        kept = await connection.fetchval("SELECT count(*) FROM review_labels WHERE tenant = $1", reviews.tenant)
    assert kept == 3


async def test_another_tenant_finds_none_of_it(reviews: Reviews, opened: Database) -> None:
    await reviews.sample(RANDOM)
    query_id = await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next()).item
    other = Reviews(f"{reviews.tenant}-b", opened)
    with pytest.raises(NotFound):
        await other.next(query_id=query_id)
    with pytest.raises(NotFound):
        await other.label(item.item_id)
    assert (await other.stats()).waiting == 0


async def test_the_queue_goes_with_whoever_asked(reviews: Reviews) -> None:
    await reviews.sample(RANDOM)
    query_id = await reviews.answered(tier="TIER_PUBLIC")
    item = (await reviews.next()).item
    await reviews.label(item.item_id, comment="Fine.")
    part, names = ReviewPart(), Names(b"k" * 32)
    erasure = Erasure(uuid4(), reviews.tenant, Subject("user-7"), 1, NOW, NOW)
    async with reviews.database.transaction(tenant=reviews.tenant) as connection:
        assert (await part.left(connection, erasure, names))[ITEMS] == 1, "reading back sees what was not removed"
        removed = await part.remove(connection, erasure, names, queries=[UUID(query_id)])
        assert removed == {LABELS: 1, ITEMS: 1}
        assert await part.left(connection, erasure, names) == {ITEMS: 0}


async def put_rubric(reviews: Reviews, **changes: Any) -> rubrics_pb2.PutRubricResponse:
    rubric = {"name": "tone", "instructions": "Listen.", "criteria": [{"name": "kind", "question": "Is it kind?"}]}
    request = rubrics_pb2.PutRubricRequest(tenant=reviews.tenant, rubric=rubrics_pb2.Rubric(**(rubric | changes)))
    return await reviews.rubrics.PutRubric(request, CONTEXT)


async def test_a_rubric_is_numbered_and_word_for_word_the_same_keeps_its_number(reviews: Reviews) -> None:
    first, again = await put_rubric(reviews), await put_rubric(reviews)
    second = await put_rubric(reviews, instructions="Listen well.")
    assert [(one.rubric.version, one.created) for one in (first, again, second)] == [(1, True), (1, False), (2, True)]
    back = await put_rubric(reviews)
    assert back.rubric.version == 1
    listed = await reviews.rubrics.ListRubrics(rubrics_pb2.ListRubricsRequest(tenant=reviews.tenant), CONTEXT)
    assert [(one.name, one.version, one.built_in) for one in listed.rubrics] == [
        ("answer-quality", 1, True),
        ("tone", 2, False),
    ]
    old = rubrics_pb2.GetRubricRequest(tenant=reviews.tenant, name="tone", version=1)
    assert (await reviews.rubrics.GetRubric(old, CONTEXT)).rubric.instructions == "Listen."


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "Tone!"}, "rubric.name"),
        ({"instructions": " "}, "rubric.instructions"),
        ({"criteria": []}, "rubric.criteria"),
        ({"criteria": [{"name": "kind", "question": "?", "labels": ["one"]}]}, "rubric.criteria\\[0\\].labels"),
        ({"criteria": [{"name": "kind", "question": "?", "least_kappa": 2}]}, "rubric.criteria\\[0\\].least_kappa"),
        ({"criteria": [{"name": "k", "question": "?"}] * 2}, "rubric.criteria"),
    ],
)
async def test_a_wrong_rubric_is_refused_by_field(reviews: Reviews, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected, match=field):
        await put_rubric(reviews, **changes)


async def test_what_rests_is_labelled_by_the_version_that_it_was_sampled_for(reviews: Reviews) -> None:
    await put_rubric(reviews)
    await reviews.sample(RANDOM, rubric="tone")
    await reviews.answered(tier="TIER_PUBLIC")
    await put_rubric(reviews, criteria=[{"name": "warm", "question": "Is it warm?"}])
    item = (await reviews.next()).item
    assert (item.rubric.name, item.rubric.version) == ("tone", "1")
    request = reviews_pb2.LabelReviewRequest(tenant=reviews.tenant, item_id=item.item_id)
    request.labels.add(criterion="kind", label="pass")
    assert (await reviews.servicer.LabelReview(request, CONTEXT)).finished


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"reason": 0}, "rules\\[0\\].reason"),
        ({"reason": 1, "share": 0}, "rules\\[0\\].share"),
        ({"reason": 1, "evaluator": "relevance"}, "rules\\[0\\].evaluator"),
        ({"reason": 5}, "rules\\[0\\].evaluator"),
        ({"reason": 1, "kind": "How To"}, "rules\\[0\\].kind"),
    ],
)
async def test_a_wrong_rule_is_refused_by_field(reviews: Reviews, rule: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected, match=field):
        await reviews.sample(rule)
    with pytest.raises(NotFound):
        await reviews.sample(RANDOM, rubric="nobodys")
