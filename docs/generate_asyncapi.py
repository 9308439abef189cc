"""Writes docs/reference/asyncapi.yaml, AsyncAPI 3, from protos/: what travels on the bus, and between whom.

    python docs/generate_asyncapi.py [--check]

With --check nothing is written; the exit code is 1 when the page is stale.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

if __package__ in {None, ""}:  # run as a file: the contracts module lies beside it
    sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.contracts import PROTOS, Enum, Field, Message, Type, closure, load_topics, load_types

PAGE = Path(__file__).parent / "reference" / "asyncapi.yaml"
PROTOBUF = "application/vnd.google.protobuf;version=3"
KAFKA_BINDING = "0.5.0"
HOUR_MS = 3_600_000
DEAD_LETTER = "headrace.stream.v1.DeadLetter"
TIMESTAMP = "google.protobuf.Timestamp"

Node = dict[str, Any]

INTRODUCTION = """\
What travels on Headrace's bus. Products take part through the operations that begin with `products.`: they send
protobuf or its canonical JSON (header `content-type`), and read protobuf. Every record carries CloudEvents headers in
binary mode and W3C trace context. An event is delivered at least once and takes effect exactly once: its `ce_id` says
whether it is the same.
"""

#: Every header of a record is UTF-8. Only the content type is asked of a product; the rest is made where it is missing.
HEADERS: Node = {
    "type": "object",
    "description": "CloudEvents 1.0 in Kafka's binary mode, with W3C trace context.",
    "properties": {
        "content-type": {"type": "string", "enum": ["application/protobuf", "application/json"]},
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "description": "The event's id. The same id is the same event."},
        "ce_type": {"type": "string", "description": "The message's full name, headrace.query.v1.QuerySubmitted."},
        "ce_source": {"type": "string", "description": "Who made the event: /headrace/<service>."},
        "ce_time": {"type": "string", "format": "date-time", "description": "When it was made."},
        "ce_correlationid": {"type": "string", "description": "The query's id, or the document's key."},
        "ce_causationid": {"type": "string", "description": "The id of the event that this one follows from."},
        "ce_tenant": {"type": "string", "description": "Whose data is inside."},
        "ce_dataclassification": {
            "type": "string",
            "enum": ["public", "tier_1", "tier_2"],
            "description": "The tier of what is inside. A reader that finds none treats it as tier_2.",
        },
        "traceparent": {"type": "string", "description": "W3C trace context.", "minLength": 55},
        "tracestate": {"type": "string", "description": "W3C trace context."},
    },
}


def document(topics: list[Node], types: Mapping[str, Type], version: str) -> Node:
    """The whole page."""
    dead = [dead_letters_of(t) for t in topics if t["dead_letters"]]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": version,
            "description": INTRODUCTION,
        },
        "defaultContentType": "application/protobuf",
        "servers": {
            "local": {
                "host": "127.0.0.1:9092",
                "protocol": "kafka",
                "description": "Where the embedded mode serves Kafka by default.",
            }
        },
        "channels": {t["name"]: channel(t) for t in topics + dead},
        "operations": {o["name"]: o["operation"] for t in topics + dead for o in operations(t)},
        "components": {
            "messages": {n: m for t in [*topics, *dead[:1]] for n, m in messages(t, types).items()},
            "schemas": {"CloudEventHeaders": HEADERS},
        },
    }


def dead_letters_of(topic: Node) -> Node:
    """The topic of a topic's dead letters, as if it had a YAML."""
    return {
        "name": f"{topic['name']}.dlq",
        "description": f"What could not be handled of {topic['name']}: where it is, never what it holds.",
        "message": DEAD_LETTER,
        "key": "the record's key",
        "formats": ["protobuf"],
        "producers": [c for c in topic["consumers"] if c != "products"],
        "consumers": [],
        "partitions": 1,
        "retention_hours": topic["retention_hours"],
        "max_message_bytes": 1_048_576,
        "tier": topic["tier"],
        "text": "none",
        "example": {},
    }


