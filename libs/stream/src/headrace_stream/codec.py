"""From a record's bytes to its message, with each thing that can be wrong named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message
from headrace.topics import Topic
from headrace_runtime.errors import Rejected, Violation

from headrace_stream.envelope import JSON

M = TypeVar("M", bound=Message)

# protobuf's own limit on nesting, which JSON does not have by itself.
MAX_DEPTH = 100


def decode(value: bytes | None, topic: Topic[M], headers: Mapping[str, str]) -> M:
    """Reads a record. Raises Rejected when it is not what the topic carries; the error never holds a value."""
    _check_type(topic, headers.get("ce_type", ""))
    if not value:
        raise Rejected(Violation("", "empty", "The record has no value."))
    if _is_json(value, headers.get("content-type", "")):
        return _from_json(value, topic)
    return _from_protobuf(value, topic)


def read_leniently(kind: type[M], value: bytes) -> M:
    """Reads what can be read of a refused record, to say whose it was; an empty message when nothing can."""
    try:
        if value[:1] == b"{":
            return json_format.Parse(value, kind(), ignore_unknown_fields=True, max_recursion_depth=MAX_DEPTH)
        lenient = _with_bytes_for_strings(kind.DESCRIPTOR.full_name, kind.DESCRIPTOR.file).FromString(value)
    except (DecodeError, json_format.ParseError, RecursionError, ValueError):
        return kind()
    message = kind()
    for field, content in lenient.ListFields():
        if (
            isinstance(content, bytes)
            and kind.DESCRIPTOR.fields_by_name[field.name].type == FieldDescriptor.TYPE_STRING
        ):
            setattr(message, field.name, content.decode(errors="ignore"))
    return message


def _check_type(topic: Topic[M], given: str) -> None:
    expected = topic.message.DESCRIPTOR.full_name
    if given and given != expected:
        raise Rejected(Violation("", "unknown_version", f"The header ce_type names another type; expected {expected}."))


def _is_json(value: bytes, content_type: str) -> bool:
    """Goes by the header; without one, a record that starts like a JSON object is one: no message of ours does."""
    return content_type.startswith(JSON) if content_type else value[:1] == b"{"


def _from_json(value: bytes, topic: Topic[M]) -> M:
    if not topic.json:
        raise Rejected(Violation("", "unsupported", f"The topic {topic.name} takes protobuf only."))
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise Rejected(Violation("", "not_utf8", "The record is not UTF-8.")) from None
    try:
        return json_format.Parse(text, topic.message(), ignore_unknown_fields=True, max_recursion_depth=MAX_DEPTH)
    except (json_format.ParseError, RecursionError, ValueError):
        name = topic.message.DESCRIPTOR.full_name
        raise Rejected(Violation("", "undecodable", f"The record is not the canonical JSON of {name}.")) from None


def _from_protobuf(value: bytes, topic: Topic[M]) -> M:
    try:
        return topic.message.FromString(value)
    except DecodeError:
        raise Rejected(*_explain(value, topic.message)) from None


def _explain(value: bytes, message: type[Message]) -> list[Violation]:
    """Finds the fields that are not UTF-8; where there are none, the record is no such message at all."""
    descriptor = message.DESCRIPTOR
    try:
        lenient = _with_bytes_for_strings(descriptor.full_name, descriptor.file).FromString(value)
    except DecodeError:
        return [Violation("", "undecodable", f"The record is not a {descriptor.full_name}.")]
    paths = list(_not_utf8(lenient, ""))
    return [Violation(path, "not_utf8", "The text is not UTF-8.") for path in paths] or [
        Violation("", "undecodable", f"The record is not a {descriptor.full_name}.")
    ]


@cache
def _with_bytes_for_strings(full_name: str, file: FileDescriptor) -> type[Message]:
    """Makes the message's twin whose text fields are bytes, so that a record that is not UTF-8 can be looked into."""
    pool = descriptor_pool.DescriptorPool()
    _add_file(pool, file, set())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(full_name))


def _add_file(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, done: set[str]) -> None:
    if file.name in done:
        return
    done.add(file.name)
    for dependency in file.dependencies:
        _add_file(pool, dependency, done)
    copy = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copy)
    for message in copy.message_type:
        _text_to_bytes(message)
    pool.Add(copy)


def _text_to_bytes(message: descriptor_pb2.DescriptorProto) -> None:
    if message.options.map_entry:
        return
    for field in message.field:
        if field.type == FieldDescriptor.TYPE_STRING:
            field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
    for nested in message.nested_type:
        _text_to_bytes(nested)


def _not_utf8(message: Message, prefix: str) -> Iterator[str]:
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in values:
                yield from _not_utf8(item, f"{prefix}{field.name}.")
        elif field.type == FieldDescriptor.TYPE_BYTES and not all(map(_is_utf8, values)):
            yield f"{prefix}{field.name}"


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
