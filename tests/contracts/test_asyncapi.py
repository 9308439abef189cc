"""docs/reference/asyncapi.yaml says what protos/ says, is AsyncAPI 3, and what it shows can be used as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from grpc_tools import protoc
from headrace import topics
from headrace.query.v1.answer_pb2 import AnswerChunk
from headrace_privacy import Tier
from headrace_stream import Event

from docs import generate_asyncapi
from tests.contracts import policy

Node = dict[str, Any]

PAGE: Node = yaml.safe_load(generate_asyncapi.PAGE.read_text())
TOPICS = policy.load()
MESSAGES: Node = PAGE["components"]["messages"]
JSON = [name for name, m in MESSAGES.items() if m["contentType"] == "application/json"]
PROTOBUF = [name for name in MESSAGES if name not in JSON]


def an_object(required: dict[str, Any], **optional: Any) -> Node:
    properties = required | optional
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


TEXT = {"type": "string", "minLength": 1}
REFERENCE = an_object({"$ref": {"type": "string", "pattern": "^#/"}})
KAFKA_CHANNEL = an_object(
    {
        "topic": TEXT,
        "partitions": {"type": "integer", "minimum": 1},
        "topicConfiguration": an_object(
            {
                "cleanup.policy": {"type": "array", "items": {"enum": ["delete", "compact"]}},
                "retention.ms": {"type": "integer", "minimum": 1},
                "max.message.bytes": {"type": "integer", "minimum": 1},
            }
        ),
        "bindingVersion": TEXT,
    }
)
#: The parts of AsyncAPI 3.0.0 that we use, read in its specification.
ASYNCAPI = an_object(
    {
        "asyncapi": {"const": "3.0.0"},
        "info": an_object({"title": TEXT, "version": TEXT}, description=TEXT),
        "channels": {
            "type": "object",
            "additionalProperties": an_object(
                {
                    "address": TEXT,
                    "messages": {"type": "object", "minProperties": 1, "additionalProperties": REFERENCE},
                },
                description=TEXT,
                bindings=an_object({"kafka": KAFKA_CHANNEL}),
            ),
        },
        "operations": {
            "type": "object",
            "additionalProperties": an_object(
                {"action": {"enum": ["send", "receive"]}, "channel": REFERENCE},
                messages={"type": "array", "items": REFERENCE, "minItems": 1},
                summary=TEXT,
                tags={"type": "array", "items": an_object({"name": TEXT})},
            ),
        },
        "components": an_object(
            {
                "schemas": {"type": "object"},
                "messages": {
                    "type": "object",
                    "propertyNames": {"pattern": r"^[a-zA-Z0-9.\-_]+$"},
                    "additionalProperties": an_object(
                        {"payload": {"type": "object"}, "contentType": TEXT, "headers": REFERENCE},
                        name=TEXT,
                        title=TEXT,
                        summary=TEXT,
                        bindings={"type": "object"},
                        examples={"type": "array", "items": {"type": "object", "required": ["payload"]}},
                    ),
                },
            }
        ),
    },
    defaultContentType=TEXT,
    servers={"type": "object", "additionalProperties": {"type": "object", "required": ["host", "protocol"]}},
)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    if isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(page: Node, reference: str) -> Any:
    found: Any = page
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def problems(page: Node) -> list[str]:
    """What is wrong with a page: structure, references that lead nowhere, operations on another channel's message."""
    found = [error.message for error in jsonschema.Draft202012Validator(ASYNCAPI).iter_errors(page)]
    for reference in references(page):
        try:
            resolve(page, reference)
        except KeyError:
            found.append(f"{reference} leads nowhere")
    for name, operation in page["operations"].items():
        strangers = [m["$ref"] for m in operation["messages"] if not m["$ref"].startswith(operation["channel"]["$ref"])]
        found += [f"{name}: {m} is another channel's" for m in strangers]
    return found


def test_the_page_is_fresh() -> None:
    assert generate_asyncapi.is_fresh()


def test_a_stale_page_is_caught(tmp_path: Path) -> None:
    stale = tmp_path / "asyncapi.yaml"
    stale.write_text(generate_asyncapi.PAGE.read_text().replace("partitions: 8", "partitions: 9", 1))
    assert not generate_asyncapi.is_fresh(stale)


