"""The tenants' own generations in Postgres."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_runtime.errors import Conflict, NotFound

from headrace_retriever.adapters import generation_statements as statements
from headrace_retriever.adapters.rows import passage_of, read_embedder
from headrace_retriever.domain import Embedder, Passage
from headrace_retriever.generations import (
    KEPT,
    MOST_KEPT,
    Ended,
    Filling,
    Generation,
    Progress,
    Spot,
    Standing,
    State,
    Switch,
    Switched,
    Trained,
    Trouble,
    Unusable,
)

_HOUSE = "the house's embedder"


class PostgresGenerations:
    """See ports.Generations and ports.Filled: the schema `retriever`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- what is asked for ------------------------------------------------------------------------------------------

    async def prepare(self, trained: Trained, *, now: datetime) -> Generation:
        """See Generations.prepare."""
        async with self._database.transaction(tenant=trained.tenant) as connection:
            await connection.execute(statements.ADD_TENANT, trained.tenant)
            await connection.execute(statements.HOLD_ALONE, trained.tenant)
            known = {one.model: one for one in await _all(connection, trained.tenant)}
            await _begin(connection, trained, known, now)
            return await _found(connection, trained.tenant, trained.model)

    async def standing(self, tenant: str) -> Standing:
        """See Generations.standing."""
        async with self._database.snapshot(tenant=tenant) as connection:
            chunks = int(await connection.fetchval(statements.COUNT_CHUNKS, tenant))
            filled = {
                row["generation"]: row["filled"] for row in await connection.fetch(statements.COUNT_FILLED, tenant)
            }
            progress = [Progress(one, filled.get(one.number, 0), chunks) for one in await _all(connection, tenant)]
            return Standing(tuple(progress), chunks, await read_embedder(connection))

    async def find(self, tenant: str, model: str) -> Generation | None:
        """See Generations.find."""
        async with self._database.transaction(tenant=tenant) as connection:
            row = await connection.fetchrow(statements.FIND, tenant, model)
        return generation_of(row) if row else None

    async def switch(self, switch: Switch, *, now: datetime) -> Switched:
        """See Generations.switch."""
        async with self._database.transaction(tenant=switch.tenant) as connection:
            with statement("UPDATE generations", operation="UPDATE", collection="generations"):
                return await switch_in(connection, switch, now=now)

    # --- what fills them --------------------------------------------------------------------------------------------

    async def tenants(self) -> Sequence[str]:
        """See Filled.tenants."""
        async with self._database.transaction() as connection:
            return [row["tenant"] for row in await connection.fetch(statements.TENANTS)]

    @asynccontextmanager
    async def filling(self, tenant: str) -> AsyncIterator[bool]:
        """See Filled.filling. The lock is the connection's: it goes with whoever is killed."""
        async with self._database.dedicated() as connection:
            yield bool(await connection.fetchval(statements.TRY_FILLING, tenant))

    async def kept(self, tenant: str) -> Sequence[Generation]:
        """See Filled.kept."""
        async with self._database.transaction(tenant=tenant) as connection:
            kept = [one for one in await _all(connection, tenant) if one.state in KEPT]
        return sorted(kept, key=lambda one: KEPT.index(one.state))

    async def lacking(self, generation: Generation, *, after: Spot | None, most: int) -> Sequence[Passage]:
        """See Filled.lacking."""
        spot = after or Spot("", "", -1)
        place = (spot.source, spot.document_id, spot.ordinal)
        async with self._database.transaction(tenant=generation.tenant) as connection:
            rows = await connection.fetch(statements.LACKING, generation.tenant, generation.number, *place, most)
        return [passage_of(row, generation.tenant) for row in rows]

    async def learn(self, generation: Generation, embedder: Embedder) -> None:
        """See Filled.learn."""
        key = (generation.tenant, generation.number)
        async with self._database.transaction(tenant=generation.tenant) as connection:
            await connection.execute(statements.LEARN, *key, embedder.dimensions, embedder.hash)
            row = await connection.fetchrow(statements.IDENTITY, *key)
        if row is None or (row["dimensions"], row["hash"]) != (embedder.dimensions, embedder.hash):
            raise Unusable("unusable")

    async def is_behind(self, generation: Generation) -> bool:
        """See Filled.is_behind."""
        async with self._database.transaction(tenant=generation.tenant) as connection:
            return bool(await connection.fetchval(statements.IS_LACKING, generation.tenant, generation.number))

    async def fill(self, filling: Filling) -> None:
        """See Filled.fill."""
        async with self._database.transaction(tenant=filling.generation.tenant) as connection:
            await hold_with_others(connection, filling.generation.tenant)
            await fill_in(connection, filling)

    async def settle(self, generation: Generation, *, now: datetime) -> None:
        """See Filled.settle."""
        key = (generation.tenant, generation.number)
        async with self._database.transaction(tenant=generation.tenant) as connection:
            is_whole = not await connection.fetchval(statements.IS_LACKING, *key)
            await connection.execute(statements.SETTLE, *key, is_whole, now)

    async def fail(self, generation: Generation, trouble: Trouble) -> None:
        """See Filled.fail."""
        async with self._database.transaction(tenant=generation.tenant) as connection:
            await connection.execute(statements.FAIL, generation.tenant, generation.number, trouble)

    async def sweep(self, tenant: str) -> int:
        """See Filled.sweep."""
        async with self._database.transaction(tenant=tenant) as connection:
            return _count(await connection.execute(statements.SWEEP, tenant))


