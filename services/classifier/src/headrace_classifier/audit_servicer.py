"""The gRPC edge of the audit log. Who may call what is decided before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from grpc.aio import ServicerContext
from headrace.privacy.v1 import audit_pb2, privacy_pb2
from headrace.privacy.v1.audit_pb2_grpc import AuditServiceServicer
from headrace_identity import EVERYBODY, Principal
from headrace_identity.principal import SERVICE
from headrace_runtime.denials import Report, from_wire

from headrace_classifier.approval_translate import to_timestamp
from headrace_classifier.audit import Row
from headrace_classifier.verifying import ChainReader, Evidence, Verification, by_row, check_evidence, check_seals

Context = ServicerContext[Any, Any]

#: Rows of one message: a row has at most 1,000 ids of 1,000 characters, but hardly ever does.
MOST_AT_ONCE = 500
#: The newest rows are read at once, so that many at most.
MOST_NEWEST = 100_000


class Reader(Protocol):
    """Reads the log."""

    def rows(self, *, tenant: str = EVERYBODY, after: int = 0) -> AsyncIterator[Sequence[Row]]:
        """Rows about a tenant, or all, after a number, oldest first, in batches."""

    async def newest(self, *, tenant: str, after: int, most: int) -> Sequence[Row]:
        """At most so many of the same, the newest ones, oldest first."""

    async def noted_checkpoints(self) -> Mapping[int, int]:
        """The checkpoints that the store remembers, and the rows that they sealed."""


class Record(Protocol):
    """Takes a service's report into the log."""

    async def __call__(self, report: Report, *, edge: str) -> None:
        """Raises Unavailable."""


class AuditServicer(AuditServiceServicer):
    """Serves headrace.privacy.v1.AuditService.

    `evidence` reads what is known of the log from outside; `record` takes what an edge refused into it.
    """

    def __init__(
        self,
        reader: Reader,
        key: bytes,
        *,
        evidence: Callable[[], Awaitable[Evidence]],
        record: Record,
        caller: Callable[[], Principal],
    ) -> None:
        self._reader = reader
        self._key = key
        self._record = record
        self._evidence = evidence
        self._caller = caller

    async def ListEntries(
        self, request: audit_pb2.ListEntriesRequest, context: Context
    ) -> AsyncIterator[audit_pb2.ListEntriesResponse]:
        """Oldest first."""
        tenant, after = request.tenant or self._caller().tenant, request.after_sequence
        if request.last:
            most = min(request.last, MOST_NEWEST)
            for part in _parts(await self._reader.newest(tenant=tenant, after=after, most=most)):
                yield _response(part)
            return
        async for rows in self._reader.rows(tenant=tenant, after=after):
            for part in _parts(rows):
                yield _response(part)

    async def VerifyEntries(
        self, request: audit_pb2.VerifyEntriesRequest, context: Context
    ) -> audit_pb2.VerifyEntriesResponse:
        """What was read, and everything that is wrong. Raises Unavailable."""
        return _to_report(await verify(self._reader, await self._evidence(), key=self._key))

    async def ReportDenials(
        self, request: audit_pb2.ReportDenialsRequest, context: Context
    ) -> audit_pb2.ReportDenialsResponse:
        """Records what the caller's edge refused. Raises Rejected, Unavailable."""
        await self._record(from_wire(request), edge=self._caller().role.removeprefix(SERVICE))
        return audit_pb2.ReportDenialsResponse()


async def verify(reader: Reader, evidence: Evidence, *, key: bytes) -> Verification:
    """Reads the whole log against its hashes, its checkpoints and its seals, which were read before it."""
    checkpoints, faults = check_evidence(evidence)
    seals, forged = check_seals(evidence)
    faults += forged
    chain = ChainReader(key, by_row([*checkpoints, *seals], evidence.noted))
    async for rows in reader.rows():
        for row in rows:
            chain.read(row)
    faults += await asyncio.to_thread(chain.finish)
    head = chain.last.hash.hex() if chain.last else ""
    return Verification(chain.rows, len(evidence.files), tuple(sorted(faults)), head)


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + MOST_AT_ONCE] for start in range(0, len(rows), MOST_AT_ONCE)]


def _response(rows: Sequence[Row]) -> audit_pb2.ListEntriesResponse:
    return audit_pb2.ListEntriesResponse(entries=map(_to_entry, rows))


def _to_entry(row: Row) -> audit_pb2.AuditEntry:
    entry = row.entry
    return audit_pb2.AuditEntry(
        sequence=row.sequence,
        recorded_at=to_timestamp(entry.recorded_at),
        action=entry.action,
        role=entry.role,
        actor=entry.actor,
        tenant=entry.tenant,
        purpose=privacy_pb2.Purpose.ValueType(entry.purpose),
        tier=privacy_pb2.Tier.ValueType(entry.tier or 0),
        object=entry.object,
        records=entry.records,
        reason=entry.reason,
        policy_version=entry.policy_version,
        trace_id=entry.trace_id,
        hash=row.hash.hex(),
    )


def _to_report(report: Verification) -> audit_pb2.VerifyEntriesResponse:
    return audit_pb2.VerifyEntriesResponse(
        entries=report.entries,
        checkpoints=report.checkpoints,
        faults=[
            audit_pb2.AuditFault(sequence=fault.sequence, kind=fault.kind, description=fault.description)
            for fault in report.faults
        ],
        head=report.head,
    )