def test_the_page_is_asyncapi() -> None:
    assert problems(PAGE) == []


@pytest.mark.parametrize(
    ("place", "key", "value", "problem"),
    [
        ("#/info", "version", "", "should be non-empty"),
        ("#/operations/ingest.receive.query.submitted", "action", "subscribe", "is not one of"),
        ("#/channels/query.submitted/messages/QuerySubmitted", "$ref", "#/components/nothing", "leads nowhere"),
        (
            "#/operations/ingest.receive.query.submitted/channel",
            "$ref",
            "#/channels/query.refused",
            "another channel's",
        ),
    ],
)
def test_a_tampered_page_is_caught(place: str, key: str, value: str, problem: str) -> None:
    page = deepcopy(PAGE)
    resolve(page, place)[key] = value
    assert any(problem in found for found in problems(page))


def test_every_topic_and_its_dead_letters_are_channels() -> None:
    dead = {f"{name}.dlq" for name, topic in TOPICS.items() if topic["dead_letters"]}
    assert set(PAGE["channels"]) == set(TOPICS) | dead


def test_every_party_has_its_operation() -> None:
    expected = {
        f"{party}.{action}.{name}"
        for name, topic in TOPICS.items()
        for action, parties in (("send", topic["producers"]), ("receive", topic["consumers"]))
        for party in parties
    }
    assert {name for name in PAGE["operations"] if not name.endswith(".dlq")} == expected


def test_only_products_send_json() -> None:
    senders = {
        name
        for name, operation in PAGE["operations"].items()
        if operation["action"] == "send" and any(m["$ref"].endswith("Json") for m in operation["messages"])
    }
    assert senders
    assert all(name.startswith("products.") for name in senders)


@pytest.mark.parametrize("name", PROTOBUF)
def test_a_proto_payload_compiles_alone_and_reads_the_same_bytes(name: str, tmp_path: Path) -> None:
    message = MESSAGES[name]
    shown = compile_alone(message["payload"]["schema"], message["name"], tmp_path)
    real = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(message["name"]))
    for example in message.get("examples", []):
        wire = json_format.ParseDict(example["payload"], real()).SerializeToString()
        assert json_format.MessageToDict(shown.FromString(wire)) == json_format.MessageToDict(real.FromString(wire))


def compile_alone(schema: str, message: str, folder: Path) -> type[Message]:
    """The class that a stranger gets who has only the page."""
    (folder / "shown.proto").write_text(schema)
    arguments = [f"-I{folder}", f"-I{Path(protoc.__file__).parent / '_proto'}", "--include_imports"]
    out = folder / "shown.binpb"
    assert protoc.main(["protoc", *arguments, f"--descriptor_set_out={out}", "shown.proto"]) == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(message))


@pytest.mark.parametrize("name", JSON)
def test_a_json_payload_is_a_schema_that_its_examples_fit(name: str) -> None:
    message = MESSAGES[name]
    schema = jsonschema.Draft7Validator(message["payload"])
    jsonschema.Draft7Validator.check_schema(message["payload"])
    for example in message["examples"]:
        schema.validate(example["payload"])
        assert not schema.is_valid(example["payload"] | {"unknown": 1})


def test_two_judgements_in_one_feedback_do_not_fit() -> None:
    message = MESSAGES["FeedbackSubmittedJson"]
    both = message["examples"][0]["payload"] | {"rating": 3}
    assert not jsonschema.Draft7Validator(message["payload"]).is_valid(both)


def test_no_place_of_this_machine_is_in_the_page() -> None:
    assert not re.search(r"/(home|root|tmp)/", generate_asyncapi.PAGE.read_text())


def test_the_headers_are_those_that_the_bus_writes() -> None:
    event = Event(
        topic=topics.ANSWER_CHUNK,
        message=AnswerChunk(),
        key="",
        event_id=UUID(int=1),
        source="inference",
        correlation_id="",
        causation_id="",
        tenant="demo",
        tier=Tier.TIER_2,
    )
    written = event.headers(datetime(2026, 11, 21, tzinfo=UTC))
    shown = PAGE["components"]["schemas"]["CloudEventHeaders"]
    assert set(written) == set(shown["properties"]) - {"traceparent", "tracestate"}
    jsonschema.Draft7Validator(shown).validate(written)
