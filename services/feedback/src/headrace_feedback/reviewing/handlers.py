"""What happens to answers that may come into the queue, and to those that experts take from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Denied, NotFound

from headrace_feedback.feedback import Feedback
from headrace_feedback.interaction import Interaction, Outline, Versioned
from headrace_feedback.reading import Desk, refusal
from headrace_feedback.reviewing.criteria import DEFAULT_RUBRIC, Rubric
from headrace_feedback.reviewing.ports import Books, Queue, Rubrics
from headrace_feedback.reviewing.queue import CLAIM, Claimed, Item
from headrace_feedback.reviewing.sampling import Reason, Rule, Sampling, Vocabulary, is_discontent, reasons_of
from headrace_feedback.uses import Use

#: How many answers are looked at, at a time, for one that the caller may read.
LOOKED_AT = 50

# The namespace of the queue's items: an answer is in it once, whatever brings it in.
_ITEMS = UUID("2f0c4b52-6f0e-5f0e-9d9b-0a2f6a0a6f11")


@dataclass(frozen=True, slots=True)
class Intake:
    """Where answers come in, inside the transaction that stores them, or what is said of them."""

    queue: Queue
    rubrics: Rubrics

    async def answer(self, interaction: Interaction, words: frozenset[bytes], *, now: datetime) -> Sampling:
        """An answer was stored. words: the question's, hashed; empty where nobody asks for them."""
        sampling = await self.queue.sampling(interaction.tenant) or Sampling()
        if sampling.rules:
            vocabulary = await self.queue.learn(interaction.tenant, words) if words else Vocabulary()
            kind = interaction.routed.kind
            due = sampling.due(interaction.query_id, kind, reasons_of(interaction, vocabulary))
            about = (interaction.tenant, interaction.query_id, interaction.tier, kind)
            await self._take(about, sampling, due, now=now)
        return sampling

    async def judgement(self, feedback: Feedback, *, now: datetime) -> None:
        """A judgement was joined to its answer."""
        if not is_discontent(feedback) or feedback.about.query_id is None:
            return
        tenant, query_id = feedback.about.tenant, feedback.about.query_id
        sampling = await self.queue.sampling(tenant)
        known = await self.queue.kind_of(tenant, query_id) if sampling else None
        if sampling and known:
            due = sampling.due(query_id, known[1], {Reason.THUMB_DOWN: True})
            await self._take((tenant, query_id, *known), sampling, due, now=now)

    async def score(self, tenant: str, query_id: UUID, *, evaluator: str, value: float, now: datetime) -> None:
        """An evaluator scored an answer."""
        sampling = await self.queue.sampling(tenant)
        known = await self.queue.kind_of(tenant, query_id) if sampling else None
        if sampling and known:
            due = sampling.due_for_score(query_id, known[1], evaluator=evaluator, value=value)
            await self._take((tenant, query_id, *known), sampling, due, now=now)

    async def _take(
        self, about: tuple[str, UUID, Tier, str], sampling: Sampling, due: Iterable[Rule], *, now: datetime
    ) -> None:
        reasons = {rule.reason for rule in due if await self._has_room(about[0], rule, now=now)}
        if reasons:
            await put_in(about, reasons, sampling, self.queue, self.rubrics, now=now)

    async def _has_room(self, tenant: str, rule: Rule, *, now: datetime) -> bool:
        return rule.a_day == 0 or await self.queue.taken_today(tenant, rule.reason, now=now) < rule.a_day


async def put_in(
    about: tuple[str, UUID, Tier, str],
    reasons: Iterable[Reason],
    sampling: Sampling,
    queue: Queue,
    rubrics: Rubrics,
    *,
    now: datetime,
) -> None:
    """Puts an answer (tenant, query, tier, kind) into the queue. Raises NotFound when its rubric is gone."""
    tenant, query_id, tier, kind = about
    rubric = await the_rubric(tenant, sampling.rubric or DEFAULT_RUBRIC, 0, rubrics)
    await queue.add(
        Item(
            item_id=uuid5(_ITEMS, f"{tenant}/{query_id}"),
            tenant=tenant,
            query_id=query_id,
            reasons=tuple(sorted(reasons)),
            tier=tier,
            kind=kind,
            rubric=Versioned(rubric.name, str(rubric.version)),
            reviewers=sampling.reviewers,
            created_at=now,
        )
    )


async def the_rubric(tenant: str, name: str, version: int, rubrics: Rubrics) -> Rubric:
    """A rubric. Raises NotFound."""
    rubric = await rubrics.get(tenant, name, version)
    if rubric is None:
        raise NotFound("rubric", f"{name} {version}" if version else name)
    return rubric


async def claim(
    tenant: str, query_id: UUID | None, books: Books, desk: Desk, *, by: Principal, now: datetime
) -> Claimed:
    """Hands out the next answer that the caller may read now, or the one that they name.

    What the policy keeps from them is left for others. Raises NotFound when nothing waits, and Denied when all that
    waits is kept from them.
    """
    async with books.open(tenant) as (queue, rubrics):
        if query_id is not None:
            await _ask_for(tenant, query_id, queue, rubrics, now=now)
        items = await queue.open_for(tenant, by.subject, now=now, query_id=query_id, most=LOOKED_AT)
        waiting = await queue.count_open_for(tenant, by.subject, now=now)
    refused: dict[tuple[Tier, tuple[str, ...]], str] = {}
    for item in items:
        outline = await _outline(item, desk)
        if outline is None or (outline.tier, outline.sources) in refused:
            continue
        if why := await _refusal(item, outline, desk, by=by):
            refused[outline.tier, outline.sources] = why
        elif claimed := await _hand_over(item, outline, books, desk, by=by, now=now, waiting=waiting):
            return claimed
    if refused:
        raise Denied(next(iter(refused.values())))
    raise NotFound("review", str(query_id or "next"))


async def _ask_for(tenant: str, query_id: UUID, queue: Queue, rubrics: Rubrics, *, now: datetime) -> None:
    """Puts an answer in that nobody sampled. One that is not there is found missing where it is looked for."""
    known = await queue.kind_of(tenant, query_id)
    if known is not None:
        sampling = await queue.sampling(tenant) or Sampling()
        await put_in((tenant, query_id, *known), (), sampling, queue, rubrics, now=now)


async def _outline(item: Item, desk: Desk) -> Outline | None:
    async with desk.reader.open(item.tenant) as log:
        return await log.outline(item.tenant, item.query_id)


async def _refusal(item: Item, outline: Outline, desk: Desk, *, by: Principal) -> str:
    """Why the caller may not read it now; "" when they may. Whatever is decided stands on the audit log."""
    use = Use(
        role=by.role,
        subject=by.subject,
        tenant=item.tenant,
        purpose=Purpose.REVIEW,
        tier=outline.tier,
        sources=outline.sources,
        records=(str(item.query_id),),
    )
    verdict = await desk.authorizer.authorize(use)
    return "" if verdict.allowed else refusal(use, verdict, desk.policy)


async def _hand_over(
    item: Item, outline: Outline, books: Books, desk: Desk, *, by: Principal, now: datetime, waiting: int
) -> Claimed | None:
    async with books.open(item.tenant) as (queue, _):
        until = now + CLAIM
        if not await queue.claim(item, by.subject, now=now, until=until):
            return None
    async with desk.reader.open(item.tenant, clearance=outline.tier) as log:
        logged = await log.read(item.tenant, item.query_id)
    return Claimed(item, until, logged, max(0, waiting - 1)) if logged else None
