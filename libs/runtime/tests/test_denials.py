"""What the door refuses is counted, told once, and never waited for; what proves nothing is not told at all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from headrace.feedback.v1 import service_pb2 as feedback_pb2
from headrace.privacy.v1 import audit_pb2
from headrace.query.v1 import service_pb2 as query_pb2
from headrace_identity import Principal
from headrace_identity.testing import Issuer
from headrace_runtime.admission import Admission
from headrace_runtime.denials import DenialBook, Refused, Report, Reporter, from_wire, reporting, to_wire
from headrace_runtime.errors import Denied, Rejected, Unauthenticated, Unavailable, Violation
from headrace_runtime.seldom import Seldom
from structlog.testing import capture_logs

GET = "headrace.query.v1.QueryService/Get"
EXPORT = "headrace.feedback.v1.FeedbackService/Export"
RECORD = "headrace.feedback.v1.FeedbackService/Record"
MARIA = Refused("reviewer", "maria", "acme", GET, "role")
START = 1_795_252_323.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Numbers:
    """Ids in order."""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self) -> UUID:
        self.last += 1
        return UUID(int=self.last)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> DenialBook:
    return DenialBook(clock=clock, new_id=Numbers(), most=3)


def told(report: Report | None) -> dict[Refused, int]:
    return {denial.refused: denial.times for denial in report.denials} if report else {}


def test_the_first_is_told_at_once_and_the_rest_after_a_minute(book: DenialBook, clock: Clock) -> None:
    assert book.take() is None
    assert book.note(MARIA, trace_id="a" * 32)
    assert not book.note(MARIA, trace_id="b" * 32)
    report = book.take()
    assert told(report) == {MARIA: 2}
    assert report is not None
    assert report.denials[0].trace_id == "a" * 32
    assert report.denials[0].first_at == datetime.fromtimestamp(START, UTC)
    clock.now += 30
    for _ in range(5):
        book.note(MARIA)
    assert book.take() is None, "once a minute is enough"
    clock.now += 30
    again = book.take()
    assert told(again) == {MARIA: 5}
    assert again is not None
    assert again.denials[0].first_at == datetime.fromtimestamp(START + 30, UTC)


def test_callers_methods_and_reasons_are_told_apart(clock: Clock) -> None:
    book = DenialBook(clock=clock)
    others = [
        Refused("reviewer", "paul", "acme", GET, "role"),
        Refused("steward", "maria", "acme", GET, "role"),
        Refused("reviewer", "maria", "other", GET, "role"),
        Refused("reviewer", "maria", "acme", EXPORT, "role"),
        Refused("reviewer", "maria", "acme", GET, "tenant"),
    ]
    for refused in (MARIA, *others):
        book.note(refused)
    assert told(book.take()) == dict.fromkeys([MARIA, *others], 1)


def test_memory_is_bounded_and_what_finds_no_place_is_counted(book: DenialBook, clock: Clock) -> None:
    for number in range(10):
        book.note(Refused("developer", f"dev{number}", "acme", GET, "role"))
    report = book.take()
    assert report is not None
    assert (len(report.denials), report.untold) == (3, 7)
    clock.now += 61
    assert book.take() is None, "lines that stayed empty make room"
    book.note(MARIA)
    report = book.take()
    assert report is not None
    assert (told(report), report.untold) == ({MARIA: 1}, 0)


def test_the_rest_is_told_at_the_end(book: DenialBook) -> None:
    book.note(MARIA)
    book.take()
    book.note(MARIA)
    assert book.take() is None
    assert told(book.take_all()) == {MARIA: 1}


@pytest.mark.parametrize(
    ("principal", "name", "tenant"),
    [
        (Principal("reviewer", "acme", "maria"), "maria", "acme"),
        (Principal("product", "acme", "erika.mustermann"), "", "acme"),
        (Principal("privacy", "*", "paula"), "paula", "*"),
        (Principal("developer", "Not A Tenant!", "x\n\x00" + "y" * 500), "x" + "y" * 197, ""),
    ],
)
def test_what_a_token_says_stands_there_as_far_as_it_can(principal: Principal, name: str, tenant: str) -> None:
    refused = Refused.of(principal, GET, "role")
    assert (refused.name, refused.tenant) == (name, tenant)
    book = DenialBook()
    book.note(refused)
    report = book.take()
    assert report is not None
    assert from_wire(to_wire(report)) == report


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("caller_role", ""),
        ("caller_role", "x" * 101),
        ("caller_name", "two\nlines"),
        ("caller_tenant", "Acme Corp"),
        ("method", "no method"),
        ("method", ""),
        ("reason", 0),
        ("times", 0),
        ("trace_id", "xyz"),
    ],
)
def test_a_report_that_is_wrong_is_refused_and_says_where(field: str, value: Any) -> None:
    book = DenialBook()
    book.note(MARIA)
    report = book.take()
    assert report is not None
    wire = to_wire(report)
    setattr(wire.denials[0], field, value)
    with pytest.raises(Rejected) as rejected:
        from_wire(wire)
    assert [violation.field for violation in rejected.value.violations] == [f"denials[0].{field}"]


@pytest.mark.parametrize("wire", [audit_pb2.ReportDenialsRequest(report_id="7"), audit_pb2.ReportDenialsRequest()])
def test_a_report_without_an_id_is_refused(wire: audit_pb2.ReportDenialsRequest) -> None:
    with pytest.raises(Rejected, match="report_id"):
        from_wire(wire)


class Log:
    """An audit log that fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.seen: list[UUID] = []
        self.rows: list[Report] = []

    async def __call__(self, report: Report) -> None:
        self.seen.append(report.report_id)
        if self.failures:
            raise self.failures.pop(0)
        self.rows.append(report)


