"""The audit log's bytes are stable, and what was done to a log is found: each kind of tampering, and where."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from headrace.privacy.v1 import audit_pb2
from headrace_classifier.audit import GENESIS, Entry, Row, canonical, chained, link
from headrace_classifier.audit_servicer import AuditServicer
from headrace_classifier.checkpoints import Checkpoint, Seal, Signed, next_checkpoint, read_claims, read_seal
from headrace_classifier.denials import entries_of
from headrace_classifier.verifying import Evidence
from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_runtime.denials import Denial, Reason, Refused, Report, to_wire
from headrace_runtime.errors import Rejected
from hypothesis import given
from hypothesis import strategies as st

KEY = bytes(range(32))
NOW = datetime(2026, 11, 21, 9, 12, 3, 456789, tzinfo=UTC)
FULL = Entry(
    recorded_at=NOW, action="read.allowed", role="reviewer", actor="rita", tenant="acme", purpose=4, tier=Tier.TIER_2,
    object="4e1b", records=("q1", "ü"), reason="grant 4e1b covers it", policy_version="2", trace_id="0" * 32,
)  # fmt: skip
BEFORE = hashlib.sha256(b"before").digest()
EMPTY = Entry(recorded_at=datetime(1970, 1, 1, tzinfo=UTC), action="policy.loaded", role="", actor="")


def test_the_bytes_of_a_row_are_those_that_the_description_says() -> None:
    def field(text: str) -> bytes:
        return len(text.encode()).to_bytes(4, "big") + text.encode()

    fields = [
        "7", "1795252323456789", "read.allowed", "reviewer", "rita", "acme", "4", "3", "4e1b", "2", "q1", "ü",
        "grant 4e1b covers it", "2", "0" * 32,
    ]  # fmt: skip
    assert canonical(7, FULL) == b"headrace-audit-1" + b"".join(map(field, fields))
    assert link(KEY, GENESIS, sequence=7, entry=FULL) == hmac.digest(KEY, bytes(32) + canonical(7, FULL), "sha256")


@pytest.mark.parametrize(
    ("previous", "sequence", "entry", "expected"),
    [
        (GENESIS, 1, EMPTY, "92511d4fcf66fa01d43106521d79ab22c913ec2b81eb66e346b675473e876750"),
        (
            hashlib.sha256(b"before").digest(),
            7,
            FULL,
            "8fd2c4f740f1f348034b438b44e406276024099968c75e236daf4f1c3de35943",
        ),
    ],
)
def test_a_row_hashes_as_it_ever_did(previous: bytes, sequence: int, entry: Entry, expected: str) -> None:
    """Were one of these to change, no log that exists could be verified any more."""
    assert link(KEY, previous, sequence=sequence, entry=entry).hex() == expected


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
ENTRIES = st.builds(
    Entry, recorded_at=st.datetimes(timezones=st.just(UTC)), action=st.sampled_from(["read.allowed", "read.denied"]),
    role=WORDS, actor=WORDS, tenant=WORDS, purpose=st.integers(0, 6), tier=st.none() | st.sampled_from(Tier),
    object=WORDS, records=st.lists(WORDS, max_size=3).map(tuple), reason=WORDS, policy_version=WORDS, trace_id=WORDS,
)  # fmt: skip


@given(st.integers(1, 99), ENTRIES, st.integers(1, 99), ENTRIES)
def test_no_two_rows_have_the_same_bytes(one: int, entry: Entry, other: int, another: Entry) -> None:
    assert (canonical(one, entry) == canonical(other, another)) == ((one, entry) == (other, another))


class Log:
    """A log in memory with its checkpoints' files, which tests tamper with. The "signature" is a word."""

    def __init__(self, rows: int, *, sealed: Sequence[int] = ()) -> None:
        self.rows_: list[Row] = []
        self.files: list[tuple[Signed, Checkpoint | None]] = []
        self.noted: dict[int, int] = {}
        self.seals: dict[str, Seal | None] = {}
        self.reports: list[tuple[str, Report]] = []
        for number in range(1, rows + 1):
            entry = replace(FULL, object=f"q{number}", recorded_at=NOW + timedelta(seconds=number))
            self.rows_.append(chained(KEY, self.rows_[-1] if self.rows_ else None, entry=entry))
            if number in sealed:
                self.seal()

    def seal(self) -> None:
        last = self.files[-1][0] if self.files else None
        checkpoint = next_checkpoint(last, self.rows_[-1], number=len(self.files) + 1, now=NOW)
        self.files.append((Signed(checkpoint.number, f"signed {checkpoint.claims()}"), checkpoint))
        self.noted[checkpoint.number] = checkpoint.sequence

    async def rows(self, *, tenant: str = "*", after: int = 0) -> AsyncIterator[Sequence[Row]]:
        for row in sorted(self.rows_, key=lambda row: row.sequence):
            if row.sequence > after and tenant in ("*", row.entry.tenant):
                yield [row]

    async def newest(self, *, tenant: str, after: int, most: int) -> Sequence[Row]:
        return [row async for (row,) in self.rows(tenant=tenant, after=after)][-most:]

    async def noted_checkpoints(self) -> Mapping[int, int]:
        return self.noted

    async def evidence(self) -> Evidence:
        return Evidence(self.files, self.noted, self.seals)

    async def record(self, report: Report, *, edge: str) -> None:
        self.reports.append((edge, report))

    def seal_last(self, name: str = "one") -> None:
        """As the instance `name` does after a commit."""
        last = self.rows_[-1]
        self.seals[name] = Seal(name, last.sequence, last.hash.hex(), NOW)

    def servicer(self, tenant: str = "*", role: str = "privacy") -> AuditServicer:
        caller = Principal(role, tenant, "maria")
        return AuditServicer(self, KEY, evidence=self.evidence, record=self.record, caller=lambda: caller)

    async def verify(self) -> audit_pb2.VerifyEntriesResponse:
        return await self.servicer().VerifyEntries(audit_pb2.VerifyEntriesRequest(), None)  # type: ignore[arg-type]

    async def faults(self) -> list[tuple[str, int]]:
        return [(fault.kind, fault.sequence) for fault in (await self.verify()).faults]

    def change(self, place: int, **changes: Any) -> None:
        row = self.rows_[place - 1]
        self.rows_[place - 1] = replace(row, entry=replace(row.entry, **changes))