async def hold_with_others(connection: Connection, tenant: str) -> None:
    """Until the transaction ends no generation of the tenant comes to another state."""
    await connection.execute(statements.HOLD_WITH_OTHERS, tenant)


async def read_live(connection: Connection, tenant: str) -> Generation | None:
    """Returns the tenant's live generation."""
    row = await connection.fetchrow(statements.LIVE, tenant)
    return generation_of(row) if row else None


async def read_state(connection: Connection, tenant: str, number: int) -> State | None:
    """Returns how a generation stands; None when there is none of that number."""
    state: State | None = await connection.fetchval(statements.STATE, tenant, number)
    return state


async def fill_in(connection: Connection, filling: Filling) -> None:
    """Stores vectors in the caller's transaction, which holds the tenant's generations with others."""
    key = (filling.generation.tenant, filling.generation.number)
    if await connection.fetchval(statements.STATE, *key) in (None, "gone"):
        return
    with statement("INSERT trained_vectors", operation="INSERT", collection="trained_vectors"):
        rows = [(*key, chunk_id, vector.tolist()) for chunk_id, vector in filling.vectors.items()]
        await connection.executemany(statements.FILL, rows)


async def switch_in(connection: Connection, switch: Switch, *, now: datetime) -> Switched:
    """Switches in the caller's transaction. Raises what Generations.switch raises."""
    await connection.execute(statements.HOLD_ALONE, switch.tenant)
    known = await _all(connection, switch.tenant)
    live = next((one for one in known if one.state == "live"), None)
    before = live.model if live else ""
    if before == switch.model:
        return Switched(before, before, live.changed_at if live else None)
    if before != switch.expected:
        raise Conflict(f"{before or _HOUSE} is live, not {switch.expected or _HOUSE}")
    target = await _target(connection, switch, known) if switch.model else None
    if live is not None:
        await _stand_by(connection, live, known, target, now)
    if target is not None:
        await _stand(connection, target, "live", now)
    return Switched(before, switch.model, now)


