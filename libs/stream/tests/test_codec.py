"""Whatever bytes arrive, a record is read or rejected by name; no other error, and no value in what is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf import json_format
from headrace import topics
from headrace.query.v1.events_pb2 import QueryAccepted, QuerySubmitted
from headrace_runtime.errors import Rejected
from headrace_stream.codec import decode, read_leniently
from hypothesis import given
from hypothesis import strategies as st

CANARY = "canary-hunter2"
AS_JSON = {"content-type": "application/json"}
AS_PROTOBUF = {"content-type": "application/protobuf"}
QUERY = QuerySubmitted(query_id="q", tenant="demo", text="What does nonlocal do? Ä 😀", sources=["a", "b"])

headers = st.sampled_from([{}, AS_JSON, AS_PROTOBUF, {"content-type": "text/plain"}])


def rejected(value: bytes | None, given_headers: Mapping[str, str], topic: Any = topics.QUERY_SUBMITTED) -> str:
    with pytest.raises(Rejected) as caught:
        decode(value, topic, given_headers)
    assert CANARY not in str(caught.value) + repr(caught.value.violations)
    return str(caught.value)


@pytest.mark.parametrize("given_headers", [{}, AS_JSON, {"content-type": "application/json; charset=utf-8"}])
def test_json_is_read(given_headers: dict[str, str]) -> None:
    assert decode(json_format.MessageToJson(QUERY).encode(), topics.QUERY_SUBMITTED, given_headers) == QUERY


@pytest.mark.parametrize("given_headers", [{}, AS_PROTOBUF, {"ce_type": "headrace.query.v1.QuerySubmitted"}])
def test_protobuf_is_read(given_headers: dict[str, str]) -> None:
    assert decode(QUERY.SerializeToString(), topics.QUERY_SUBMITTED, given_headers) == QUERY


def test_what_a_later_version_adds_is_passed_over() -> None:
    later = QUERY.SerializeToString() + b"\xfa\x3f\x03new"
    assert decode(later, topics.QUERY_SUBMITTED, {}).text == QUERY.text
    assert decode(b'{"text": "x", "new": {"a": [1]}}', topics.QUERY_SUBMITTED, {}).text == "x"


@pytest.mark.parametrize(
    ("value", "given_headers", "expected"),
    [
        (None, {}, "message: empty"),
        (b"", AS_JSON, "message: empty"),
        (CANARY.encode(), AS_PROTOBUF, "message: undecodable"),
        (CANARY.encode(), AS_JSON, "message: undecodable"),
        (f'{{"text": "{CANARY}"'.encode(), {}, "message: undecodable"),
        (f'{{"text": ["{CANARY}"]}}'.encode(), {}, "message: undecodable"),
        (f'{{"declaredTier": "{CANARY}"}}'.encode(), {}, None),
        (b'{"declaredTier": ' + b"9" * 10_000 + b"}", {}, "message: undecodable"),
        (b'{"declaredTier": 99999999999999}', {}, "message: undecodable"),
        (b'{"submittedAt": "' + CANARY.encode() + b'"}', {}, "message: undecodable"),
        (b'{"submittedAt": "9999-99-99T00:00:00Z"}', {}, "message: undecodable"),
        (b'{"text": "\\ud800"}', {}, "message: undecodable"),
        (b'{"text": NaN}', {}, "message: undecodable"),
        (b"[" * 100_000, AS_JSON, "message: undecodable"),
        (b'{"a":' * 100_000, {}, "message: undecodable"),
        (b'{"new":' * 100_000 + b"1" + b"}" * 100_000, {}, "message: undecodable"),
        (b'{"text": "\xff' + CANARY.encode() + b'"}', {}, "message: not_utf8"),
        (b"\x22\x03\xff\xfe\xfd", {}, "text: not_utf8"),
        (
            b"\x0a\x01\xff\x12\x01\xff\x42\x01a\x42\x01\xff",
            {},
            "query_id: not_utf8; tenant: not_utf8; sources: not_utf8",
        ),
        (QUERY.SerializeToString(), {"ce_type": "headrace.query.v2.QuerySubmitted"}, "message: unknown_version"),
        (QUERY.SerializeToString(), {"ce_type": CANARY}, "message: unknown_version"),
    ],
)
def test_each_way_to_be_wrong_has_its_name(
    value: bytes | None, given_headers: dict[str, str], expected: str | None
) -> None:
    if expected is None:  # an enum's unknown name is passed over, as an unknown field is
        assert decode(value, topics.QUERY_SUBMITTED, given_headers).declared_tier == 0
    else:
        assert rejected(value, given_headers) == expected


def test_json_goes_only_where_products_publish() -> None:
    assert rejected(b"{}", {}, topics.QUERY_ACCEPTED) == "message: unsupported"


def test_text_that_is_not_utf8_is_found_in_a_message_within() -> None:
    value = QueryAccepted(text="x").SerializeToString() + b"\x0a\x03\x12\x01\xff"
    assert rejected(value, {}, topics.QUERY_ACCEPTED) == "query.tenant: not_utf8"


@given(st.binary(max_size=400), headers)
def test_whatever_arrives_is_read_or_rejected(value: bytes, given_headers: dict[str, str]) -> None:
    for topic in (topics.QUERY_SUBMITTED, topics.DOCUMENT_SUBMITTED, topics.QUERY_ACCEPTED, topics.ANSWER_COMPLETED):
        try:
            message = decode(value, topic, given_headers)  # type: ignore[arg-type]
        except Rejected:
            continue
        assert message.DESCRIPTOR is topic.message.DESCRIPTOR  # type: ignore[attr-defined]


@given(st.data(), headers)
def test_a_record_with_some_bytes_changed_is_read_or_rejected(
    data: st.DataObject, given_headers: dict[str, str]
) -> None:
    whole = data.draw(st.sampled_from([QUERY.SerializeToString(), json_format.MessageToJson(QUERY).encode()]))
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(changed), topics.QUERY_SUBMITTED, given_headers)
    except Rejected as error:
        assert "nonlocal" not in str(error) + repr(error.violations)  # noqa: PT017 - either end is right


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(
    ["queryId", "tenant", "text", "declaredTier", "sources", "submittedAt", "maxDocumentTier", "x"]
)


@given(st.dictionaries(fields, values))
def test_whatever_json_arrives_is_read_or_rejected(value: dict[str, Any]) -> None:
    encoded = json.dumps(value).encode()
    try:
        message = decode(encoded, topics.QUERY_SUBMITTED, AS_JSON)
    except Rejected:
        return
    message.SerializeToString()


@given(st.binary(max_size=200))
def test_what_is_refused_is_read_as_far_as_it_goes(value: bytes) -> None:
    for candidate in (value, b"{" + value, QUERY.SerializeToString() + value):
        read_leniently(QuerySubmitted, candidate).SerializeToString()


def test_a_refused_record_still_says_whose_it_was() -> None:
    seen = read_leniently(QuerySubmitted, QUERY.SerializeToString() + b"\x22\x02\xff\xfe")
    assert (seen.query_id, seen.tenant, seen.text) == ("q", "demo", "")
    assert read_leniently(QuerySubmitted, b'{"queryId": "q", "tenant": "demo", "new": 1}').query_id == "q"
    assert read_leniently(QuerySubmitted, b"\xff\xff") == QuerySubmitted()
