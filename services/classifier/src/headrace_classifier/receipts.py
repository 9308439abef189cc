"""The receipt of an erasure: what is signed, and the same on a page of plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headrace_privacy import Tier
from headrace_stream.erasing import Document, Expired, Names, Source, Subject, What

from headrace_classifier.completions import model_claims
from headrace_classifier.erasures import Reached, Record, Report, State, Stored, models_in, moment
from headrace_classifier.keys import Rotation

#: The signature's type (RFC 7515, "typ"): a token can't pass for a receipt, nor a receipt for a token.
KIND = "headrace-receipt+jwt"


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What was done once every store had read back nothing.

    rotation: of the master key, None where it is not in our hands or nothing was destroyed. bus: how long the bus keeps
    what has gone through it, in hours, by what it is. wal_removed: whether the database's log before it is gone.
    """

    rotation: Rotation | None
    wal_removed: bool
    named_trimmed: bool
    bus_hours: int


@dataclass(frozen=True, slots=True)
class StoreLine:
    """One store over the whole erasure: removed in all rounds, left in the last."""

    service: str
    store: str
    how: str
    removed: int
    applied_at: datetime
    left: int
    verified_at: datetime


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that is signed."""

    record: Record
    closed_at: datetime
    lines: tuple[StoreLine, ...]
    aftermath: Aftermath
    who: str
    names: Names = field(repr=False)
    models: tuple[Reached, ...] = ()

    def claims(self) -> dict[str, Any]:
        """What the signature covers."""
        record = self.record
        return {
            "erasure_id": str(record.erasure_id),
            "tenant": record.tenant,
            "scope": scope_claims(record.what, self.names),
            "reason": record.reason,
            "requested_by": record.requested_by,
            "requested_role": record.requested_role,
            "requested_at": moment(record.requested_at),
            "closed_at": moment(self.closed_at),
            "rounds": record.round,
            "keys_destroyed": record.keys,
            "stores": [_store_claims(line) for line in self.lines],
            "backups": _backup_claims(record, self.aftermath),
            "write_ahead_log_removed": self.aftermath.wal_removed,
            "to_retrain": [model_claims(model) for model in self.models],
            "kept": [{"what": what, "why": why} for what, why in kept(record.what, self.aftermath)],
            "iat": int(self.closed_at.timestamp()),
        }

    @property
    def removed(self) -> int:
        """How many records of all stores, keys included."""
        return sum(line.removed for line in self.lines) + self.record.keys


def make_receipt(
    record: Record, reports: Sequence[Report], *, aftermath: Aftermath, names: Names, closed_at: datetime
) -> Receipt:
    """Puts together what every service said."""
    applied = {r.service: r for r in reports if (r.round, r.state) == (record.round, State.REQUESTED)}
    verified = {r.service: r for r in reports if (r.round, r.state) == (record.round, State.VERIFYING)}
    lines = tuple(
        _line(applied[service], verified[service], stored)
        for service in sorted(applied.keys() & verified.keys())
        for stored in applied[service].stores
    )
    models = models_in(record, reports)
    return Receipt(record, closed_at, lines, aftermath, record.requested_by, names, models)


def _line(applied: Report, verified: Report, stored: Stored) -> StoreLine:
    left = sum(each.records for each in verified.stores if each.store == stored.store)
    return StoreLine(
        applied.service, stored.store, stored.how, stored.records, applied.reported_at, left, verified.reported_at
    )


def scope_claims(what: What, names: Names) -> dict[str, Any]:
    """Writes what was erased. An end user and a document by keyed hash: the receipt is kept."""
    match what:
        case Subject(name):
            return {"kind": "subject", "subject_hash": names.subject(name).hex()}
        case Source(source):
            return {"kind": "source", "source": source}
        case Document(source, document_id):
            return {"kind": "document", "source": source, "document_hash": names.document(source, document_id).hex()}
        case Expired(tier, before):
            return {"kind": "expired", "tier": tier.label, "before": moment(before)}


def _store_claims(line: StoreLine) -> dict[str, Any]:
    return {
        "service": line.service,
        "store": line.store,
        "how": line.how,
        "removed": line.removed,
        "at": moment(line.applied_at),
        "left": line.left,
        "read_back_at": moment(line.verified_at),
    }


def _backup_claims(record: Record, aftermath: Aftermath) -> dict[str, Any]:
    rotation = aftermath.rotation
    return {
        "master_key_version": rotation.version if rotation else "",
        "master_key_before_destroyed": bool(rotation and rotation.destroyed),
        "unreadable": bool(rotation and rotation.destroyed) or record.keys == 0,
    }


def kept(what: What, aftermath: Aftermath) -> Iterator[tuple[str, str]]:
    """Yields what is kept, and why."""
    yield "the audit log's rows about this erasure, and this receipt", "to show that it was done, and by whom"
    yield "keyed hashes of what was erased", "so that what comes late, or again, is turned away"
    hours = aftermath.bus_hours
    match what:
        case Subject():
            yield "sealed records on the bus", f"unreadable, since their key is destroyed; they age out after {hours} h"
            if not aftermath.named_trimmed:
                yield "the end user's id in this erasure's events", "this bus is in memory, and takes nothing off"
            yield "the ids of queries, without text or asker", "so that the same query is not taken in twice"
        case Source() | Document():
            yield (
                "what was public or tier_1, and answers made of it, on the bus",
                f"the bus deletes it after {hours} h, sooner than which only services read it; tier_2 is unreadable",
            )
        case Expired():
            yield "keys of end users who still have newer records", "their newer records are opened with them"


def page(receipt: Receipt) -> str:
    """Writes the receipt for people."""
    return "\n".join(_page(receipt)) + "\n"


def _page(receipt: Receipt) -> Iterator[str]:
    record = receipt.record
    yield f"Erasure {record.erasure_id}"
    yield ""
    yield f"What:       {_what(receipt)}"
    yield f"Asked for:  by {record.requested_by} ({record.requested_role}), {moment(record.requested_at)}"
    if record.reason:
        yield f"Why:        {record.reason}"
    took = (receipt.closed_at - record.requested_at).total_seconds()
    yield f"Closed:     {moment(receipt.closed_at)}, {took:.1f} s later, in round {record.round}"
    yield f"Keys:       {record.keys} destroyed with the request: what they sealed is unreadable everywhere since then"
    yield ""
    yield "Removed, and read back afterwards:"
    width = max((len(line.store) for line in receipt.lines), default=0)
    for line in receipt.lines:
        yield f"  {line.store:<{width}}  {line.removed:>6} removed, {line.left} left  ({line.how})"
    yield ""
    yield f"Backups:    {_backups(receipt)}"
    yield f"Database:   {_wal(receipt.aftermath)}"
    yield from _models(receipt.models)
    yield ""
    yield "Kept:"
    for what, why in kept(record.what, receipt.aftermath):
        yield f"  {what}: {why}"


def _models(models: Sequence[Reached]) -> Iterator[str]:
    if not models:
        yield "Models:     none learned from it"
        return
    yield "Models:     these learned from it. Their weights cannot be made to forget; so they are retired and deleted:"
    for model in models:
        if model.retired_at is not None:
            yield f"  {model.model}: weights deleted {moment(model.retired_at)}"
        else:
            yield f"  {model.model}: by {moment(model.retire_by)} at the latest, whether or not another is ready"
    yield "  A completion of this receipt is signed once the last of them is gone"


def _what(receipt: Receipt) -> str:
    tenant = receipt.record.tenant
    match receipt.record.what:
        case Subject(name):
            return f"an end user of {tenant}, known as {receipt.names.subject(name).hex()[:16]}… from now on"
        case Source(source):
            return f"the source {source} of {tenant}, and what was made of it"
        case Document(source, document_id):
            digest = receipt.names.document(source, document_id).hex()[:16]
            return f"a document of {source} of {tenant}, known as {digest}… from now on, and what was made of it"
        case Expired(tier, before):
            return f"{tenant}'s questions, answers and feedback of {tier.label} from before {moment(before)}"


def _backups(receipt: Receipt) -> str:
    rotation = receipt.aftermath.rotation
    if rotation is not None and rotation.destroyed:
        return (
            f"the master key before {rotation.version} is destroyed, so no backup from before"
            f" {moment(rotation.rotated_at)} opens anything that was sealed"
        )
    if receipt.record.keys == 0:
        return "no key was destroyed; a backup holds what it held"
    return (
        "the master key is not in our hands: a backup from before this opens what was erased, until you replace the key"
        " (docs/explanation/erasure.md). Keep such backups out of use until then"
    )


def _wal(aftermath: Aftermath) -> str:
    if aftermath.wal_removed:
        return "its tables are vacuumed, and its write-ahead log from before is removed"
    return "its tables are vacuumed; its write-ahead log from before goes with its next checkpoints"


def tier_of(what: What) -> Tier | None:
    """The tier that an erasure is about, where it is about one."""
    return what.tier if isinstance(what, Expired) else None
