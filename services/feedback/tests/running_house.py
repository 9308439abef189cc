"""Runs over stores in memory or in Postgres, a log to ask again, and a stub in place of inference."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from headrace import topics
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryClassified
from headrace.query.v1.query_pb2 import Hop
from headrace_database import Database
from headrace_feedback.adapters.postgres import PostgresLog
from headrace_feedback.interaction import Versioned
from headrace_feedback.running.conducting import Conductor, Limits, Parts, Window
from headrace_feedback.running.consumers import RunConsumers
from headrace_feedback.running.erasing import RunTombstones
from headrace_feedback.running.logged import LoggedCases
from headrace_feedback.running.memory import MemoryEvaluations, MemoryRuns, MemoryShelf
from headrace_feedback.running.planning import Office, plan
from headrace_feedback.running.ports import NoTombstones
from headrace_feedback.running.postgres import PostgresQuestions, PostgresRuns, PostgresShelf
from headrace_feedback.running.runs import Arm, Person, Request, Run, Wish
from headrace_feedback.translate import read_answer
from headrace_privacy import Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import NotFound
from headrace_runtime.policy import load_policy
from headrace_stream import Event, Ledger
from headrace_stream.memory import MemoryLedger

from services.feedback.tests.makers import SomeAuthorizer, answer, delivery, sealed_answer

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DORA = Person("developer", "dora")
SHORTER, LONGER = Arm(Versioned("shorter", "2")), Arm(Versioned("longer", "1"))


INSTANT = Limits(tick_seconds=0.0)


class SomeVariants:
    """There is "shorter" up to version 2 and "longer" in version 1."""

    newest = MappingProxyType({"shorter": "2", "longer": "1"})

    async def resolve(self, tenant: str, variant: Versioned) -> Versioned:
        del tenant
        if variant.name not in self.newest:
            raise NotFound("variant", variant.name)
        return Versioned(variant.name, variant.version or self.newest[variant.name])


@dataclass
class Clock:
    """Time stands still unless it is moved."""

    seconds: float = 0.0

    def __call__(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


@dataclass
class Asked:
    """Everything that was ever asked, and answers that came of it."""

    events: list[Event[QueryClassified]] = field(default_factory=list)

    def ids(self) -> list[str]:
        return [event.message.query.query_id for event in self.events]


def breaches(asked: Sequence[Event[QueryClassified]], stored: Sequence[tuple[str, str, str]]) -> list[str]:
    """What contradicts "each case is asked once of each arm, and answered once". stored: run, case and arm of answers.

    The same question may be published twice, under one id: it has no effect the second time.
    """
    found = []
    ids: dict[tuple[str, ...], set[str]] = {}
    for event in asked:
        trial = event.message.query.trial
        key = (trial.run_id, trial.case_id, trial.variant, trial.variant_version, str(trial.setting))
        ids.setdefault(key, set()).add(event.message.query.query_id)
    found += [f"asked twice: {key}" for key, several in ids.items() if len(several) > 1]
    found += [f"answered twice: {one}" for one in set(stored) if stored.count(one) > 1]
    return found


class RunHouse:
    """Planning, conducting and settling over one store."""

    def __init__(self, tenant: str, ledger: Any, *, limits: Limits = INSTANT) -> None:
        self.tenant, self.ledger, self.clock, self.limits = tenant, ledger, Clock(), limits
        self.keyring = MemoryKeyring()
        self.vault = Vault(self.keyring, clock=time.monotonic)
        self.authorizer, self.policy = SomeAuthorizer(), load_policy(None)
        self.evaluations = MemoryEvaluations()
        self.consumers = self._consumers()

    # What stands behind it: overridden for Postgres.

    def runs_on(self, unit: Any) -> Any:
        raise NotImplementedError

    def shelf_on(self, unit: Any) -> Any:
        raise NotImplementedError

    async def log(self, message: AnswerCompleted) -> None:
        raise NotImplementedError

    async def new_events(self) -> list[Event[Any]]:
        """What was published since the last call."""
        raise NotImplementedError

    def tombstones(self) -> Any:
        return NoTombstones()

    # What every store has.

    def _consumers(self) -> RunConsumers:
        return RunConsumers(
            self.ledger,
            self.runs_on,
            self.shelf_on,
            lambda _: self.evaluations,
            self.tombstones(),
            wake=lambda: None,
        )

    def parts(self) -> Parts:
        return Parts(
            ledger=self.ledger,
            runs_on=self.runs_on,
            turns_on=self.runs_on,
            evaluations_on=lambda _: self.evaluations,
            authorizer=self.authorizer,
            policy=self.policy,
            now=self.clock,
            limits=self.limits,
        )

    def conductor(self) -> Conductor:
        """Another instance."""
        return Conductor(self.parts(), new_id=uuid4)

    async def logged(self, *changes: dict[str, Any], sealed: bool = False) -> list[str]:
        """Logs an interaction for each, and returns the queries' ids."""
        ids = []
        for change in changes:
            query_id = str(uuid4())
            whole = {"traceId": uuid4().hex} | change
            if "query" in whole:
                whole["query"] = {"queryId": query_id, "tenant": self.tenant, "product": "docs-search"} | whole["query"]
            made = await sealed_answer(self.keyring, self.tenant, query_id, **whole) if sealed else None
            await self.log(made or answer(self.tenant, query_id, **whole))
            ids.append(query_id)
        return ids

    async def plan(
        self, *arms: Arm, by: Person = DORA, limit: int = 100, seed: int = 1, judges: tuple[str, ...] = (), **wish: Any
    ) -> Run:
        request = Request(self.tenant, arms or (SHORTER,), limit, seed, judges, Wish(**wish))
        cases = LoggedCases(self.tenant, request.wish, self.ledger, self.shelf_on, self.vault)
        office = Office(self.ledger, self.runs_on, self.authorizer, self.policy, SomeVariants())
        return await plan(request, cases, office, by=by, run_id=uuid4(), now=self.clock())

    async def run(self, run: Run) -> Run:
        """The run as it stands."""
        async with self.ledger.unit(tenant=self.tenant) as unit:
            found: Run | None = await self.runs_on(unit).get(self.tenant, run.run_id)
        assert found is not None
        return found

    async def answered(self, event: Event[QueryClassified], **changes: Any) -> None:
        """The answer of a trial comes back."""
        await self.consumers.on_trial(delivery(reply(event.message, **changes), topics.ANSWER_TRIALED))

    async def finish(self, run: Run) -> tuple[Run, Asked]:
        """Conducts a run to its end, each question answered as soon as it is asked."""
        conductor, asked = self.conductor(), Asked()
        turn = await conductor.take()
        assert turn is not None
        window = Window()
        await conductor.resume(turn)
        for _ in range(1000):
            goes_on = await conductor.step(turn, window)
            for event in await self.new_events():
                asked.events.append(event)
                await self.answered(event)
            if not goes_on:
                return await self.run(run), asked
        raise AssertionError("it never ends")


