"""Reads the contracts with their comments, for the pages that are made from them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

#: A comment by its place in the file.
Comments = Mapping[tuple[int, ...], str]

PROTOS = Path(__file__).parents[1] / "protos"

# Field numbers of descriptor.proto: a comment's place is a path of them.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_ONEOF, _ENUM_VALUE, _SERVICE_METHOD = 2, 8, 2, 2

_SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in FieldDescriptorProto.Type.items()
    if name not in {"TYPE_MESSAGE", "TYPE_ENUM", "TYPE_GROUP"}
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message. `type` is a scalar's name or the full name of a message or enum."""

    name: str
    json_name: str
    number: int
    type: str
    comment: str
    repeated: bool
    oneof: str
    map_types: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message with its fields in the order they are written, and the comments of its oneofs."""

    name: str
    comment: str
    fields: tuple[Field, ...]
    oneofs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum; each value is its name, number and comment."""

    name: str
    comment: str
    values: tuple[tuple[str, int, str], ...]


Type = Message | Enum


@dataclass(frozen=True, slots=True)
class Method:
    """A call of a service; requests and responses by their full names."""

    name: str
    comment: str
    request: str
    response: str
    streams: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service with its calls in the order they are written."""

    name: str
    comment: str
    methods: tuple[Method, ...]


def load_topics(folder: Path = PROTOS / "topics") -> list[dict[str, Any]]:
    """The YAML of every topic, by name."""
    return [yaml.safe_load(p.read_text()) for p in sorted(folder.glob("*.yaml"))]


def load_types(folder: Path = PROTOS) -> dict[str, Type]:
    """Every message and enum of the contracts by its full name, the well-known ones not included."""
    return {t.name: t for file in _compile(folder).file for t in _types(file, _comments(file))}


def load_services(folder: Path = PROTOS) -> list[Service]:
    """Every gRPC service of the contracts, by name."""
    found = [service for file in _compile(folder).file for service in _services(file, _comments(file))]
    return sorted(found, key=lambda service: service.name)


def _comments(file: FileDescriptorProto) -> Comments:
    return {tuple(place.path): _tidy(place.leading_comments) for place in file.source_code_info.location}


def _compile(folder: Path) -> FileDescriptorSet:
    files = sorted(str(p.relative_to(folder)) for p in folder.glob("headrace/**/*.proto"))
    with tempfile.NamedTemporaryFile(suffix=".binpb") as out:
        well_known = resources.files("grpc_tools") / "_proto"
        arguments = [f"-I{folder}", f"-I{well_known}", "--include_source_info", f"--descriptor_set_out={out.name}"]
        if protoc.main(["protoc", *arguments, *files]) != 0:
            raise SystemExit("The contracts do not compile; see above.")
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())


def _tidy(comment: str) -> str:
    return "\n".join(line.strip() for line in comment.strip().splitlines())


def _types(file: FileDescriptorProto, comments: Comments) -> Iterator[Type]:
    for index, message in enumerate(file.message_type):
        yield _message(file.package, message, comments, (_FILE_MESSAGE, index))
    for index, enum in enumerate(file.enum_type):
        yield _enum(file.package, enum, comments, (_FILE_ENUM, index))


def _services(file: FileDescriptorProto, comments: Comments) -> Iterator[Service]:
    for index, service in enumerate(file.service):
        place = (_FILE_SERVICE, index)
        methods = tuple(
            Method(
                name=method.name,
                comment=comments.get((*place, _SERVICE_METHOD, number), ""),
                request=method.input_type.lstrip("."),
                response=method.output_type.lstrip("."),
                streams=method.server_streaming,
            )
            for number, method in enumerate(service.method)
        )
        yield Service(f"{file.package}.{service.name}", comments.get(place, ""), methods)


def _message(package: str, message: DescriptorProto, comments: Comments, place: tuple[int, ...]) -> Message:
    maps = {n.name: (_type(n.field[0]), _type(n.field[1])) for n in message.nested_type if n.options.map_entry}
    fields = tuple(
        _field(message, field, maps, comments.get((*place, _MESSAGE_FIELD, index), ""))
        for index, field in enumerate(message.field)
    )
    oneofs = {o.name: comments.get((*place, _MESSAGE_ONEOF, i), "") for i, o in enumerate(message.oneof_decl)}
    return Message(f"{package}.{message.name}", comments.get(place, ""), fields, oneofs)


def _field(
    message: DescriptorProto, field: FieldDescriptorProto, maps: Mapping[str, tuple[str, str]], comment: str
) -> Field:
    return Field(
        name=field.name,
        json_name=field.json_name,
        number=field.number,
        type=_type(field),
        comment=comment,
        repeated=field.label == FieldDescriptorProto.LABEL_REPEATED,
        oneof=message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "",
        map_types=maps.get(field.type_name.rsplit(".", 1)[-1]),
    )


def _type(field: FieldDescriptorProto) -> str:
    return field.type_name.lstrip(".") or _SCALARS[field.type]


def _enum(package: str, enum: EnumDescriptorProto, comments: Comments, place: tuple[int, ...]) -> Enum:
    values = tuple((v.name, v.number, comments.get((*place, _ENUM_VALUE, i), "")) for i, v in enumerate(enum.value))
    return Enum(f"{package}.{enum.name}", comments.get(place, ""), values)


def closure(root: str, types: Mapping[str, Type]) -> list[Type]:
    """A type and all that it is made of, the root first, each once; well-known types are left out."""
    found: dict[str, Type] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop(0)
        if name not in types or name in found:
            continue
        found[name] = types[name]
        waiting += _parts(types[name])
    return list(found.values())


def _parts(type_: Type) -> list[str]:
    if isinstance(type_, Enum):
        return []
    return [part for field in type_.fields for part in (field.map_types or (field.type,))]