def swap(log: Log, one: int, other: int) -> None:
    first, second = log.rows_[one - 1], log.rows_[other - 1]
    log.rows_[one - 1], log.rows_[other - 1] = second.at(one), first.at(other)


def rewrite(log: Log, place: int, key: bytes) -> None:
    """Changes a row and chains everything after it anew."""
    kept, log.rows_ = log.rows_, log.rows_[: place - 1]
    for row in kept[place - 1 :]:
        actor = "nobody" if row.sequence == place else row.entry.actor
        log.rows_.append(chained(key, log.rows_[-1] if log.rows_ else None, entry=replace(row.entry, actor=actor)))


def forge(log: Log, number: int) -> None:
    log.files[number - 1] = (Signed(number, "anything"), None)


TAMPERINGS: list[tuple[str, Callable[[Log], object], list[tuple[str, int]]]] = [
    ("nothing", lambda log: None, []),
    ("a word", lambda log: log.change(4, reason="nothing happened"), [("edited", 4)]),
    ("a name in the first row", lambda log: log.change(1, actor="paul"), [("edited", 1)]),
    ("a microsecond in the last", lambda log: log.change(12, recorded_at=NOW), [("edited", 12)]),
    ("two rows", lambda log: (log.change(2, actor="x"), log.change(9, records=())), [("edited", 2), ("edited", 9)]),
    ("a row removed", lambda log: log.rows_.pop(4), [("missing", 5)]),
    ("the first rows removed", lambda log: log.rows_.__delitem__(slice(0, 3)), [("missing", 1)]),
    ("neighbours swapped", lambda log: swap(log, 6, 7), [("reordered", 6), ("reordered", 7)]),
    ("two swapped far apart", lambda log: swap(log, 2, 11), [("reordered", 2), ("reordered", 11)]),
    ("the end cut off", lambda log: log.rows_.__delitem__(slice(8, 12)), [("truncated", 9)]),
    ("all of it cut off", lambda log: log.rows_.clear(), [("truncated", 1)]),
    ("chained anew with another key", lambda log: rewrite(log, 12, bytes(32)), [("edited", 12)]),
    ("chained anew with the key", lambda log: rewrite(log, 7, KEY), [("edited", 8), ("edited", 10)]),
    ("a checkpoint forged", lambda log: forge(log, 2), [("checkpoint_forged", 8), ("checkpoint_forged", 10)]),
    ("the last one forged", lambda log: forge(log, 3), [("checkpoint_forged", 10)]),
    ("a checkpoint removed", lambda log: log.files.pop(1), [("checkpoint_missing", 8)]),
    ("the last one removed", lambda log: log.files.pop(2), [("checkpoint_missing", 10)]),
    ("every one removed", lambda log: log.files.clear(), [("checkpoint_missing", 4)]),
    ("the database's notes removed", lambda log: log.noted.clear(), []),
    ("the end cut off with its file", lambda log: (log.rows_.__delitem__(slice(8, 12)), log.files.pop()),
     [("checkpoint_missing", 10), ("truncated", 9)]),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "found"), [t[1:] for t in TAMPERINGS], ids=[t[0] for t in TAMPERINGS])
