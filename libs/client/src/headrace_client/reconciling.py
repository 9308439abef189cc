"""Whether every query that was accepted ended exactly once. Pure: facts in, a report out.

An ending is an answer, a refusal, a dead letter on the query's way, or an erasure. What is younger than the grace is
still on its way and proves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class Key(NamedTuple):
    """A query: with its tenant, its id is the key."""

    tenant: str
    query_id: str


class State(StrEnum):
    """Where ingest says a query stands."""

    OPEN = "open"
    ANSWERED = "answered"
    DEAD_LETTERED = "dead-lettered"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An event of a query on the bus. The same event id twice is one event, delivered twice."""

    key: Key
    event_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A dead letter of a query: the service that gave up, and the topic it read."""

    key: Key
    service: str
    topic: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Tallied:
    """A query in ingest's books; the answer's event id is "" while there is none."""

    key: Key
    state: State
    answer_event_id: str
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Logged:
    """An interaction in the feedback logger's books."""

    key: Key
    answer_event_id: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the bus and the two books say. The bus is read first, so the books may know more."""

    accepted: tuple[Occurrence, ...] = ()
    answers: tuple[Occurrence, ...] = ()
    refusals: tuple[Occurrence, ...] = ()
    dead_letters: tuple[DeadLettered, ...] = ()
    tally: tuple[Tallied, ...] = ()
    logged: tuple[Logged, ...] = ()


class Kind(StrEnum):
    """What can be wrong with a query."""

    STUCK = "stuck"
    NOT_PUBLISHED = "not published"
    NOT_IN_INGEST = "not in ingest"
    ACCEPTED_TWICE = "accepted twice"
    ANSWERED_TWICE = "answered twice"
    ENDING_UNKNOWN = "ending unknown to ingest"
    DIFFERENT_ANSWER = "different answers"
    NOT_LOGGED = "answered but not logged"
    LOGGED_TWICE = "logged twice"
    LOGGED_UNKNOWN = "logged but never answered"


MEANINGS: dict[Kind, str] = {
    Kind.STUCK: "accepted, on the bus, and no ending",
    Kind.NOT_PUBLISHED: "accepted by ingest, but query.accepted does not have it",
    Kind.NOT_IN_INGEST: "on the bus, but not in ingest's books",
    Kind.ACCEPTED_TWICE: "two distinct events on query.accepted",
    Kind.ANSWERED_TWICE: "two distinct answer events",
    Kind.ENDING_UNKNOWN: "ended on the bus, but still open in ingest's books",
    Kind.DIFFERENT_ANSWER: "the books hold an answer that is not the one on the bus",
    Kind.NOT_LOGGED: "the feedback logger has no interaction of it",
    Kind.LOGGED_TWICE: "the feedback logger has two interactions of it",
    Kind.LOGGED_UNKNOWN: "the feedback logger has an interaction of a query that nobody answered",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A query that disproves the promise, and how."""

    kind: Kind
    key: Key
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """How many queries ended how, which are still on their way, and what is wrong."""

    counts: Mapping[str, int]
    on_the_way: tuple[Key, ...]
    violations: tuple[Violation, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing is wrong."""
        return not self.violations


@dataclass(frozen=True, slots=True)
class _Query:
    """All facts of one query."""

    key: Key
    accepted: list[Occurrence] = field(default_factory=list)
    answers: list[Occurrence] = field(default_factory=list)
    refusals: list[Occurrence] = field(default_factory=list)
    dead_letters: list[DeadLettered] = field(default_factory=list)
    tally: list[Tallied] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)

    @property
    def since(self) -> datetime | None:
        """When it was accepted, as the books or else the bus have it; None for one that never was."""
        return min((t.accepted_at for t in self.tally), default=None) or min(
            (a.at for a in self.accepted), default=None
        )

    @property
    def state(self) -> State | None:
        return self.tally[0].state if self.tally else None

    @property
    def answer_ids(self) -> Set[str]:
        return {answer.event_id for answer in self.answers}

    def ending(self) -> str | None:
        """How it ended; the first of these, as a replayed dead letter may be answered later."""
        if self.state is State.ERASED:
            return "erased"
        if self.answers or self.state is State.ANSWERED:
            return "answered"
        if self.refused():
            return "refused"
        if self.way_letters or self.state is State.DEAD_LETTERED:
            return "dead-lettered"
        return None

    def refused(self) -> bool:
        """Refused after it was accepted: an earlier refusal was of a malformed submission with the same id."""
        since = self.since
        return since is not None and any(refusal.at >= since for refusal in self.refusals)

    @property
    def way_letters(self) -> list[DeadLettered]:
        """The dead letters of its way: those of the submission come before it, those of the answer after it."""
        return [letter for letter in self.dead_letters if letter.topic not in ("query.submitted", "answer.completed")]


def reconcile(facts: Facts, *, grace: timedelta, now: datetime) -> Report:
    """Checks the promise over everything that was accepted."""
    queries = _gather(facts)
    settled = now - grace
    known = [query for query in queries if query.since is not None]
    endings = [query.ending() for query in known]
    open_now = [query for query in known if query.ending() is None]
    counts = {"accepted": len(known)}
    counts |= {name: endings.count(name) for name in ("answered", "refused", "dead-lettered", "erased")}
    counts |= {"open": len(open_now)}
    on_the_way = tuple(query.key for query in open_now if not _older(query.since, settled))
    return Report(counts, on_the_way, tuple(v for query in queries for v in _violations(query, settled)))


def _gather(facts: Facts) -> list[_Query]:
    queries: dict[Key, _Query] = {}

    def of(key: Key) -> _Query:
        return queries.setdefault(key, _Query(key))

    for name in ("accepted", "answers", "refusals", "tally", "logged"):
        for fact in getattr(facts, name):
            getattr(of(fact.key), name).append(fact)
    _gather_dead_letters(queries, facts.dead_letters)
    return sorted(queries.values(), key=lambda query: query.key)


def _gather_dead_letters(queries: Mapping[Key, _Query], letters: Iterable[DeadLettered]) -> None:
    """A letter without a tenant, of a record whose headers could not be read, goes to every query of that id; one of no
    query at all was a submission that never became one."""
    by_id: dict[str, list[_Query]] = defaultdict(list)
    for query in queries.values():
        by_id[query.key.query_id].append(query)
    for letter in letters:
        for query in by_id[letter.key.query_id]:
            if letter.key.tenant in ("", query.key.tenant):
                query.dead_letters.append(letter)


def _older(moment: datetime | None, settled: datetime) -> bool:
    return moment is not None and moment < settled


def _violations(query: _Query, settled: datetime) -> Iterator[Violation]:
    for check in (_without_ending, _unknown_to_ingest, _twice, _other_answer, _unlogged):
        for kind, detail in check(query, settled):
            yield Violation(kind, query.key, detail)


_Found = Iterable[tuple[Kind, str]]


def _without_ending(query: _Query, settled: datetime) -> _Found:
    if query.ending() is None and query.since is not None and _older(query.since, settled):
        kind = Kind.STUCK if query.accepted else Kind.NOT_PUBLISHED
        yield kind, f"accepted {query.since:%Y-%m-%d %H:%M:%S}"


def _unknown_to_ingest(query: _Query, settled: datetime) -> _Found:
    latest = max((o.at for o in (*query.accepted, *query.answers)), default=None)
    if not query.tally and _older(latest, settled):
        yield Kind.NOT_IN_INGEST, "answered" if query.answers else "accepted"
    ends = [answer.at for answer in query.answers] + [letter.at for letter in query.way_letters]
    ended = max(ends, default=None)
    if query.state is State.OPEN and _older(ended, settled):
        yield Kind.ENDING_UNKNOWN, "answered" if query.answers else "dead-lettered"


def _twice(query: _Query, _: datetime) -> _Found:
    accepted = {event.event_id for event in query.accepted}
    if len(accepted) > 1:
        yield Kind.ACCEPTED_TWICE, ", ".join(sorted(accepted))
    if len(query.answer_ids) > 1:
        yield Kind.ANSWERED_TWICE, ", ".join(sorted(query.answer_ids))
    logged = {interaction.answer_event_id for interaction in query.logged}
    if len(query.logged) > 1:
        yield Kind.LOGGED_TWICE, ", ".join(sorted(logged))


def _other_answer(query: _Query, _: datetime) -> _Found:
    """Only where the bus still has an answer: retention removes the older ones."""
    books = {"ingest": [t.answer_event_id for t in query.tally], "feedback": [i.answer_event_id for i in query.logged]}
    for book, ids in books.items():
        strange = [event_id for event_id in ids if event_id and event_id not in query.answer_ids]
        if query.answers and strange:
            yield Kind.DIFFERENT_ANSWER, f"{book} has {', '.join(strange)}"


def _unlogged(query: _Query, settled: datetime) -> _Found:
    answered_at = max((answer.at for answer in query.answers), default=query.since)
    excused = any(letter.topic == "answer.completed" and letter.service == "feedback" for letter in query.dead_letters)
    if query.ending() == "answered" and not query.logged and not excused and _older(answered_at, settled):
        yield Kind.NOT_LOGGED, ""
    if query.logged and query.ending() not in ("answered", "erased"):
        yield Kind.LOGGED_UNKNOWN, ", ".join(sorted(interaction.answer_event_id for interaction in query.logged))
