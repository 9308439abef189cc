"""Reading interactions: who may is asked first, and asked again for each batch; nothing is read before.

outlines (no words) ──▶ Authorize: policy, grant, audit ──▶ read, under that clearance ──▶ the edge opens it
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_privacy.policy import Policy, Purpose, RulingKind
from headrace_runtime.errors import Denied, NotFound

from headrace_feedback.feedback import Reference
from headrace_feedback.handlers import locate
from headrace_feedback.interaction import Exported, Judgement, Logged, Outline
from headrace_feedback.ports import Authorizer, Log, Reader
from headrace_feedback.uses import Reason, Use, Verdict, Wish

#: Each is a few kilobytes, seldom more than a hundred; and a call names at most 1,000.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Desk:
    """Where one asks to read. The policy only gives a refusal its name: the authorizer decides.

    batch: interactions that are authorized, read and held at a time; after a revocation no more are on their way.
    """

    reader: Reader
    authorizer: Authorizer
    policy: Policy
    batch: int = BATCH


@dataclass(frozen=True, slots=True)
class Explained:
    """An interaction with its feedback, as they rest."""

    interaction: Logged
    feedback: tuple[Judgement, ...] = field(repr=False)


async def explain(about: Reference, desk: Desk, *, by: Principal) -> Explained:
    """One interaction, whole, for a product as the answer it asked for, for anybody else as a review.

    Raises NotFound when this tenant has none such, Denied when the caller may not read it.
    """
    purpose = Purpose.ANSWER if by.role == "product" else Purpose.REVIEW
    async with desk.reader.open(about.tenant) as log:
        outline = await _outline(about, log)
    use = _use(by, Wish(about.tenant, purpose), (outline,))
    verdict = await desk.authorizer.authorize(use)
    if not verdict.allowed:
        raise Denied(refusal(use, verdict, desk.policy))
    async with desk.reader.open(about.tenant, clearance=outline.tier) as log:
        logged = await log.read(about.tenant, outline.query_id)
        if logged is None:
            raise no_such(about)
        return Explained(logged, tuple(await log.feedback_of(about.tenant, outline.query_id)))


async def _outline(about: Reference, log: Log) -> Outline:
    known = await locate(about, log)
    outline = await log.outline(about.tenant, known.query_id) if known else None
    if outline is None:
        raise no_such(about)
    return outline


def no_such(about: Reference) -> NotFound:
    """What is said of an interaction that is not there, another tenant's, or erased: the same."""
    return NotFound("interaction", str(about.query_id or about.trace_id))


@dataclass(frozen=True, slots=True)
class Readable:
    """An interaction that may be read now: by the policy alone, or under a grant."""

    outline: Outline
    grant_id: str
    content: Exported


_Group = tuple[Tier, tuple[str, ...]]


class Leave:
    """What somebody who reads batch by batch was allowed so far.

    A group (a tier, a set of sources) that a grant had opened and that is refused later means that the grant has ended:
    reading ends at once, with Denied, rather than go on as if it were whole.
    """

    def __init__(self, authorizer: Authorizer, policy: Policy) -> None:
        self._authorizer = authorizer
        self._policy = policy
        self._granted: set[_Group] = set()
        self._refused: list[str] = []
        self._was_allowed = False

    async def ask(self, use: Use) -> Verdict:
        """Asks for one group. Raises Denied when a grant that opened it has ended."""
        group = (use.tier, use.sources)
        verdict = await self._authorizer.authorize(use)
        if verdict.allowed:
            self._was_allowed = True
            if verdict.grant_id:
                self._granted.add(group)
        elif group in self._granted:
            raise Denied(f"a grant ended while it was being read: {verdict.reason}")
        else:
            self._refused.append(refusal(use, verdict, self._policy))
        return verdict

    def check(self) -> None:
        """Raises Denied when the policy, or the lack of a grant, left nothing of what was asked for."""
        if self._refused and not self._was_allowed:
            raise Denied(self._refused[0])