def channel(topic: Node) -> Node:
    text = {
        "raw": "Text is as it was submitted: secrets in it are not masked.",
        "raw_sealed": "Text is as it was submitted, and sealed: only the classifier opens it.",
        "sealed": "Secrets in the text are masked; what is TIER_2 or an end user's is sealed.",
        "none": "Holds no text.",
    }[topic["text"]]
    return {
        "address": topic["name"],
        "description": f"{topic['description']} {text} The strictest tier that may travel here: {topic['tier']}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in message_names(topic)},
        "bindings": {"kafka": channel_binding(topic)},
    }


def channel_binding(topic: Node) -> Node:
    return {
        "topic": topic["name"],
        "partitions": topic["partitions"],
        "topicConfiguration": {
            "cleanup.policy": ["delete"],
            "retention.ms": topic["retention_hours"] * HOUR_MS,
            "max.message.bytes": topic["max_message_bytes"],
        },
        "bindingVersion": KAFKA_BINDING,
    }


def message_names(topic: Node) -> list[str]:
    """One for each format: QuerySubmitted, and QuerySubmittedJson where products may send JSON."""
    name = topic["message"].rsplit(".", 1)[1]
    return [name] if topic["formats"] == ["protobuf"] else [name, f"{name}Json"]


def operations(topic: Node) -> list[Node]:
    sends = [operation(topic, party, "send") for party in topic["producers"]]
    return sends + [operation(topic, party, "receive") for party in topic["consumers"]]


def operation(topic: Node, party: str, action: str) -> Node:
    """One party's part in a topic. Services send protobuf; products may send JSON too."""
    names = message_names(topic)
    if action == "send" and party != "products":
        names = names[:1]
    made: Node = {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic['name']}"},
        "summary": f"{party} {action}s: {topic['description']}",
        "tags": [{"name": party}],
        "messages": [{"$ref": f"#/channels/{topic['name']}/messages/{name}"} for name in names],
    }
    return {"name": f"{party}.{action}.{topic['name']}", "operation": made}


def messages(topic: Node, types: Mapping[str, Type]) -> dict[str, Node]:
    made = {message_names(topic)[0]: protobuf_message(topic, types)}
    made |= {name: json_message(topic, types) for name in message_names(topic)[1:]}
    return made


def protobuf_message(topic: Node, types: Mapping[str, Type]) -> Node:
    return common(topic, types) | {
        "contentType": "application/protobuf",
        "payload": {"schemaFormat": PROTOBUF, "schema": proto_text(topic["message"], types)},
    }


def json_message(topic: Node, types: Mapping[str, Type]) -> Node:
    made = common(topic, types)
    made["name"] += " as JSON"
    return made | {"contentType": "application/json", "payload": json_schema(topic["message"], types)}


def common(topic: Node, types: Mapping[str, Type]) -> Node:
    made: Node = {
        "name": topic["message"],
        "title": topic["message"].rsplit(".", 1)[1],
        "summary": types[topic["message"]].comment.replace("\n", " "),
        "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"UTF-8: {topic['key']}."},
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }
    if topic["example"]:
        made["examples"] = [{"name": "example", "summary": "In canonical JSON.", "payload": topic["example"]}]
    return made


def proto_text(root: str, types: Mapping[str, Type]) -> str:
    """One self-contained proto file: the message first, then all that it is made of, by their short names.

    The names of packages never travel, so what it encodes and decodes is the same.
    """
    parts = closure(root, types)
    shorts = [part.name.rsplit(".", 1)[1] for part in parts]
    if len(set(shorts)) != len(shorts):
        raise SystemExit(f"{root} is made of two types with one short name; rename one.")
    blocks = [_proto_message(part) if isinstance(part, Message) else _proto_enum(part) for part in parts]
    lines = ['syntax = "proto3";', f"package {root.rsplit('.', 1)[0]};"]
    if any(TIMESTAMP in block for block in blocks):
        lines.append('import "google/protobuf/timestamp.proto";')
    return "\n\n".join(lines + blocks) + "\n"


