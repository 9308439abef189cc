"""Each kind of violation is seeded into books that agree otherwise, and must be found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from headrace_client.reconciling import (
    MEANINGS,
    DeadLettered,
    Facts,
    Key,
    Kind,
    Logged,
    Occurrence,
    Report,
    State,
    Tallied,
    reconcile,
)

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
GRACE = timedelta(seconds=60)
OLD = NOW - timedelta(minutes=10)
YOUNG = NOW - timedelta(seconds=5)
A = Key("demo", "a")


def check(facts: Facts, **changes: Any) -> Report:
    return reconcile(replace(facts, **changes), grace=GRACE, now=NOW)


def answered(key: Key = A, at: datetime = OLD) -> Facts:
    """Books that agree on one answered query."""
    return Facts(
        accepted=(Occurrence(key, "accepted", at),),
        answers=(Occurrence(key, "answer", at),),
        tally=(Tallied(key, State.ANSWERED, "answer", at),),
        logged=(Logged(key, "answer"),),
    )


def opened(at: datetime = OLD) -> Facts:
    """A query that was accepted and nothing more."""
    return Facts(accepted=(Occurrence(A, "accepted", at),), tally=(Tallied(A, State.OPEN, "", at),))


def kinds(report: Report) -> list[Kind]:
    return [violation.kind for violation in report.violations]


def test_books_that_agree() -> None:
    report = check(answered())
    assert report.agrees
    assert report.counts == {"accepted": 1, "answered": 1, "refused": 0, "dead-lettered": 0, "erased": 0, "open": 0}


def test_nothing_at_all_agrees() -> None:
    assert check(Facts()).agrees


def test_a_query_within_its_grace_is_on_its_way() -> None:
    report = check(opened(YOUNG))
    assert report.agrees
    assert report.on_the_way == (A,)
    assert report.counts["open"] == 1


def test_a_query_beyond_its_grace_is_stuck() -> None:
    report = check(opened())
    assert kinds(report) == [Kind.STUCK]
    assert report.violations[0].key == A
    assert report.on_the_way == ()


def test_a_query_that_never_reached_the_bus() -> None:
    assert kinds(check(opened(), accepted=())) == [Kind.NOT_PUBLISHED]


def test_an_old_query_whose_events_retention_removed_agrees() -> None:
    assert check(answered(), accepted=(), answers=()).agrees


@pytest.mark.parametrize("state", [State.DEAD_LETTERED, State.ERASED])
def test_a_query_ended_by_the_books(state: State) -> None:
    report = check(opened(), tally=(Tallied(A, state, "", OLD),))
    assert report.agrees
    assert report.counts[state.value] == 1


def test_a_refusal_after_acceptance_is_an_ending_and_one_before_is_not() -> None:
    later = Occurrence(A, "refusal", OLD + timedelta(seconds=1))
    assert check(opened(), refusals=(later,)).counts["refused"] == 1
    earlier = replace(later, at=OLD - timedelta(seconds=1))
    assert kinds(check(opened(), refusals=(earlier,))) == [Kind.STUCK]


def test_a_submission_that_was_refused_was_never_accepted() -> None:
    letter = DeadLettered(A, "ingest", "query.submitted", OLD)
    report = check(Facts(), refusals=(Occurrence(A, "refusal", OLD),), dead_letters=(letter,))
    assert report.agrees
    assert report.counts["accepted"] == 0


@pytest.mark.parametrize("tenant", ["demo", ""])
def test_a_dead_letter_on_the_way_is_an_ending_even_without_its_tenant(tenant: str) -> None:
    letter = DeadLettered(Key(tenant, "a"), "retriever", "query.embedded", OLD)
    report = check(opened(), dead_letters=(letter,), tally=(Tallied(A, State.DEAD_LETTERED, "", OLD),))
    assert report.agrees
    assert report.counts["dead-lettered"] == 1


@pytest.mark.parametrize(
    "letter",
    [
        DeadLettered(A, "ingest", "query.submitted", OLD),
        DeadLettered(A, "feedback", "answer.completed", OLD),
        DeadLettered(Key("other", "a"), "retriever", "query.embedded", OLD),
    ],
)
def test_a_dead_letter_of_something_else_is_no_ending(letter: DeadLettered) -> None:
    assert kinds(check(opened(), dead_letters=(letter,))) == [Kind.STUCK]


def test_a_dead_letter_that_was_replayed_and_answered() -> None:
    letter = DeadLettered(A, "inference", "query.retrieved", OLD)
    assert check(answered(), dead_letters=(letter,)).agrees


def test_two_answers() -> None:
    twice = (*answered().answers, Occurrence(A, "another", OLD))
    assert kinds(check(answered(), answers=twice)) == [Kind.ANSWERED_TWICE]


def test_one_answer_delivered_twice_is_one_answer() -> None:
    assert check(answered(), answers=answered().answers * 2, accepted=answered().accepted * 2).agrees


def test_two_acceptances() -> None:
    twice = (*answered().accepted, Occurrence(A, "another", OLD))
    assert kinds(check(answered(), accepted=twice)) == [Kind.ACCEPTED_TWICE]


def test_an_answer_that_ingest_does_not_know() -> None:
    assert kinds(check(answered(), tally=())) == [Kind.NOT_IN_INGEST]
    assert kinds(check(answered(), tally=opened().tally)) == [Kind.ENDING_UNKNOWN]


def test_an_answer_that_ingest_does_not_know_yet() -> None:
    assert check(answered(at=YOUNG), tally=(Tallied(A, State.OPEN, "", YOUNG),)).agrees


def test_a_dead_letter_that_ingest_does_not_know() -> None:
    letter = DeadLettered(A, "retriever", "query.embedded", OLD)
    assert kinds(check(opened(), dead_letters=(letter,))) == [Kind.ENDING_UNKNOWN]


def test_an_answer_that_was_not_logged() -> None:
    assert kinds(check(answered(), logged=())) == [Kind.NOT_LOGGED]
    assert check(answered(at=YOUNG), logged=()).agrees


def test_an_answer_that_the_logger_gave_up_on_is_accounted_for() -> None:
    letter = DeadLettered(A, "feedback", "answer.completed", OLD)
    assert check(answered(), logged=(), dead_letters=(letter,)).agrees


def test_an_answer_logged_twice() -> None:
    assert kinds(check(answered(), logged=answered().logged * 2)) == [Kind.LOGGED_TWICE]


@pytest.mark.parametrize("book", ["tally", "logged"])
def test_a_book_that_holds_another_answer(book: str) -> None:
    strange = {"tally": (Tallied(A, State.ANSWERED, "x", OLD),), "logged": (Logged(A, "x"),)}[book]
    assert kinds(check(answered(), **{book: strange})) == [Kind.DIFFERENT_ANSWER]


def test_an_interaction_of_a_query_that_nobody_answered() -> None:
    report = check(opened(), logged=(Logged(A, "answer"),))
    assert Kind.LOGGED_UNKNOWN in kinds(report)


def test_tenants_do_not_mix() -> None:
    other = Key("other", "a")
    both = Facts(
        *(getattr(answered(), name) + getattr(answered(other), name) for name in ("accepted", "answers")),
        tally=answered().tally + answered(other).tally,
        logged=answered().logged,
    )
    report = check(both)
    assert report.counts["answered"] == 2
    assert [(v.kind, v.key) for v in report.violations] == [(Kind.NOT_LOGGED, other)]


def test_every_kind_has_its_meaning() -> None:
    assert set(MEANINGS) == set(Kind)