class Exporting:
    """One stream of interactions for a purpose. Each batch is authorized by itself; see Leave."""

    def __init__(self, wish: Wish, desk: Desk, *, by: Principal, leave: Leave | None = None) -> None:
        self._wish = wish
        self._desk = desk
        self._by = by
        self._leave = leave or Leave(desk.authorizer, desk.policy)
        self.excluded: Counter[tuple[Reason, Tier]] = Counter()

    async def batches(self) -> AsyncIterator[Sequence[Readable]]:
        """Yields what may be read, oldest first. Raises Denied when the policy, or the lack of a grant, leaves nothing
        of what was asked for; and when a grant ends on the way."""
        async for readable in self.readable():
            yield readable
        self._leave.check()

    async def readable(self) -> AsyncIterator[Sequence[Readable]]:
        """The same for one who reads other things too, and checks at the end whether anything was allowed."""
        await self._check_purpose()
        async for outlines in self._pages():
            readable = await self._read(self._grounded_as_wished(outlines))
            if readable:
                yield readable

    def exclude(self, reason: Reason, tier: Tier) -> None:
        """Counts an interaction that is left out."""
        self.excluded[reason, tier] += 1

    async def _check_purpose(self) -> None:
        """Raises Denied, on the audit log, where no tier and no grant opens the purpose to the caller's role."""
        rulings = [self._desk.policy.ruling(self._wish.purpose, tier, self._by.role) for tier in Tier]
        if all(ruling.kind is RulingKind.DENY for ruling in rulings):
            use = _use(self._by, self._wish, ())
            verdict = await self._desk.authorizer.authorize(use)
            if not verdict.allowed:
                raise Denied(refusal(use, verdict, self._desk.policy))

    async def _pages(self) -> AsyncIterator[Sequence[Outline]]:
        last: Outline | None = None
        while True:
            async with self._desk.reader.open(self._wish.tenant) as log:
                page = await log.outlines(self._wish.tenant, self._wish.span, after=last, most=self._desk.batch)
            if page:
                yield page
            if len(page) < self._desk.batch:
                return
            last = page[-1]

    def _grounded_as_wished(self, outlines: Iterable[Outline]) -> list[Outline]:
        """Those grounded in the wished sources alone; what is grounded in nothing is in no source."""
        wanted = self._wish.sources
        kept = [one for one in outlines if not wanted or (one.sources and wanted.issuperset(one.sources))]
        for one in outlines:
            if one not in kept:
                self.exclude("other_source", one.tier)
        return kept

    async def _read(self, outlines: Sequence[Outline]) -> list[Readable]:
        verdicts = {group: await self._ask(members) for group, members in _grouped(outlines).items()}
        allowed = {one.query_id: one for one in outlines if verdicts[_group(one)].allowed}
        if not allowed:
            return []
        clearance = max(one.tier for one in allowed.values())
        async with self._desk.reader.open(self._wish.tenant, clearance=clearance) as log:
            contents = {content.query_id: content for content in await log.exported(self._wish.tenant, allowed)}
        for gone in allowed.keys() - contents.keys():
            self.exclude("erased", allowed[gone].tier)
        return [
            Readable(one, verdicts[_group(one)].grant_id, contents[query_id])
            for query_id, one in allowed.items()
            if query_id in contents
        ]

    async def _ask(self, members: Sequence[Outline]) -> Verdict:
        use = _use(self._by, self._wish, members)
        verdict = await self._leave.ask(use)
        if not verdict.allowed:
            self.excluded[reason_of(use, self._desk.policy), use.tier] += len(members)
        return verdict


def _group(outline: Outline) -> _Group:
    return outline.tier, outline.sources


def _grouped(outlines: Iterable[Outline]) -> dict[_Group, list[Outline]]:
    groups: dict[_Group, list[Outline]] = {}
    for outline in outlines:
        groups.setdefault(_group(outline), []).append(outline)
    return groups


def _use(by: Principal, wish: Wish, members: Sequence[Outline]) -> Use:
    """The use of members of one group; of none of them, the use of whatever is freest."""
    return Use(
        role=by.role,
        subject=by.subject,
        tenant=wish.tenant,
        purpose=wish.purpose,
        tier=max((one.tier for one in members), default=Tier.PUBLIC),
        sources=members[0].sources if members else (),
        records=tuple(str(one.query_id) for one in members),
    )


def reason_of(use: Use, policy: Policy) -> Reason:
    """Why a use was refused: whether a grant would have changed it."""
    kind = policy.ruling(use.purpose, use.tier, use.role).kind
    return "denied_by_policy" if kind is RulingKind.DENY else "no_grant"


def refusal(use: Use, verdict: Verdict, policy: Policy) -> str:
    """What a person reads: why, and what would mend it."""
    why = verdict.reason.rstrip(".")
    if reason_of(use, policy) == "denied_by_policy":
        return f"{why}; no grant changes that"
    mend = f"headrace approvals request --tenant {use.tenant} --purpose {use.purpose.label} --reason …"
    return f"{why}; ask for a grant: {mend}"