async def test_a_report_that_did_not_arrive_is_sent_again_as_it_was(book: DenialBook) -> None:
    log = Log(Unavailable("the classifier"), Unavailable("the classifier"))
    reporter = Reporter(book, log)
    book.note(MARIA)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await reporter.tell_due()
        book.note(Refused("sre", "sam", "*", EXPORT, "role"))
    await reporter.tell_due()
    assert log.seen == [UUID(int=1)] * 3 + [UUID(int=2)]
    assert [told(report) for report in log.rows] == [{MARIA: 1}, {Refused("sre", "sam", "*", EXPORT, "role"): 2}]


async def test_what_the_log_never_takes_is_given_up(book: DenialBook) -> None:
    log = Log(Rejected(Violation("", "malformed", "No.")))
    reporter = Reporter(book, log)
    book.note(MARIA)
    await reporter.tell_due()
    assert (len(log.seen), log.rows) == (1, [])


async def test_nobody_waits_for_a_log_that_hangs() -> None:
    hangs = asyncio.Event()
    book = DenialBook(most=100)

    async def never(report: Report) -> None:
        hangs.set()
        await asyncio.Event().wait()

    admission = Admission(ISSUER.verifier(), denials=book)
    async with reporting(book, never, every=0.001, patience=0.05):
        await refused(admission, GET, query_pb2.GetRequest(), "steward", tenant="acme")
        await asyncio.wait_for(hangs.wait(), 5)
        async with asyncio.timeout(5):
            for number in range(1_000):
                await refused(admission, GET, query_pb2.GetRequest(), "steward", tenant="acme", subject=str(number))
    report = book.take_all()
    assert report is not None
    assert len(report.denials) + 1 <= 100
    assert report.untold + sum(denial.times for denial in report.denials) == 1_000


async def test_what_is_refused_is_told_while_open_and_at_the_end() -> None:
    book, log = DenialBook(), Log()
    async with reporting(book, log, every=0.001):
        book.note(MARIA)
        async with asyncio.timeout(5):
            while not log.rows:
                await asyncio.sleep(0.001)
        book.note(MARIA)
    assert [told(report) for report in log.rows] == [{MARIA: 1}] * 2


ISSUER = Issuer()


async def refused(admission: Admission, method: str, request: Message, role: str, **token: str) -> None:
    metadata = [("authorization", f"Bearer {ISSUER.token(role, **token)}")]  # type: ignore[arg-type]
    with pytest.raises(Denied):
        await admission.admit(method, request, metadata)


async def test_the_door_notes_who_may_not_and_why() -> None:
    book = DenialBook()
    admission = Admission(ISSUER.verifier(), denials=book).opening(["some.Service"])
    await refused(admission, GET, query_pb2.GetRequest(), "steward", tenant="acme", subject="stan")
    await refused(admission, GET, query_pb2.GetRequest(tenant="other"), "developer", tenant="acme", subject="dev")
    foreign = feedback_pb2.RecordRequest()
    foreign.feedback.subject = "somebody else"
    await refused(admission, RECORD, foreign, "product", tenant="acme", subject="user-17")
    await refused(admission, "headrace.no.Service/Call", query_pb2.GetRequest(), "sre", tenant="*", subject="sam")
    assert told(book.take()) == dict.fromkeys(
        [
            Refused("steward", "stan", "acme", GET, "role"),
            Refused("developer", "dev", "acme", GET, "tenant"),
            Refused("product", "", "acme", RECORD, "subject"),
            Refused("sre", "sam", "*", "headrace.no.Service/Call", "role"),
        ],
        1,
    )


async def test_who_proves_nothing_is_not_told_and_seldom_logged() -> None:
    book = DenialBook()
    admission = Admission(ISSUER.verifier(), denials=book)
    with capture_logs() as lines:
        for _ in range(100):
            for metadata in ([], [("authorization", "Bearer nonsense")]):
                with pytest.raises(Unauthenticated):
                    await admission.admit(GET, query_pb2.GetRequest(), metadata)
    assert book.take_all() is None
    assert [line["reason"] for line in lines] == ["no token", "malformed"]


async def test_who_is_refused_in_a_loop_is_logged_once() -> None:
    admission = Admission(ISSUER.verifier())
    with capture_logs() as lines:
        for _ in range(50):
            await refused(admission, GET, query_pb2.GetRequest(), "steward", tenant="acme", subject="stan")
    assert [line["event"] for line in lines] == ["call denied"]


def test_a_line_that_was_held_back_is_counted(clock: Clock) -> None:
    seldom = Seldom(clock=clock)
    assert [seldom.held_back("expired") for _ in range(4)] == [0, None, None, None]
    assert seldom.held_back("no token") == 0
    clock.now += 60
    assert seldom.held_back("expired") == 3
    assert seldom.held_back("expired") is None
