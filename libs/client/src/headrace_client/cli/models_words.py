"""Models and lineages in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from headrace.training.v1 import models_pb2
from headrace.training.v1.models_pb2 import Model, Rollout
from headrace.training.v1.service_pb2 import GetModelResponse, LineageNode, TraceLineageResponse

from headrace_client.cli.governance import moment
from headrace_client.tiers import tier_word

COLUMNS = ["model", "state", "gate", "since", "dataset", "tier", "variant"]
LINEAGE_COLUMNS = ["what", "which", "how many", "state", "tier", "made of"]

_STATES = {
    models_pb2.MODEL_STATE_CANDIDATE: "candidate",
    models_pb2.MODEL_STATE_CANARY: "canary",
    models_pb2.MODEL_STATE_LIVE: "live",
    models_pb2.MODEL_STATE_RETIRED: "retired",
}
#: Nodes that hold up a table: each is named by so many characters of its id.
_ID_CHARACTERS = 40


def state_word(model: Model) -> str:
    """ "live", "stands by", "retired (gate)"."""
    word = _STATES.get(model.state, "")
    if model.state == models_pb2.MODEL_STATE_LIVE and model.replaced_by:
        word = "stands by"
    if model.state == models_pb2.MODEL_STATE_RETIRED and model.ended_by:
        word = f"retired ({model.ended_by})"
    return f"{word}, condemned" if model.HasField("retire_by") and model.address else word


def model_row(model: Model) -> list[str]:
    """A line of the table."""
    judged = model.gate.HasField("judged_at")
    gate = ("passed" if model.gate.passed else "refused") if judged else "not judged"
    variant = f"{model.variant.name} {model.variant.version}".strip()
    where = [moment(model.changed_at), model.dataset_id[:16], tier_word(model.tier), variant]
    return [model.model, state_word(model), gate, *where]


def model_json(model: Model) -> Mapping[str, Any]:
    """As the contract writes it."""
    return MessageToDict(model, preserving_proto_field_name=True)


def outcome_lines(model: Model) -> Iterator[str]:
    """How it stands after somebody asked for something."""
    yield f"{model.model} is {state_word(model)}."
    if model.state == models_pb2.MODEL_STATE_CANDIDATE:
        yield "It is not in service yet, and goes on by itself: headrace models show tells how far it is."
    if model.HasField("rollout") and not model.rollout.ended:
        yield from rollout_lines(model.rollout)
    elif model.rollout.because:
        yield model.rollout.because


def serving_lines(found: GetModelResponse) -> Iterator[str]:
    """How it stands at those who serve it; nothing where nobody says."""
    if not found.HasField("serving"):
        return
    serving = found.serving
    yield "## At those who serve it"
    yield ""
    state = {"up": "It can answer."}.get(serving.state, f"It cannot answer now: {serving.state}.")
    why = f" What keeps it: {serving.failure.replace('_', ' ')}." if serving.failure else ""
    how_far = f" {serving.done:,} of {serving.of:,} passages have their vector by it." if serving.of else ""
    yield f"{state}{why}{how_far}"


def serving_json(found: GetModelResponse) -> Mapping[str, Any] | None:
    """As the contract writes it; None where nobody says."""
    if not found.HasField("serving"):
        return None
    return MessageToDict(found.serving, always_print_fields_with_no_presence=True)


def rollout_lines(rollout: Rollout) -> Iterator[str]:
    """How a canary does."""
    yield f"It gets {100 * rollout.share:g} % of the queries, until {moment(rollout.until)} UTC at the latest."
    for one in rollout.evidence:
        yield (
            f"{one.measure}: {100 * one.canary:.1f} % against {100 * one.champion:.1f} %:"
            f" {one.verdict.replace('_', ' ')}"
        )


def lineage_rows(response: TraceLineageResponse) -> Sequence[list[str]]:
    """Every node, with what it was made of."""
    behind: dict[int, list[int]] = {}
    for edge in response.edges:
        behind.setdefault(edge.to, []).append(getattr(edge, "from"))
    return [
        [
            node.kind,
            node.id[:_ID_CHARACTERS],
            str(node.count or ""),
            node.state.replace("_", " "),
            node.tier.replace("_", "-"),
            _names([response.nodes[place] for place in behind.get(place, ())]),
        ]
        for place, node in enumerate(response.nodes)
    ]


def _names(nodes: Sequence[LineageNode]) -> str:
    """The first three, and how many more."""
    names = [f"{node.kind} {node.id[:16]}".strip() for node in nodes]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def lineage_json(response: TraceLineageResponse) -> Mapping[str, Any]:
    """As the contract writes it; an edge's end that is the first node is written too."""
    return MessageToDict(response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
