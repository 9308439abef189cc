"""What one can ask of evaluations: settings, scores, judges, calibrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from headrace_runtime.errors import Conflict, NotFound

from headrace_feedback.evaluating.judging import Judge
from headrace_feedback.evaluating.measuring import Scored
from headrace_feedback.evaluating.ports import Books, Desk
from headrace_feedback.evaluating.tasks import Sampling
from headrace_feedback.evaluating.voting import Bench
from headrace_feedback.evaluating.working import Parts
from headrace_feedback.interaction import Versioned
from headrace_feedback.reviewing.criteria import Rubric


async def put_sampling(tenant: str, sampling: Sampling, desk: Desk, *, by: str, at: datetime) -> None:
    """Replaces the settings. Raises NotFound for a judge that there is none of."""
    async with desk.open(tenant) as entry:
        known = {judge.name for judge in await entry.books.judges(tenant, sampling.judges)}
        for name in sampling.judges:
            if name not in known:
                raise NotFound("judge", name)
        await entry.books.put_sampling(tenant, sampling, by=by, at=at)


async def scores_of(tenant: str, query_id: UUID, desk: Desk) -> Sequence[Scored]:
    """The scores of an answer. Raises NotFound."""
    async with desk.open(tenant) as entry:
        found = await entry.books.scores(tenant, query_id)
    if found is None:
        raise NotFound("answer", str(query_id))
    return found


async def put_judge(tenant: str, judge: Judge, desk: Desk, *, at: datetime) -> tuple[Judge, bool]:
    """Stores a judge as a new version, unless its newest is just so; says which, and whether it is new.

    Raises NotFound for a rubric that there is none of.
    """
    async with desk.open(tenant) as entry:
        rubric = await _rubric(tenant, judge.rubric, entry.books)
        await entry.books.hold(tenant, judge.name)
        versions = await entry.books.judge_versions(tenant, judge.name)
        wanted = replace(judge, rubric=Versioned(rubric.name, str(rubric.version)), created_at=at)
        if versions and _is_same(versions[0], wanted):
            return versions[0], False
        stored = replace(wanted, version=versions[0].version + 1 if versions else 1)
        await entry.books.add_judge(tenant, stored)
    return stored, True


async def list_judges(tenant: str, name: str, desk: Desk) -> Sequence[Judge]:
    """Every version of one, or the newest of each."""
    async with desk.open(tenant) as entry:
        return await (entry.books.judge_versions(tenant, name) if name else entry.books.judges(tenant, ()))


async def bench_of(tenant: str, name: str, version: int, parts: Parts) -> Bench:
    """A version of a judge (0: the newest) with its rubric. Raises NotFound, and Conflict without a backend."""
    backend = parts.reader.neighbours.backend
    if backend is None:
        raise Conflict("HEADRACE_FEEDBACK_INFERENCE is not set: name inference, whose models judge")
    async with parts.desk.open(tenant) as entry:
        versions = await entry.books.judge_versions(tenant, name)
        found = [judge for judge in versions if version in (0, judge.version)]
        if not found:
            raise NotFound("judge", f"{name}@{version}" if version else name)
        rubric = await _rubric(tenant, found[0].rubric, entry.books)
    return Bench(found[0], rubric, backend, parts.new_nonce)


async def _rubric(tenant: str, wanted: Versioned, books: Books) -> Rubric:
    rubric = await books.rubric(tenant, wanted.name, int(wanted.version or 0))
    if rubric is None:
        raise NotFound("rubric", wanted.name)
    return rubric


def _is_same(one: Judge, other: Judge) -> bool:
    def parts(judge: Judge) -> tuple[object, ...]:
        return (judge.backend, judge.rubric, judge.mode, judge.votes, judge.max_output_tokens)

    return parts(one) == parts(other)