async def _target(connection: Connection, switch: Switch, known: Sequence[Generation]) -> Generation:
    """The generation that is to answer, which lacks nothing. Raises NotFound, Conflict."""
    target = next((one for one in known if one.model == switch.model and one.state != "gone"), None)
    if target is None:
        raise NotFound("index of an embedder", switch.model)
    lacking = int(await connection.fetchval(statements.COUNT_LACKING, switch.tenant, target.number))
    if lacking or target.embedder is None:
        raise Conflict(f"the index of {target.model} is not ready: {lacking} chunks have no vector in it yet")
    return target


async def _stand_by(
    connection: Connection, live: Generation, known: Sequence[Generation], target: Generation | None, now: datetime
) -> None:
    """What answered stands by, and what stood by is gone, unless it is what shall answer."""
    for other in known:
        if other.state == "standing_by":
            await _stand(connection, other, "ready" if other is target else "gone", now)
    await _stand(connection, live, "standing_by", now)


async def end_in(connection: Connection, ended: Ended, *, now: datetime) -> bool:
    """See consumers.End."""
    end = {"retired": retire_in, "deleted": delete_in}[ended.how]
    return await end(connection, ended.tenant, ended.model, now=now)


async def retire_in(connection: Connection, tenant: str, model: str, *, now: datetime) -> bool:
    """As delete_in, but one that is live answers on until it is switched from."""
    await connection.execute(statements.HOLD_ALONE, tenant)
    live = await read_live(connection, tenant)
    return False if live and live.model == model else await delete_in(connection, tenant, model, now=now)


async def delete_in(connection: Connection, tenant: str, model: str, *, now: datetime) -> bool:
    """Ends a model's generation in the caller's transaction, its vectors included; says whether there was one to end.

    If it was live, the house answers.
    """
    await connection.execute(statements.HOLD_ALONE, tenant)
    row = await connection.fetchrow(statements.FIND, tenant, model)
    if row is None or row["state"] == "gone":
        return False
    generation = generation_of(row)
    await _stand(connection, generation, "gone", now)
    await connection.execute(statements.CLEAR, tenant, generation.number)
    return True


async def _begin(connection: Connection, trained: Trained, known: dict[str, Generation], now: datetime) -> None:
    mine = known.get(trained.model)
    if mine is not None and dict(mine.trained.files) != dict(trained.files):
        raise Conflict(f"{trained.model} has other files here")
    kept = sum(one.state != "gone" for one in known.values())
    if (mine is None or mine.state == "gone") and kept >= MOST_KEPT:
        raise Conflict(f"{kept} indexes of the tenant's own embedders are kept already, and {MOST_KEPT} may be")
    if mine is None:
        files = json.dumps(dict(trained.files))
        await connection.execute(statements.BEGIN, trained.tenant, trained.model, trained.address, files, now)
    elif mine.state == "gone":
        await connection.execute(statements.BEGIN_AGAIN, trained.tenant, trained.model, trained.address, now)
    elif mine.trained.address != trained.address:
        await connection.execute(statements.MOVE, trained.tenant, trained.model, trained.address)


async def _stand(connection: Connection, generation: Generation, state: State, now: datetime) -> None:
    await connection.execute(statements.STAND, generation.tenant, generation.number, state, now)


async def _all(connection: Connection, tenant: str) -> list[Generation]:
    return [generation_of(row) for row in await connection.fetch(statements.ALL, tenant)]


async def _found(connection: Connection, tenant: str, model: str) -> Generation:
    row = await connection.fetchrow(statements.FIND, tenant, model)
    assert row is not None
    return generation_of(row)


def generation_of(row: Any) -> Generation:
    """Reads a row."""
    trained = Trained(row["tenant"], row["model"], row["address"], json.loads(row["files"]))
    embedder = Embedder(row["model"], row["dimensions"], row["hash"]) if row["dimensions"] else None
    return Generation(
        number=row["generation"],
        trained=trained,
        state=row["state"],
        embedder=embedder,
        failure=row["failure"],
        prepared_at=row["prepared_at"],
        ready_at=row["ready_at"],
        changed_at=row["changed_at"],
    )


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
