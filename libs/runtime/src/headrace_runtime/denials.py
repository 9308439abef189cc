"""What the door refused, counted until the audit log has it.

    refusal ─▶ DenialBook ──once a second: what is due──▶ report ─▶ AuditService.ReportDenials

A caller's first refusal at a method, for a reason, is due at once; after that at most once a minute, with how often. So
nobody fills the log by being refused in a loop, and no caller waits for it: while the classifier is away the book goes
on counting, in bounded memory, and what finds no place is counted too.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.privacy.v1 import audit_pb2
from headrace.privacy.v1.audit_pb2_grpc import AuditServiceStub
from headrace_identity import EVERYBODY, Principal
from headrace_telemetry.metrics import counter

from headrace_runtime.errors import Rejected, Unavailable, Violation, place_of
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.settings import ServiceSettings

if TYPE_CHECKING:
    from headrace.privacy.v1.audit_pb2_grpc import AuditServiceAsyncStub

log = structlog.get_logger()

Reason = Literal["role", "tenant", "subject"]

#: As the contract has it. One that was told holds its place for a minute.
MOST_LINES = 1_000
#: How often one line is told again, in seconds.
AGAIN_SECONDS = 60.0
#: How often it is looked what is due.
LOOK_SECONDS = 1.0
#: How long a report may take, and how long is waited after one that did not arrive.
CALL_SECONDS = 5.0
RETRY_SECONDS = 5.0
#: How long a service that stops tries to tell the rest.
LAST_SECONDS = 2.0

_TENANT = re.compile(r"[a-z0-9_-]{1,64}")
_MOST_NAME = 200
_MOST_ROLE = 100


@dataclass(frozen=True, slots=True)
class Refused:
    """Who was refused what, and why; nothing of what was asked.

    name: a colleague's or a service's; "" for an end user, whom a log that outlives an erasure must not name. tenant:
    the token's, "" where that is no tenant's name.
    """

    role: str
    name: str
    tenant: str
    method: str
    reason: Reason

    @classmethod
    def of(cls, principal: Principal, method: str, reason: Reason) -> Refused:
        """Takes what the token says, as far as it can stand in a log."""
        name = "" if principal.role == "product" else "".join(filter(str.isprintable, principal.subject[:_MOST_NAME]))
        is_known = principal.tenant == EVERYBODY or _TENANT.fullmatch(principal.tenant)
        return cls(principal.role[:_MOST_ROLE], name, principal.tenant if is_known else "", method, reason)


@dataclass(frozen=True, slots=True)
class Denial:
    """A line of a report: how often, and when and in which trace for the first time."""

    refused: Refused
    times: int
    first_at: datetime
    trace_id: str


@dataclass(frozen=True, slots=True)
class Report:
    """What is told at once. untold: how many refusals more there were than could be told apart."""

    report_id: UUID
    denials: Sequence[Denial]
    untold: int = 0


@dataclass(slots=True)
class _Line:
    """due: when it may be told, as the clock counts."""

    due: float
    times: int = 0
    first_at: float = 0.0
    trace_id: str = ""


class DenialBook:
    """Counts refusals. `clock` is the time in seconds since 1970."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], UUID] = uuid4,
        most: int = MOST_LINES,
    ) -> None:
        self._clock = clock
        self._new_id = new_id
        self._most = most
        self._lines: dict[Refused, _Line] = {}
        self._untold = 0

    def note(self, refused: Refused, *, trace_id: str = "") -> bool:
        """Counts one, and says whether it is the first of its line. Never waits."""
        line = self._lines.get(refused)
        if line is None:
            if len(self._lines) >= self._most:
                self._untold += 1
                return False
            line = self._lines[refused] = _Line(due=self._clock())
        line.times += 1
        if line.times == 1:
            line.first_at, line.trace_id = self._clock(), trace_id
        return line.times == 1

    def take(self) -> Report | None:
        """Returns what is due, which is then counted from 0; None when nothing is."""
        return self._report([*self._due(self._clock())])

    def take_all(self) -> Report | None:
        """Returns all that there is, due or not."""
        return self._report([*self._due(float("inf"))])

    def _due(self, until: float) -> Iterator[Denial]:
        for refused, line in [*self._lines.items()]:
            if line.due > until:
                continue
            if not line.times:
                del self._lines[refused]
                continue
            yield Denial(refused, line.times, datetime.fromtimestamp(line.first_at, UTC), line.trace_id)
            line.times, line.due = 0, self._clock() + AGAIN_SECONDS

    def _report(self, denials: Sequence[Denial]) -> Report | None:
        if not denials and not self._untold:
            return None
        report = Report(self._new_id(), denials, self._untold)
        self._untold = 0
        return report


#: Takes a report to the audit log. Raises Unavailable, and is asked again; Rejected, and is not.
Send = Callable[[Report], Awaitable[None]]


class Reporter:
    """Tells what is due, in the order it came; a report that did not arrive is sent again, the same."""

    def __init__(self, book: DenialBook, send: Send) -> None:
        self._book = book
        self._send = send
        self._waiting: Report | None = None

    async def tell_due(self) -> None:
        """Sends what is due. Raises Unavailable."""
        await self._tell(self._book.take)

    async def tell_all(self) -> None:
        """Sends all that there is. Raises Unavailable."""
        await self._tell(self._book.take_all)

    async def _tell(self, take: Callable[[], Report | None]) -> None:
        while (report := self._waiting or take()) is not None:
            self._waiting = report
            try:
                await self._send(report)
            except Rejected as rejected:  # a bug of ours: sending it again would not heal it
                log.error("a report of refusals is lost", reason=str(rejected))
                drop(report)
            self._waiting = None


