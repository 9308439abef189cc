"""Trained models between messages and what is kept of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC

from headrace.training.v1 import models_pb2, training_pb2
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected, Violation

from headrace_inference.trained_records import Standing, Target, TrainedRecord

_MODEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})@([A-Za-z0-9][A-Za-z0-9._-]{0,63})", re.ASCII)
_TENANT = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)

_BY_CHANGE: Mapping[int, Standing] = {
    models_pb2.MODEL_CHANGE_REGISTERED: "candidate",
    models_pb2.MODEL_CHANGE_CANARY: "canary",
    models_pb2.MODEL_CHANGE_PROMOTED: "live",
    models_pb2.MODEL_CHANGE_ROLLED_BACK: "rolled_back",
    models_pb2.MODEL_CHANGE_RETIRED: "retired",
    models_pb2.MODEL_CHANGE_DELETED: "deleted",
}
#: It goes on as it stands.
_BY_STATE: Mapping[int, Standing] = {
    models_pb2.MODEL_STATE_CANDIDATE: "candidate",
    models_pb2.MODEL_STATE_CANARY: "canary",
    models_pb2.MODEL_STATE_LIVE: "live",
    models_pb2.MODEL_STATE_RETIRED: "retired",
}
TARGETS: Mapping[int, Target] = {
    training_pb2.TARGET_GENERATOR: "generator",
    training_pb2.TARGET_KINDS: "kinds",
    training_pb2.TARGET_EMBEDDER: "embedder",
}


def _standing(model: models_pb2.Model) -> Standing | None:
    """Of a change that says nothing about who answers. A generator that stands by answers where the newer one cannot,
    and is kept ready; of what recognises kinds one alone is in service, and such a word must not bring another back."""
    if model.target == training_pb2.TARGET_KINDS and model.state == models_pb2.MODEL_STATE_LIVE and model.replaced_by:
        return "rolled_back"
    return _BY_STATE.get(model.state)


def to_record(message: models_pb2.ModelChanged, carrier: Mapping[str, str]) -> TrainedRecord:
    """Reads how a model stands now. Raises Rejected."""
    model = message.model
    named = _MODEL.fullmatch(model.model)
    target = TARGETS.get(model.target)
    standing = _BY_CHANGE.get(message.change) or _standing(model)
    if not _TENANT.fullmatch(model.tenant):
        raise Rejected(Violation("model.tenant", "malformed", "A tenant is 1 to 64 of [a-z0-9_-]."))
    if named is None:
        raise Rejected(Violation("model.model", "malformed", "A model is named NAME@VERSION."))
    if standing is None or target is None:
        raise Rejected(Violation("change", "unknown_value", "The change, or what the model is, is not known here."))
    return TrainedRecord(
        tenant=model.tenant,
        name=named[1],
        version=named[2],
        tier=Tier.of(model.tier),
        standing=standing,
        changed_at=message.changed_at.ToDatetime(tzinfo=UTC),
        target=target,
        address=model.address,
        files=dict(model.files),
        carrier=dict(carrier),
    )
