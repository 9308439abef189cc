"""Writes the reference pages grpc.md, topics.md and settings.md, from protos/ and the services' Settings.

    python docs/generate_reference.py [--check]

With --check nothing is written; the exit code is 1 when a page is stale.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

if __package__ in {None, ""}:  # run as a file: the contracts module lies beside it
    sys.path.insert(0, str(Path(__file__).parents[1]))

from docs.contracts import Enum, Field, Message, Method, Service, Type, closure, load_services, load_topics, load_types

GRPC = "Every service also serves health and reflection; all errors are rich (google.rpc.Status)."
TOPICS = "What a service cannot handle goes to `<topic>.dlq`. The messages are in [asyncapi.yaml](asyncapi.yaml)."
SETTINGS = "A wrong value stops the start and says its name, its value and what was expected."

FOLDER = Path(__file__).parent / "reference"
ROOT = Path(__file__).parents[1]
MADE = "<!-- Made by docs/generate_reference.py; change what it is made from, not this. -->"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, with an empty line after it."""
    lines = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(_cell(text) for text in line)} |" for line in lines] + [""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def grpc_page(services: Sequence[Service], types: Mapping[str, Type]) -> str:
    """Every call with its messages, then the messages that they share."""
    lines = [MADE, "", "# gRPC", "", GRPC, ""]
    shown: set[str] = set()
    for service in services:
        lines += [f"## {service.name}", "", service.comment, ""]
        for method in service.methods:
            lines += _method(method, types)
            shown |= {method.request, method.response}
    lines += ["## Messages", ""]
    parts = [
        part for s in services for m in s.methods for name in (m.request, m.response) for part in closure(name, types)
    ]
    for part in sorted({p.name: p for p in parts if p.name not in shown}.values(), key=lambda p: p.name):
        lines += _type(part)
    return "\n".join(lines).rstrip() + "\n"


def _method(method: Method, types: Mapping[str, Type]) -> Iterator[str]:
    kind = "streams" if method.streams else "returns"
    yield from [f"### {method.name}", "", method.comment, ""]
    for verb, name in (("takes", method.request), (kind, method.response)):
        message = types[name]
        assert isinstance(message, Message)
        yield from [f"It {verb} `{_short(name)}`:", "", *_fields(message)]


def _type(part: Type) -> list[str]:
    lines = [f"### {part.name}", "", part.comment, ""]
    if isinstance(part, Enum):
        return lines + table(["value", "number", ""], [(f"`{n}`", str(i), comment) for n, i, comment in part.values])
    return lines + _fields(part)


def _fields(message: Message) -> list[str]:
    if not message.fields:
        return ["nothing.", ""]
    return table(["field", "type", ""], [(f"`{f.name}`", _declared(f), f.comment) for f in message.fields])


def _declared(field: Field) -> str:
    if field.map_types:
        return f"map of {_short(field.map_types[0])} to {_short(field.map_types[1])}"
    choice = f", one of {field.oneof}" if field.oneof else ""
    return ("list of " if field.repeated else "") + _short(field.type) + choice


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def topics_page(topics: Sequence[Mapping[str, Any]]) -> str:
    """Every topic in one table; asyncapi.yaml has their messages."""
    rows = [
        (
            f"`{t['name']}`",
            t["description"],
            f"`{_short(t['message'])}`",
            t["key"],
            ", ".join(t["producers"]),
            ", ".join(t["consumers"]),
            f"{t['retention_hours']} h",
            t["text"],
            "yes" if t["dead_letters"] else "no",
        )
        for t in topics
    ]
    headings = ("topic", "", "message", "key", "producers", "consumers", "kept", "text", "dead letters")
    return "\n".join([MADE, "", "# Topics", "", TOPICS, "", *table(headings, rows)])


def settings_page(settings: Mapping[str, type[BaseModel]]) -> str:
    """Every variable of every service."""
    lines = [MADE, "", "# Settings", "", SETTINGS, ""]
    for service, found in settings.items():
        prefix = f"HEADRACE_{service.upper()}_"
        rows = [
            (f"`{prefix}{name.upper()}`", _default(f), f.description or "") for name, f in found.model_fields.items()
        ]
        lines += [f"## {service}", "", *table(("variable", "default", ""), rows)]
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "empty" if field.default is None or str(field.default) == "" else f"`{field.default}`"


def load_settings() -> dict[str, type[BaseModel]]:
    """The Settings of every service."""
    names = sorted(p.parent.name for p in (ROOT / "services").glob("*/pyproject.toml"))
    modules = {name: f"headrace_{name}.settings" for name in names}
    return {n: importlib.import_module(m).Settings for n, m in modules.items() if importlib.util.find_spec(m)}


def render() -> dict[str, str]:
    """The pages by the names of their files."""
    return {
        "grpc.md": grpc_page(load_services(), load_types()),
        "topics.md": topics_page(load_topics()),
        "settings.md": settings_page(load_settings()),
    }


def main(arguments: list[str]) -> int:
    pages = render()
    if "--check" not in arguments:
        for name, text in pages.items():
            (FOLDER / name).write_text(text)
        return 0
    stale = [n for n, text in pages.items() if not (FOLDER / n).exists() or (FOLDER / n).read_text() != text]
    for name in stale:
        sys.stderr.write(f"docs/reference/{name} is stale: run python docs/generate_reference.py\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
