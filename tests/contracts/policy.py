"""What must hold for a topic, as functions from a topic's YAML to the list of what is wrong with it.

Each message says what to change. The tests run them over protos/topics/*.yaml, and over tampered copies that each rule
must catch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor
from headrace import topics as generated

Topic = dict[str, Any]
Rule = Callable[[Topic], Iterator[str]]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "protos" / "topics"

KEYS = {
    "name", "description", "message", "key", "formats", "producers", "consumers", "partitions", "retention_hours",
    "max_message_bytes", "tier", "text", "dead_letters", "example",
}  # fmt: skip
#: An hour for what is worthless once read, a day for text that nobody has masked yet, a week for the rest: longer than
#: a long weekend's outage, short enough that an erasure never has to wait for retention.
RETENTION_HOURS = {1, 24, 168}
#: Text as it was submitted, secrets included, may rest this long.
RAW_HOURS = 24
#: Who may read text as it was submitted: the door, the one who masks, and the one who keeps people's own words.
RAW_READERS = {"ingest", "classifier", "feedback"}
#: May be lost or repeated, so they are watched and never dead-lettered.
LOSSY = {"answer.chunk"}
#: The largest record that the embedded broker and the composed one take.
BROKER_BYTES = 8 * 1024 * 1024
#: raw: as it was submitted. raw_sealed: the same, sealed for the classifier. sealed: secrets masked, and sealed where
#: the tier or the owner asks for it.
TEXT_STATES = {"raw", "raw_sealed", "sealed", "none"}
SEALED_STATES = {"raw_sealed", "sealed"}
TIERS = {"public", "tier_1", "tier_2"}
PROTECTED = "headrace.privacy.v1.ProtectedText"


def load(folder: Path = FOLDER) -> dict[str, Topic]:
    """Every topic's YAML, by the name of its file without the suffix."""
    return {p.stem: yaml.safe_load(p.read_text()) for p in sorted(folder.glob("*.yaml"))}


def services() -> set[str]:
    """The services that there are: the folders under services/."""
    return {p.parent.name for p in (ROOT / "services").glob("*/pyproject.toml")}


def problems(topic: Topic) -> list[str]:
    """Everything that is wrong with one topic. A missing key hides the other rules."""
    missing = list(has_every_key(topic))
    return missing or [problem for rule in RULES for problem in rule(topic)]


def has_every_key(topic: Topic) -> Iterator[str]:
    for key in sorted(KEYS - topic.keys()):
        yield f"{key}: missing; give it a value"
    for key in sorted(topic.keys() - KEYS):
        yield f"{key}: unknown; one of {sorted(KEYS)}"


def has_a_proper_name(topic: Topic) -> Iterator[str]:
    if not re.fullmatch(r"[a-z]+(\.[a-z_]+)+", topic["name"]):
        yield "name: write it as area.happened, in lower case"
    if not str(topic["description"]).endswith("."):
        yield "description: one sentence, with its full stop"


def message_exists(topic: Topic) -> Iterator[str]:
    if _descriptor(topic) is None:
        yield f"message: no {topic['message']} under protos/headrace"


def example_is_a_message(topic: Topic) -> Iterator[str]:
    """Parses by the canonical JSON, survives the wire, and is more than an empty message."""
    descriptor = _descriptor(topic)
    if descriptor is None:
        return
    made = message_factory.GetMessageClass(descriptor)
    try:
        example = json_format.ParseDict(topic["example"], made())
    except json_format.ParseError as error:
        yield f"example: {error}"
        return
    wire = example.SerializeToString()
    if not wire:
        yield "example: is an empty message; fill it in"
    if made.FromString(wire) != example or json_format.Parse(json_format.MessageToJson(example), made()) != example:
        yield "example: does not survive the wire and back"
    if len(wire) > topic["max_message_bytes"]:
        yield "example: is larger than max_message_bytes"


def key_is_in_the_message(topic: Topic) -> Iterator[str]:
    """A key is made of fields: "query.query_id", "tenant/source/document_id", "query_id or trace_id"."""
    descriptor = _descriptor(topic)
    for path in re.split(r"/| or ", topic["key"]):
        if descriptor is not None and not _resolves(path, descriptor):
            yield f"key: {path} is no field of {topic['message']}"


def _resolves(path: str, descriptor: Descriptor) -> bool:
    """Whether a path leads to a string field, from the message or from a message that is directly in it."""
    starts = [descriptor, *(f.message_type for f in descriptor.fields if f.message_type and not f.is_repeated)]
    return any(_follow(path.split("."), start) for start in starts)


def _follow(names: list[str], descriptor: Descriptor) -> bool:
    field = descriptor.fields_by_name.get(names[0])
    if field is None:
        return False
    if len(names) == 1:
        return bool(field.type == field.TYPE_STRING)
    return field.message_type is not None and _follow(names[1:], field.message_type)


def formats_fit_the_producers(topic: Topic) -> Iterator[str]:
    expected = ["protobuf", "json"] if "products" in topic["producers"] else ["protobuf"]
    if topic["formats"] != expected:
        yield f"formats: {expected}: JSON is for products, and they may always use it"


