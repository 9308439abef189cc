"""Which cases a run asks: what fits, as far as the one who starts it may read it.

candidates (no word of them) ──▶ Authorize, batch by batch ──▶ read and stored as cases, in one transaction
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from headrace_privacy import Tier
from headrace_privacy.policy import Policy, Purpose, RulingKind
from headrace_runtime.errors import Conflict, Denied
from headrace_stream import Ledger, Unit

from headrace_feedback.ports import Authorizer
from headrace_feedback.running.ports import Cases, Runs, Variants
from headrace_feedback.running.runs import Candidate, Excluded, Exclusion, Person, Request, Run
from headrace_feedback.uses import Use, Verdict

#: Cases that are authorized together: as many as a reader of the log may be shown at a time.
BATCH = 100

Group = tuple[Tier, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Office:
    """Where a run is planned. The policy only gives refusals their names: the authorizer decides."""

    ledger: Ledger
    runs_on: Callable[[Unit], Runs]
    authorizer: Authorizer
    policy: Policy
    variants: Variants


async def plan(request: Request, cases: Cases, office: Office, *, by: Person, run_id: UUID, now: datetime) -> Run:
    """Plans a run and stores it; it waits for its turn.

    Raises NotFound for a variant or a dataset that there is none of, Conflict where there is nothing to ask, Denied
    where the policy, or the lack of a grant, leaves nothing.
    """
    arms = tuple(
        [replace(arm, variant=await office.variants.resolve(request.tenant, arm.variant)) for arm in request.arms]
    )
    candidates = await cases.candidates(limit=request.limit, seed=request.seed)
    if not candidates:
        raise Conflict("there is nothing to ask: no logged query fits, or no row is held out")
    sieve = Sieve(request.tenant, office, by)
    allowed = [one for batch in _batches(candidates) for one in await sieve.allowed(batch)]
    if not allowed:
        raise Denied(sieve.refusals[0])
    run = Run(
        tenant=request.tenant,
        run_id=run_id,
        kind=request.kind,
        arms=arms,
        seed=request.seed,
        cases=len(allowed),
        by=by,
        created_at=now,
        dataset_id=request.dataset,
        judges=request.judges,
        exclusions=sieve.exclusions(),
    )
    return await _store(run, allowed, cases, office, sieve)


async def _store(run: Run, allowed: Sequence[Candidate], cases: Cases, office: Office, sieve: Sieve) -> Run:
    """Reads and stores the cases batch by batch; what was erased since they were looked for is an exclusion too."""
    async with office.ledger.unit(tenant=run.tenant) as unit:
        runs = office.runs_on(unit)
        await runs.hold(run.tenant)
        stored = 0
        for batch in _batches(allowed):
            read = await cases.read(unit, batch, first=stored)
            await runs.add_cases(run, read)
            stored += len(read)
            sieve.leave_out_erased(batch, {case.case_id for case in read})
        if not stored:
            raise Conflict("there is nothing left to ask: it was erased meanwhile")
        run = replace(run, cases=stored, exclusions=sieve.exclusions())
        await runs.add(run)
    return run


class Sieve:
    """Lets through what may be read to evaluate, and counts the rest."""

    def __init__(self, tenant: str, office: Office, by: Person) -> None:
        self._tenant = tenant
        self._office = office
        self._by = by
        self._excluded: Counter[tuple[Exclusion, Tier]] = Counter()
        self.refusals: list[str] = []

    async def allowed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that may be read now. Each tier with its sources is asked about together."""
        verdicts = await leave_for(candidates, self._office.authorizer, tenant=self._tenant, by=self._by)
        for candidate in candidates:
            if not verdicts[candidate.case_id].allowed:
                self._refuse(candidate, verdicts[candidate.case_id])
        return [candidate for candidate in candidates if verdicts[candidate.case_id].allowed]

    def _refuse(self, candidate: Candidate, verdict: Verdict) -> None:
        reason = refusal_of(candidate.tier, self._by, self._office.policy)
        self._excluded[reason, candidate.tier] += 1
        self.refusals.append(_mended(verdict.reason, reason, self._tenant))

    def leave_out_erased(self, candidates: Sequence[Candidate], there: set[str]) -> None:
        """Counts those of these that are not there."""
        for candidate in candidates:
            if candidate.case_id not in there:
                self._excluded["erased", candidate.tier] += 1

    def exclusions(self) -> tuple[Excluded, ...]:
        """What was left out so far."""
        return tuple(Excluded(reason, tier, cases) for (reason, tier), cases in sorted(self._excluded.items()))


async def leave_for(
    candidates: Sequence[Candidate], authorizer: Authorizer, *, tenant: str, by: Person
) -> Mapping[str, Verdict]:
    """Asks whether each may be read to evaluate, now, on the audit log. Raises Unavailable."""
    groups: dict[Group, list[str]] = {}
    for one in candidates:
        groups.setdefault((one.tier, one.sources), []).append(one.case_id)
    verdicts: dict[str, Verdict] = {}
    for (tier, sources), members in groups.items():
        use = Use(by.role, by.subject, tenant, Purpose.EVALUATE, tier, sources, tuple(members))
        verdicts |= dict.fromkeys(members, await authorizer.authorize(use))
    return verdicts


def refusal_of(tier: Tier, by: Person, policy: Policy) -> Exclusion:
    """Names why somebody may not evaluate what is of a tier."""
    kind = policy.ruling(Purpose.EVALUATE, tier, by.role).kind
    return "denied_by_policy" if kind is RulingKind.DENY else "no_grant"


def _mended(why: str, reason: Exclusion, tenant: str) -> str:
    if reason == "denied_by_policy":
        return f"{why.rstrip('.')}; no grant changes that"
    mend = f"headrace approvals request --tenant {tenant} --purpose evaluate --reason …"
    return f"{why.rstrip('.')}; ask for a grant: {mend}"


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), BATCH):
        yield items[first : first + BATCH]