def reply(message: QueryClassified, **changes: Any) -> AnswerCompleted:
    """What inference makes of a trial: an answer of one second, of the same two chunks as the original."""
    made = answer(message.query.tenant, message.query.query_id, **changes)
    made.query.CopyFrom(message.query)
    made.question.CopyFrom(message.text)
    made.tier = max(made.tier, message.tier)
    made.variant.name, made.variant.version = message.query.trial.variant, message.query.trial.variant_version
    made.trace_id = uuid4().hex
    hop = Hop(service="embedder")
    hop.received_at.FromDatetime(NOW)
    hop.finished_at.FromDatetime(NOW + timedelta(milliseconds=5))
    made.query.hops.append(hop)
    made.completed_at.FromDatetime(NOW + timedelta(seconds=1))
    return made


class MemoryHouse(RunHouse):
    """All in memory."""

    def __init__(self, tenant: str, **settings: Any) -> None:
        self.clock = Clock()
        self.books, self.shelf = MemoryRuns(lambda: self.clock.seconds), MemoryShelf()
        super().__init__(tenant, MemoryLedger(), **settings)
        clock = self.clock
        self.books._clock = lambda: clock.seconds

    def runs_on(self, unit: Any) -> Any:
        return self.books

    def shelf_on(self, unit: Any) -> Any:
        return self.shelf

    async def log(self, message: AnswerCompleted) -> None:
        self.shelf.add(read_answer(message, event_id=uuid4()))

    async def new_events(self) -> list[Event[Any]]:
        events, self.ledger.published = self.ledger.published, []
        return cast(list[Event[Any]], events)


class PostgresHouse(RunHouse):
    """On a real Postgres. What is published rests in the outbox, which nobody empties but `new_events`."""

    def __init__(self, tenant: str, database: Database, **settings: Any) -> None:
        self.database, self._has_planned = database, False
        super().__init__(tenant, Ledger(database), **settings)

    def runs_on(self, unit: Any) -> Any:
        return PostgresRuns(unit.connection)

    def shelf_on(self, unit: Any) -> Any:
        return _Both(unit.connection)

    def tombstones(self) -> Any:
        return RunTombstones(self.vault)

    async def plan(self, *arms: Arm, **wish: Any) -> Run:
        if not self._has_planned:
            async with self.database.transaction() as connection:
                await connection.execute("DELETE FROM run_turns")  # of tests before
        self._has_planned = True
        return await super().plan(*arms, **wish)

    async def log(self, message: AnswerCompleted) -> None:
        async with self.database.transaction(tenant=self.tenant) as connection:
            interaction = read_answer(message, event_id=uuid4())
            await PostgresLog(connection).add_interaction(interaction, stored_at=NOW)

    async def new_events(self) -> list[Event[Any]]:
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "DELETE FROM outbox WHERE topic = 'query.replayed' AND headers->>'ce_tenant' = $1"
                " RETURNING id, key, value, headers",
                self.tenant,
            )
        rows.sort(key=lambda row: row["id"])
        return [cast(Event[Any], SimpleNamespace(message=QueryClassified.FromString(r["value"]))) for r in rows]

    async def rows(self, table: str) -> list[Any]:
        async with self.database.transaction(tenant=self.tenant) as connection:
            return list(await connection.fetch(f"SELECT * FROM {table} WHERE tenant = $1", self.tenant))


class _Both(PostgresQuestions, PostgresShelf):
    """The log to ask again, and what is indexed, on one connection."""
