"""Makes the package `headrace` from the contracts: messages, gRPC stubs, their types, the topics and who may call what.

    python protos/generate.py

Everything lands in protos/gen, which git ignores.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

PROTOS = Path(__file__).parent
GENERATED = PROTOS / "gen"
FRESH = PROTOS / "gen.new"

HEADER = '''"""The topics, made from protos/topics by protos/generate.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

{imports}

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Topic(Generic[M]):
    """A topic and what holds for it; protos/topics/<name>.yaml says why."""

    name: str
    message: type[M]
    partitions: int
    retention_hours: int
    max_message_bytes: int
    json: bool  # whether a publisher may send canonical JSON
    has_dead_letters: bool

    @property
    def dead_letters(self) -> Topic[DeadLetter]:
        """Where events of this topic go that a service cannot handle."""
        if not self.has_dead_letters:
            raise LookupError(f"{{self.name}} has no dead letters")
        return Topic(f"{{self.name}}.dlq", DeadLetter, 1, self.retention_hours, 1_048_576, False, False)


'''


def compile_messages() -> None:
    files = sorted(str(p.relative_to(PROTOS)) for p in PROTOS.glob("headrace/**/*.proto"))
    out = FRESH.relative_to(PROTOS)
    arguments = [f"--{plugin}={out}" for plugin in ("python_out", "grpc_python_out")]
    arguments += [f"--{plugin}=quiet:{out}" for plugin in ("mypy_out", "mypy_grpc_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *arguments, *files]
    subprocess.run(command, cwd=PROTOS, check=True)


def write_topics() -> None:
    topics = [yaml.safe_load(p.read_text()) for p in sorted(PROTOS.glob("topics/*.yaml"))]
    (FRESH / "headrace" / "topics.py").write_text(
        _imports(topics) + "\n".join(_constant(t) for t in topics) + _all(topics)
    )


def _imports(topics: list[dict[str, Any]]) -> str:
    messages = {_module(t["message"]): set[str]() for t in topics}
    for topic in topics:
        messages[_module(topic["message"])].add(topic["message"].rsplit(".", 1)[1])
    messages["headrace.stream.v1.dead_letter_pb2"] = {"DeadLetter"}
    lines = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(messages.items())]
    return HEADER.format(imports="\n".join(lines))


def _module(message: str) -> str:
    """Finds the file that defines a message, "headrace.query.v1.QuerySubmitted"."""
    package, name = message.rsplit(".", 1)
    folder = PROTOS / package.replace(".", "/")
    found = [p for p in folder.glob("*.proto") if f"message {name} {{" in p.read_text()]
    if not found:
        raise SystemExit(f"{message}: no such message under protos/; mend the topic's YAML")
    return f"{package}.{found[0].stem}_pb2"


def _constant(topic: dict[str, Any]) -> str:
    message = topic["message"].rsplit(".", 1)[1]
    numbers = f"{topic['partitions']}, {topic['retention_hours']}, {topic['max_message_bytes']}"
    values = f'"{topic["name"]}", {message}, {numbers}, {"json" in topic["formats"]}, {topic["dead_letters"]}'
    return f"#: {topic['description']}\n{_name(topic)}: Topic[{message}] = Topic({values})\n"


def _name(topic: dict[str, Any]) -> str:
    return str(topic["name"]).upper().replace(".", "_")


def _all(topics: list[dict[str, Any]]) -> str:
    names = ", ".join(_name(t) for t in topics)
    every = f"\n#: Every topic, dead letters not counted.\nALL: tuple[Topic[Any], ...] = ({names})\n"
    return every + _parties(topics, "producers", "writes to") + _parties(topics, "consumers", "reads")


def _parties(topics: list[dict[str, Any]], key: str, verb: str) -> str:
    listed = "\n".join(f"    {t['name']!r}: {tuple(t[key])!r}," for t in topics)
    comment = f'#: Who {verb} each topic, by name: services, and "products" for everybody outside.'
    return f"\n{comment}\n{key.upper()}: dict[str, tuple[str, ...]] = {{\n{listed}\n}}\n"


ACCESS_HEADER = '''"""Who may call what, made from protos/access.yaml by protos/generate.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call one method, and which of the request's fields their token decides.

    roles: as tokens name them, "service:retriever" for a service. tenant, subject: the field's path, "question.tenant",
    or "". everybody: whether a token of all tenants may leave the tenant out.
    """

    roles: frozenset[str]
    tenant: str
    subject: str
    everybody: bool


'''


def write_access() -> None:
    table = yaml.safe_load((PROTOS / "access.yaml").read_text())
    (FRESH / "headrace" / "access.py").write_text(
        ACCESS_HEADER
        + f"#: What each role is.\nROLES: dict[str, str] = {table['roles']!r}\n\n"
        + f"#: Services that are called without a token.\nOPEN: frozenset[str] = frozenset({table['open']!r})\n\n"
        + '#: By full name, "headrace.query.v1.QueryService/Ask". What is not here is called by nobody.\n'
        + "METHODS: dict[str, Access] = {\n"
        + "".join(
            _access(f"{service}/{name}", entry)
            for service, names in table["methods"].items()
            for name, entry in names.items()
        )
        + "}\n"
    )


def _access(method: str, entry: dict[str, Any]) -> str:
    tenant, subject = entry.get("tenant", ""), entry.get("subject", "")
    roles, everybody = sorted(entry["roles"]), entry.get("everybody", False)
    return f"    {method!r}: Access(frozenset({roles!r}), {tenant!r}, {subject!r}, {everybody}),\n"


def replace_generated() -> None:
    """Puts the new package in the old one's place only once it is whole: a mistake in a contract breaks nothing."""
    compile_messages()
    write_topics()
    write_access()
    (FRESH / "headrace" / "py.typed").touch()
    shutil.rmtree(GENERATED, ignore_errors=True)
    FRESH.rename(GENERATED)


if __name__ == "__main__":
    shutil.rmtree(FRESH, ignore_errors=True)
    FRESH.mkdir()
    replace_generated()