async def test_tampering_is_found(tamper: Callable[[Log], object], found: list[tuple[str, int]]) -> None:
    log = Log(12, sealed=(4, 8, 10))
    tamper(log)
    assert sorted(await log.faults()) == sorted(found)


async def test_a_file_under_another_number_is_no_checkpoint() -> None:
    log = Log(4, sealed=(2, 4))
    log.files[0], log.files[1] = (Signed(1, log.files[1][0].text), log.files[1][1]), log.files[0]
    assert ("checkpoint_forged", 2) in await log.faults()


async def test_what_was_never_sealed_can_be_cut_off_unseen() -> None:
    """What cannot be found: a row that has neither a checkpoint nor a seal yet."""
    log = Log(12, sealed=(10,))
    log.rows_.pop()
    assert await log.faults() == []


SEALINGS: list[tuple[str, Callable[[Log], object], list[tuple[str, int]]]] = [
    ("nothing", lambda log: None, []),
    ("the last row cut off", lambda log: log.rows_.pop(), [("truncated", 12)]),
    ("all since the checkpoint cut off", lambda log: log.rows_.__delitem__(slice(10, 12)), [("truncated", 11)]),
    ("cut off and written anew", lambda log: rewrite(log, 11, KEY), [("edited", 12)]),
    ("a seal forged", lambda log: log.seals.update(one=None), [("seal_forged", 0)]),
    ("another's seal in its place", lambda log: log.seals.update(two=log.seals["one"]), [("seal_forged", 0)]),
    ("the seal put back", lambda log: log.seals.update(one=Seal("one", 10, log.rows_[9].hash.hex(), NOW)), []),
    ("the seal removed too", lambda log: (log.rows_.pop(), log.seals.clear()), []),
]


@pytest.mark.parametrize(("tamper", "found"), [t[1:] for t in SEALINGS], ids=[t[0] for t in SEALINGS])
async def test_what_has_a_seal_and_no_checkpoint_yet(
    tamper: Callable[[Log], object], found: list[tuple[str, int]]
) -> None:
    log = Log(12, sealed=(4, 10))
    log.seal_last()
    tamper(log)
    assert await log.faults() == found


async def test_every_instance_has_a_seal_of_its_own() -> None:
    log = Log(8, sealed=(4,))
    log.seal_last("one")
    log.rows_ += Log(12).rows_[8:]
    log.seal_last("two")
    assert await log.faults() == []
    log.rows_.pop()
    (fault,) = (await log.verify()).faults
    assert (fault.kind, fault.sequence) == ("truncated", 12)
    assert fault.description == "The log ends at row 11, but seal two has sealed row 12."


def report(*denials: Denial, untold: int = 0) -> Report:
    return Report(UUID(int=7), denials, untold)


def denial(*, role: str = "reviewer", tenant: str = "acme", reason: Reason = "role", times: int = 1) -> Denial:
    refused = Refused(role, "rita", tenant, "headrace.query.v1.QueryService/Get", reason)
    return Denial(refused, times, NOW, "0" * 32)


@pytest.mark.parametrize(
    ("told", "who", "why"),
    [
        (denial(), ("reviewer", "rita", "acme"), "the role may not call it"),
        (denial(role="product", reason="subject"), ("product", "an end user", "acme"), "it asked as another subject"),
        (denial(role="sre", tenant="*"), ("sre", "rita", ""), "the role may not call it"),
        (
            denial(reason="tenant", times=17),
            ("reviewer", "rita", "acme"),
            "it asked for another tenant; 17 times since 2026-11-21 09:12:03",
        ),
    ],
)
def test_a_refusal_is_a_row_that_tells_who_what_and_why(told: Denial, who: tuple[str, str, str], why: str) -> None:
    (entry,) = entries_of(report(told), edge="ingest", now=NOW, policy_version="2")
    assert (entry.role, entry.actor, entry.tenant) == who
    assert (entry.action, entry.object, entry.reason) == ("access.denied", "headrace.query.v1.QueryService/Get", why)
    assert (entry.policy_version, entry.trace_id) == ("2", "0" * 32)