def parties_exist(topic: Topic) -> Iterator[str]:
    known = services() | {"products"}
    for role in ("producers", "consumers"):
        if not topic[role]:
            yield f"{role}: nobody; then the topic need not exist"
        for party in sorted(set(topic[role]) - known):
            yield f"{role}: {party} is not one of {sorted(known)}"


def is_kept_for_an_allowed_time(topic: Topic) -> Iterator[str]:
    if topic["retention_hours"] not in RETENTION_HOURS:
        yield f"retention_hours: one of {sorted(RETENTION_HOURS)}"


def has_a_size(topic: Topic) -> Iterator[str]:
    if not 0 < topic["max_message_bytes"] <= BROKER_BYTES:
        yield f"max_message_bytes: 1 to {BROKER_BYTES}, the largest that the broker takes"
    if not 0 < topic["partitions"] <= 64:
        yield "partitions: 1 to 64"


def states_tier_and_text(topic: Topic) -> Iterator[str]:
    if topic["tier"] not in TIERS:
        yield f"tier: one of {sorted(TIERS)}"
    if topic["text"] not in TEXT_STATES:
        yield f"text: one of {sorted(TEXT_STATES)}"


def raw_text_stays_short_and_near(topic: Topic) -> Iterator[str]:
    if topic["text"] not in {"raw", "raw_sealed"}:
        return
    if topic["retention_hours"] > RAW_HOURS:
        yield f"retention_hours: at most {RAW_HOURS} where text is raw, since secrets in it are not masked"
    for reader in sorted(set(topic["consumers"]) - RAW_READERS):
        yield f"consumers: {reader} may not read raw text; only {sorted(RAW_READERS)} may"


def text_state_is_true(topic: Topic) -> Iterator[str]:
    """After the door, and only there, text travels as ProtectedText."""
    descriptor = _descriptor(topic)
    if descriptor is None:
        return
    protected = PROTECTED in _closure(descriptor)
    if protected != (topic["text"] in SEALED_STATES):
        holds = "holds" if protected else "does not hold"
        yield f"text: {topic['message']} {holds} ProtectedText, and that is what sealed text is"


def only_the_door_sends_raw_text(topic: Topic) -> Iterator[str]:
    """The one who masks comes next; after it nothing is raw."""
    is_raw = topic["text"] == "raw_sealed"
    if topic["text"] in SEALED_STATES and is_raw != (topic["consumers"] == ["classifier"]):
        yield "text: raw_sealed is what the classifier alone reads, and all that it reads"
    if is_raw and "raw" not in topic["example"]:
        yield "example: shows no sealed text in `raw`"


def tier_2_examples_are_sealed(topic: Topic) -> Iterator[str]:
    """Whoever copies an example must not copy a leak."""
    for path, content in _protected_in(topic["example"]):
        if "plain" in content and (topic["text"] == "raw_sealed" or topic["example"].get("tier") == "TIER_2"):
            yield f"example: {path} is in the clear, and its tier is TIER_2"


def _protected_in(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if {"plain", "sealed"} & node.keys():
            yield path, node
        for key, value in node.items():
            yield from _protected_in(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from _protected_in(value, f"{path}[{place}]")


def _closure(descriptor: Descriptor, seen: frozenset[str] = frozenset()) -> set[str]:
    found = {descriptor.full_name}
    for field in descriptor.fields:
        if field.message_type and field.message_type.full_name not in found | seen:
            found |= _closure(field.message_type, seen | found)
    return found


def dead_letters_fit_the_consumers(topic: Topic) -> Iterator[str]:
    """A service that consumes must have somewhere to put what it can't handle."""
    consumed = bool(set(topic["consumers"]) - {"products"}) and topic["name"] not in LOSSY
    if topic["dead_letters"] is not consumed:
        yield f"dead_letters: {str(consumed).lower()}, since {'a' if consumed else 'no'} service depends on each record"


def agrees_with_the_code(topic: Topic) -> Iterator[str]:
    found = next((t for t in generated.ALL if t.name == topic["name"]), None)
    if found is None:
        yield "name: headrace.topics.ALL lacks it; run `make setup`"
        return
    made = {
        "message": found.message.DESCRIPTOR.full_name,
        "partitions": found.partitions,
        "retention_hours": found.retention_hours,
        "max_message_bytes": found.max_message_bytes,
        "dead_letters": found.has_dead_letters,
    }
    for key, value in made.items():
        if topic[key] != value:
            yield f"{key}: headrace.topics has {value}; run `make setup`"
    if ("json" in topic["formats"]) != found.json:
        yield "formats: headrace.topics disagrees; run `make setup`"


RULES: tuple[Rule, ...] = (
    has_a_proper_name,
    message_exists,
    example_is_a_message,
    key_is_in_the_message,
    formats_fit_the_producers,
    parties_exist,
    is_kept_for_an_allowed_time,
    has_a_size,
    states_tier_and_text,
    raw_text_stays_short_and_near,
    text_state_is_true,
    only_the_door_sends_raw_text,
    tier_2_examples_are_sealed,
    dead_letters_fit_the_consumers,
    agrees_with_the_code,
)


def _descriptor(topic: Topic) -> Descriptor | None:
    try:
        return descriptor_pool.Default().FindMessageTypeByName(topic["message"])
    except KeyError:
        return None