def _proto_message(message: Message) -> str:
    lines = [*_comment(message.comment, ""), f"message {message.name.rsplit('.', 1)[1]} {{"]
    oneof = ""
    for field in message.fields:
        if field.oneof != oneof:
            lines += ["  }"] if oneof else []
            lines += [*_comment(message.oneofs[field.oneof], "  "), f"  oneof {field.oneof} {{"] if field.oneof else []
            oneof = field.oneof
        indent = "    " if oneof else "  "
        lines += [*_comment(field.comment, indent), f"{indent}{_declared(field)} {field.name} = {field.number};"]
    return "\n".join([*lines, "  }" if oneof else "", "}"]).replace("\n\n}", "\n}")


def _declared(field: Field) -> str:
    if field.map_types:
        return f"map<{', '.join(map(_short, field.map_types))}>"
    return f"repeated {_short(field.type)}" if field.repeated else _short(field.type)


def _short(name: str) -> str:
    return name if name == TIMESTAMP else name.rsplit(".", 1)[-1]


def _proto_enum(enum: Enum) -> str:
    lines = [*_comment(enum.comment, ""), f"enum {enum.name.rsplit('.', 1)[1]} {{"]
    for name, number, comment in enum.values:
        lines += [*_comment(comment, "  "), f"  {name} = {number};"]
    return "\n".join([*lines, "}"])


def _comment(comment: str, indent: str) -> list[str]:
    return [f"{indent}// {line}".rstrip() for line in comment.splitlines()]


def json_schema(root: str, types: Mapping[str, Type]) -> Node:
    """The schema of a message's canonical JSON. At most one field of a oneof is set."""
    message = types[root]
    assert isinstance(message, Message)
    made: Node = {
        "type": "object",
        "description": message.comment.replace("\n", " "),
        "properties": {f.json_name: _field_schema(f, types) for f in message.fields},
        "additionalProperties": False,
    }
    groups = [[f.json_name for f in message.fields if f.oneof == oneof] for oneof in message.oneofs]
    if groups:
        made["allOf"] = [{"not": {"required": pair}} for pair in _pairs(groups)]
    return made


def _pairs(groups: list[list[str]]) -> list[list[str]]:
    return [[a, b] for names in groups for i, a in enumerate(names) for b in names[i + 1 :]]


def _field_schema(field: Field, types: Mapping[str, Type]) -> Node:
    if field.map_types:
        made: Node = {"type": "object", "additionalProperties": _type_schema(field.map_types[1], types)}
    elif field.repeated:
        made = {"type": "array", "items": _type_schema(field.type, types)}
    else:
        made = _type_schema(field.type, types)
    return made | {"description": field.comment.replace("\n", " ")}


def _type_schema(name: str, types: Mapping[str, Type]) -> Node:
    found = types.get(name)
    if isinstance(found, Enum):
        return {"type": "string", "enum": [value for value, _, _ in found.values]}
    return json_schema(name, types) if found else dict(_JSON_SCALARS[name])


#: https://protobuf.dev/programming-guides/json/: 64-bit integers are strings, bytes are base64.
_JSON_SCALARS: dict[str, Node] = {
    "string": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "bool": {"type": "boolean"},
    "double": {"type": "number"},
    "float": {"type": "number"},
    "uint32": {"type": "integer", "minimum": 0},
    "int32": {"type": "integer"},
    "uint64": {"type": "string", "pattern": "^[0-9]+$"},
    "int64": {"type": "string", "pattern": "^-?[0-9]+$"},
    TIMESTAMP: {"type": "string", "format": "date-time"},
}


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, and no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def render() -> str:
    """The page's text."""
    version = tomllib.loads((PROTOS / "pyproject.toml").read_text())["project"]["version"]
    made = document(load_topics(), load_types(), version)
    dumped = yaml.dump(made, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return f"# Made by docs/generate_asyncapi.py from protos/; change them, not this.\n{dumped}"


def is_fresh(page: Path = PAGE) -> bool:
    """Whether a page says what protos/ says now."""
    return page.exists() and page.read_text() == render()


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        PAGE.write_text(render())
    elif not is_fresh():
        sys.stderr.write("docs/reference/asyncapi.yaml is stale: run python docs/generate_asyncapi.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