def test_refusals_that_were_not_told_apart_are_a_row_of_their_edge() -> None:
    (entry,) = entries_of(report(untold=12), edge="ingest", now=NOW, policy_version="2")
    assert (entry.role, entry.actor, entry.object) == ("service:ingest", "ingest", "several")
    assert entry.reason == "12 calls more than it could tell apart"


async def test_a_service_reports_for_its_own_edge() -> None:
    log = Log(0)
    servicer = log.servicer(role="service:retriever")
    await servicer.ReportDenials(to_wire(report(denial())), None)  # type: ignore[arg-type]
    ((edge, taken),) = log.reports
    assert (edge, taken.report_id, taken.denials) == ("retriever", UUID(int=7), [denial()])
    with pytest.raises(Rejected):
        await servicer.ReportDenials(audit_pb2.ReportDenialsRequest(report_id="x"), None)  # type: ignore[arg-type]
    assert len(log.reports) == 1


@pytest.mark.parametrize("missing", ["name", "sequence", "hash", "iat"])
def test_claims_without_a_part_are_no_seal(missing: str) -> None:
    claims = Seal("one", 1, "00", NOW).claims()
    assert read_seal(claims) == Seal("one", 1, "00", NOW.replace(microsecond=0))
    assert read_seal({**claims, missing: None}) is None


async def test_a_report_counts_and_gives_the_head() -> None:
    log = Log(3, sealed=(2,))
    report = await log.verify()
    assert (report.entries, report.checkpoints, report.head) == (3, 1, log.rows_[-1].hash.hex())
    empty = await Log(0).verify()
    assert (empty.entries, empty.checkpoints, empty.head, list(empty.faults)) == (0, 0, "", [])


async def test_a_log_that_was_wrecked_is_reported_row_by_row() -> None:
    log = Log(200)
    for place in range(1, 201):
        log.change(place, actor="x")
    assert await log.faults() == [("edited", place) for place in range(1, 201)]


@pytest.mark.parametrize(
    ("request_", "caller", "numbers"),
    [
        (audit_pb2.ListEntriesRequest(), "*", list(range(1, 1203))),
        (audit_pb2.ListEntriesRequest(last=3), "*", [1200, 1201, 1202]),
        (audit_pb2.ListEntriesRequest(after_sequence=1200), "*", [1201, 1202]),
        (audit_pb2.ListEntriesRequest(after_sequence=1201, last=5), "*", [1202]),
        (audit_pb2.ListEntriesRequest(tenant="acme", last=1), "*", [1202]),
        (audit_pb2.ListEntriesRequest(tenant="other"), "*", []),
        (audit_pb2.ListEntriesRequest(), "other", []),
    ],
)
async def test_lists_rows_oldest_first(request_: Any, caller: str, numbers: list[int]) -> None:
    responses = Log(1202).servicer(caller).ListEntries(request_, None)  # type: ignore[arg-type]
    entries = [entry async for response in responses for entry in response.entries]
    assert [entry.sequence for entry in entries] == numbers


async def test_an_entry_tells_all_that_was_recorded() -> None:
    (response,) = [r async for r in Log(1).servicer().ListEntries(audit_pb2.ListEntriesRequest(), None)]  # type: ignore[arg-type]
    (entry,) = response.entries
    assert (entry.action, entry.role, entry.actor, entry.tenant) == ("read.allowed", "reviewer", "rita", "acme")
    assert (entry.purpose, entry.tier, entry.object, list(entry.records)) == (4, 3, "q1", ["q1", "ü"])
    assert entry.recorded_at.ToDatetime(UTC) == NOW + timedelta(seconds=1)
    assert len(entry.hash) == 64


@pytest.mark.parametrize("missing", ["number", "sequence", "hash", "previous", "iat"])
def test_claims_without_a_part_are_no_checkpoint(missing: str) -> None:
    claims = next_checkpoint(None, chained(KEY, None, entry=FULL), number=1, now=NOW).claims()
    assert read_claims(claims) is not None
    assert read_claims({**claims, missing: None}) is None