def drop(report: Report) -> None:
    """Counts what the audit log will not know."""
    counter("headrace.denials.untold").add(report.untold + sum(denial.times for denial in report.denials))


@asynccontextmanager
async def reporting(
    book: DenialBook, send: Send, *, every: float = LOOK_SECONDS, patience: float = LAST_SECONDS
) -> AsyncIterator[None]:
    """Tells what is refused while the context is open, and at its end the rest, within `patience`.

    Both in seconds.
    """
    reporter = Reporter(book, send)
    task = asyncio.create_task(_report_for_ever(reporter, every))
    task.add_done_callback(_say_why)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        try:
            async with asyncio.timeout(patience):
                await reporter.tell_all()
        except (Unavailable, TimeoutError):
            log.warning("what was refused at last stays out of the audit log")


def _say_why(task: asyncio.Task[None]) -> None:
    """A bug ends the telling: what is refused is counted on, and the service's log says where to look."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("what is refused is not told any more", error=type(error).__name__, at=place_of(error))


async def _report_for_ever(reporter: Reporter, every: float) -> None:
    while True:
        try:
            await reporter.tell_due()
            await asyncio.sleep(every)
        except Unavailable as unavailable:
            log.warning("what was refused waits for the audit log", reason=str(unavailable))
            await asyncio.sleep(RETRY_SECONDS)


async def _to_nobody(report: Report) -> None:
    """Where no classifier is known."""
    drop(report)


@asynccontextmanager
async def open_sender(settings: ServiceSettings) -> AsyncIterator[Send]:
    """Opens the way to the classifier's audit log; one that leads nowhere without its address or a key of one's own."""
    if not settings.classifier or settings.service_key is None:
        yield _to_nobody
        return
    async with open_neighbour(settings.classifier, settings) as channel:
        yield _sending(AuditServiceStub(channel))


def _sending(stub: AuditServiceAsyncStub) -> Send:
    async def send(report: Report) -> None:
        try:
            await stub.ReportDenials(to_wire(report), timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise Rejected(Violation("", "malformed", "The audit log does not take it.")) from None
            raise Unavailable("the classifier") from None

    return send


_TO_REASON: dict[Reason, audit_pb2.DenialReason.ValueType] = {
    "role": audit_pb2.DENIAL_REASON_ROLE,
    "tenant": audit_pb2.DENIAL_REASON_TENANT,
    "subject": audit_pb2.DENIAL_REASON_SUBJECT,
}
_FROM_REASON = {wire: reason for reason, wire in _TO_REASON.items()}
_METHOD = re.compile(r"[A-Za-z0-9_.]{1,200}/[A-Za-z0-9_]{1,100}")
_TRACE = re.compile(r"([0-9a-f]{32})?")


def to_wire(report: Report) -> audit_pb2.ReportDenialsRequest:
    """The report as the contract has it."""
    return audit_pb2.ReportDenialsRequest(
        report_id=str(report.report_id), denials=map(_denial_to_wire, report.denials), untold=report.untold
    )


def _denial_to_wire(denial: Denial) -> audit_pb2.Denial:
    refused, first_at = denial.refused, Timestamp()
    first_at.FromDatetime(denial.first_at)
    return audit_pb2.Denial(
        caller_role=refused.role,
        caller_name=refused.name,
        caller_tenant=refused.tenant,
        method=refused.method,
        reason=_TO_REASON[refused.reason],
        times=denial.times,
        first_at=first_at,
        trace_id=denial.trace_id,
    )


def from_wire(request: audit_pb2.ReportDenialsRequest) -> Report:
    """The report of a request. Raises Rejected with every field that is wrong."""
    try:
        report_id = UUID(request.report_id)
    except ValueError:
        raise Rejected(Violation("report_id", "not_a_uuid", "A report has a UUID.")) from None
    if len(request.denials) > MOST_LINES:
        raise Rejected(Violation("denials", "too_large", f"At most {MOST_LINES} at once."))
    wrong = [violation for place, denial in enumerate(request.denials) for violation in _violations(place, denial)]
    if wrong:
        raise Rejected(*wrong)
    return Report(report_id, [*map(_denial_from_wire, request.denials)], request.untold)


def _violations(place: int, denial: audit_pb2.Denial) -> Iterator[Violation]:
    tenant, name = denial.caller_tenant, denial.caller_name
    fine = {
        "caller_role": 0 < len(denial.caller_role) <= _MOST_ROLE,
        "caller_name": len(name) <= _MOST_NAME and name.isprintable(),
        "caller_tenant": tenant in ("", EVERYBODY) or _TENANT.fullmatch(tenant) is not None,
        "method": _METHOD.fullmatch(denial.method) is not None,
        "reason": denial.reason in _FROM_REASON,
        "times": denial.times > 0,
        "first_at": denial.HasField("first_at"),
        "trace_id": _TRACE.fullmatch(denial.trace_id) is not None,
    }
    for field, is_fine in fine.items():
        if not is_fine:
            yield Violation(f"denials[{place}].{field}", "malformed", "It is not as the contract has it.")


def _denial_from_wire(denial: audit_pb2.Denial) -> Denial:
    refused = Refused(
        role=denial.caller_role,
        name=denial.caller_name,
        tenant=denial.caller_tenant,
        method=denial.method,
        reason=_FROM_REASON[denial.reason],
    )
    return Denial(refused, denial.times, denial.first_at.ToDatetime(UTC), denial.trace_id)
