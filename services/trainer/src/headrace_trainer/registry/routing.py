"""Carrying a rollout's routes out at inference: each is compared before it is written, and read back after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from headrace_trainer.registry.models import Route, Touched
from headrace_trainer.registry.ports import Serving, Stored
from headrace_trainer.registry.rollout import ANY, Field, Phase, is_ours, wanted


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the routes of one tenant."""

    serving: Serving
    tenant: str
    reason: str

    async def write(self, routes: Sequence[Touched], phase: Phase, on: Field) -> AsyncIterator[tuple[Touched, ...]]:
        """Brings each route into a phase, and yields all of them after each, so that it is noted at once. One that
        somebody else has changed is left alone. Raises Unavailable, Conflict."""
        on = replace(on, rest=await self._rest(routes))
        done = list(routes)
        for place, touched in enumerate(routes):
            done[place] = await self._write(touched, phase, on)
            yield tuple(done)

    async def yielded(self, routes: Sequence[Touched], on: Field) -> tuple[Touched, ...]:
        """The routes, with those that somebody else has changed meanwhile marked. Raises Unavailable."""
        found = []
        for touched in routes:
            _, now = await self._newest(touched.kind)
            found.append(replace(touched, given_way=not is_ours(touched, now, on)))
        return tuple(found)

    async def _rest(self, routes: Sequence[Touched]) -> Route | None:
        """What answers whatever has no route of its own, as it was before this rollout."""
        for touched in routes:
            if touched.kind == ANY:
                return touched.found
        return (await self._newest(ANY))[1]

    async def _write(self, touched: Touched, phase: Phase, on: Field) -> Touched:
        version, now = await self._newest(touched.kind)
        target = wanted(touched, phase, on)
        if target is None and now is None:
            return replace(touched, wrote=None)
        if target is not None and target.same_as(now):
            return replace(touched, wrote=target, given_way=False)
        if not is_ours(touched, now, on):
            return replace(touched, given_way=True)
        if target is None:
            await self.serving.delete_route(self.tenant, touched.kind, reason=self.reason)
            return replace(touched, wrote=None)
        stored = await self.serving.put_route(self.tenant, target, reason=self.reason)
        if stored.version > version + 1 and await self._slipped_in(touched.kind, stored):
            return replace(touched, given_way=True)
        return replace(touched, wrote=target, given_way=False)

    async def _slipped_in(self, kind: str, ours: Stored) -> bool:
        """Somebody stored a version between our look and our writing: theirs is put back."""
        versions = await self.serving.versions(self.tenant, kind)
        theirs = next((one for one in versions if one.version < ours.version), None)
        if theirs is None or theirs.by_us:
            return False
        if theirs.route is None:
            await self.serving.delete_route(self.tenant, kind, reason=_PUT_BACK)
        else:
            await self.serving.put_route(self.tenant, theirs.route, reason=_PUT_BACK)
        return True

    async def _newest(self, kind: str) -> tuple[int, Route | None]:
        versions = await self.serving.versions(self.tenant, kind)
        return (versions[0].version, versions[0].route) if versions else (0, None)


_PUT_BACK = "A rollout gives way: this was stored while it wrote."
