"""Domain to protobuf, and the other way where requests come in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.drift.v1 import drift_pb2, service_pb2
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected, Violation

from headrace_drift.baselines import Baseline
from headrace_drift.measuring import Explanation, Raised, Reading, Sketch, Slice
from headrace_drift.ports import AlertRecord, LookRecord

#: A dataset as a person names it: an id, the first digits of one, or a series.
REFERENCE = re.compile(r"[a-z0-9_-]{1,64}")


def to_slice(slice_: Slice) -> drift_pb2.Slice:
    """Writes a slice."""
    return drift_pb2.Slice(tenant=slice_.tenant, product=slice_.product, kind=slice_.kind)


def to_reading(reading: Reading) -> drift_pb2.Reading:
    """Writes a reading."""
    return drift_pb2.Reading(
        slice=to_slice(reading.slice),
        measure=drift_pb2.Measure.ValueType(int(reading.measure)),
        evaluator=reading.evaluator,
        baseline=reading.baseline,
        window=reading.window,
        effect=reading.effect,
        effect_kind=reading.effect_kind,
        p_value=reading.p_value,
        baseline_samples=reading.baseline_samples,
        window_samples=reading.window_samples,
        drifted=reading.drifted,
    )


def to_look(readings: Iterable[Reading]) -> bytes:
    """Writes what a look came to, to rest."""
    return service_pb2.GetReportResponse(readings=map(to_reading, readings)).SerializeToString(deterministic=True)


def from_look(look: LookRecord) -> Sequence[drift_pb2.Reading]:
    """Reads what a look came to."""
    return service_pb2.GetReportResponse.FromString(look.record).readings


def to_record(raised: Raised, explanation: Explanation, window: Sketch, baseline_id: UUID) -> bytes:
    """Writes an alert, to rest: all but how it stands and which queries it names."""
    alert = drift_pb2.Alert(
        alert_id=raised.alert_id,
        slice=to_slice(raised.slice),
        readings=map(to_reading, raised.readings),
        explanation=_explanation(explanation),
        window_from=to_timestamp(raised.window_from),
        window_until=to_timestamp(raised.window_until),
        opened_at=to_timestamp(raised.opened_at),
        baseline_id=str(baseline_id),
        tier=WireTier.ValueType(int(tier_of(window))),
        model=_most_used(window),
    )
    return alert.SerializeToString(deterministic=True)


def to_alert(stored: AlertRecord) -> drift_pb2.Alert:
    """Writes an alert as it stands."""
    alert = drift_pb2.Alert.FromString(stored.record)
    alert.state = drift_pb2.ALERT_STATE_OPEN if stored.closed_at is None else drift_pb2.ALERT_STATE_CLOSED
    if stored.closed_at is not None:
        alert.closed_at.FromDatetime(stored.closed_at)
    alert.explanation.query_ids[:] = [sample.query_id for sample in stored.samples]
    return alert


def without_words(alert: drift_pb2.Alert) -> drift_pb2.Alert:
    """A copy without a word of anybody's, for the bus."""
    copy = drift_pb2.Alert()
    copy.CopyFrom(alert)
    copy.explanation.ClearField("words")
    return copy


def tier_of(sketch: Sketch) -> Tier:
    """The strictest tier of the questions; TIER_2 where there is none to go by."""
    return sketch.strictest or Tier.TIER_2


def to_baseline(baseline: Baseline) -> drift_pb2.Baseline:
    """Writes a baseline."""
    return drift_pb2.Baseline(
        baseline_id=str(baseline.baseline_id),
        tenant=baseline.tenant,
        dataset_id=baseline.dataset_id,
        **{"from": to_timestamp(baseline.begins)},
        until=to_timestamp(baseline.ends),
        samples=baseline.samples,
        set_by=baseline.set_by,
        set_at=to_timestamp(baseline.set_at),
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked to become the baseline: a dataset, or the period."""

    tenant: str
    dataset: str
    begins: datetime | None
    ends: datetime | None


def read_wish(request: service_pb2.SetBaselineRequest) -> Wish:
    """Reads it. Raises Rejected for neither, for both, for what names no dataset, and for a period that ends before it
    begins."""
    begins = from_timestamp(request, "from")
    ends = from_timestamp(request, "until")
    if bool(request.dataset) == bool(begins or ends):
        raise Rejected(Violation("dataset", "missing", "Name a dataset, or a period by `from` and `until`."))
    if request.dataset and not REFERENCE.fullmatch(request.dataset):
        raise Rejected(Violation("dataset", "malformed", "An id, 8 or more of its digits, or the name of a series."))
    if not request.dataset and not (begins and ends and begins < ends):
        raise Rejected(Violation("until", "out_of_range", "A period has a beginning, and an end after it."))
    return Wish(request.tenant, request.dataset, begins, ends)


def read_id(text: str, field: str) -> UUID:
    """Reads an id. Raises Rejected."""
    try:
        return UUID(text)
    except ValueError:
        raise Rejected(Violation(field, "not_a_uuid", "A UUID is expected.")) from None


def read_state(state: drift_pb2.AlertState.ValueType) -> drift_pb2.AlertState.ValueType:
    """Checks that a state is known. Raises Rejected."""
    if state not in drift_pb2.AlertState.values():
        raise Rejected(Violation("state", "unknown_value", "There is no such state of an alert."))
    return state


def to_timestamp(moment: datetime) -> Timestamp:
    """Writes a moment."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def from_timestamp(message: Any, field: str) -> datetime | None:
    """Reads a moment; None where there is none. Raises Rejected for one beyond the calendar."""
    if not message.HasField(field):
        return None
    try:
        found: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Rejected(Violation(field, "out_of_range", "There is no such moment.")) from None
    return found


def _explanation(explanation: Explanation) -> drift_pb2.Explanation:
    return drift_pb2.Explanation(
        summary=explanation.summary,
        words=[
            drift_pb2.MovedWord(
                word=word.word,
                hash=word.hash,
                baseline=word.baseline,
                window=word.window,
                tier=WireTier.ValueType(int(word.tier)),
            )
            for word in explanation.words
        ],
        kinds=[
            drift_pb2.MovedKind(
                kind=kind.kind,
                baseline_share=kind.baseline_share,
                window_share=kind.window_share,
                baseline_grounded=kind.baseline_grounded,
                window_grounded=kind.window_grounded,
            )
            for kind in explanation.kinds
        ],
        lever=drift_pb2.Lever.ValueType(int(explanation.lever)),
        because=explanation.because,
        without_close_passage=explanation.without_close_passage,
    )


def _most_used(window: Sketch) -> ModelIdentity | None:
    models = {name: count for name, count in window.models.items() if name}
    if not models:
        return None
    name, _, version = max(sorted(models), key=lambda one: models[one]).rpartition("@")
    return ModelIdentity(name=name, version=version)
