"""Every check: what is wrong is named by field and reason, and never by its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from headrace_ingest.checks import (
    MAX_FILE_BYTES,
    MAX_MARKDOWN_BYTES,
    DocumentFields,
    QueryFields,
    check_document,
    check_markdown,
    check_page,
    check_query,
    check_tenant,
    readable_document_id,
    readable_name,
)
from headrace_runtime.errors import Rejected
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.tests.makers import CANARY

GOOD = QueryFields(str(uuid4()), "demo", "shop", "What does nonlocal do?", "user-1", "talk-1", ["handbook"])
FILE = DocumentFields(str(uuid4()), "demo", "handbook", "a/b.md", "Title", "https://x", "text/markdown", b"# A")


def violations(check: Callable[..., object], *arguments: Any, **named: Any) -> list[str]:
    try:
        check(*arguments, **named)
    except Rejected as rejected:
        return [str(violation) for violation in rejected.violations]
    return []


def test_no_description_holds_the_value() -> None:
    with pytest.raises(Rejected) as caught:
        check_query(QueryFields(*[CANARY * 300] * 6, sources=[CANARY + "!"]))
    assert len(caught.value.violations) == 7
    assert all(CANARY not in repr(violation) for violation in caught.value.violations)


def test_what_is_right_passes() -> None:
    check_query(GOOD)
    check_query(replace(GOOD, subject="", conversation_id="", sources=[], text="?" * 8_000))
    check_document(FILE)
    check_document(replace(FILE, title="", uri="", content=None, media_type=""))
    check_tenant("demo", query_id=str(uuid4()))
    check_markdown("text")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"query_id": ""}, ["query_id: missing"]),
        ({"query_id": CANARY}, ["query_id: not_a_uuid"]),
        ({"query_id": "\x00"}, ["query_id: not_a_uuid"]),
        ({"tenant": ""}, ["tenant: missing"]),
        ({"tenant": "a" * 65}, ["tenant: too_long"]),
        ({"tenant": "Demo"}, ["tenant: malformed"]),
        ({"tenant": "demo\n"}, ["tenant: malformed"]),
        ({"tenant": "de\x00mo"}, ["tenant: malformed"]),
        ({"product": ""}, ["product: missing"]),
        ({"product": CANARY + "!"}, ["product: malformed"]),
        ({"text": ""}, ["text: missing"]),
        ({"text": " \n\t"}, ["text: empty"]),
        ({"text": CANARY * 300}, ["text: too_long"]),
        ({"text": CANARY + "\x00"}, ["text: has_nul"]),
        ({"text": "\x00" * 8_001}, ["text: too_long", "text: has_nul"]),
        ({"subject": "s" * 129}, ["subject: too_long"]),
        ({"subject": "\x00"}, ["subject: has_nul"]),
        ({"conversation_id": "c" * 129}, ["conversation_id: too_long"]),
        ({"sources": ["ok", "Not Ok", ""]}, ["sources[1]: malformed", "sources[2]: missing"]),
        ({"sources": ["s"] * 33}, ["sources: too_long"]),
        ({"tenant": "", "text": "", "query_id": "x"}, ["query_id: not_a_uuid", "tenant: missing", "text: missing"]),
    ],
)
def test_each_violation_of_a_query(change: dict[str, Any], expected: list[str]) -> None:
    assert violations(check_query, replace(GOOD, **change)) == expected


def test_a_prefix_leads_the_fields() -> None:
    assert violations(check_query, replace(GOOD, text=""), prefix="question.") == ["question.text: missing"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"submission_id": ""}, ["submission_id: missing"]),
        ({"submission_id": CANARY}, ["submission_id: not_a_uuid"]),
        ({"source": "A B"}, ["source: malformed"]),
        ({"document_id": ""}, ["document_id: missing"]),
        ({"document_id": "d" * 513}, ["document_id: too_long"]),
        ({"document_id": "a\x00b"}, ["document_id: has_nul"]),
        ({"title": CANARY * 20}, ["title: too_long"]),
        ({"uri": "u" * 2_049}, ["uri: too_long"]),
        ({"content": b""}, ["content.data: empty"]),
        ({"content": bytes(MAX_FILE_BYTES + 1)}, ["content.data: too_large"]),
        ({"media_type": "image/png"}, ["content.media_type: unsupported"]),
        ({"content": b"", "media_type": ""}, ["content.data: empty", "content.media_type: unsupported"]),
    ],
)
def test_each_violation_of_a_document(change: dict[str, Any], expected: list[str]) -> None:
    assert violations(check_document, replace(FILE, **change)) == expected


def test_a_document_needs_text_that_fits_an_event() -> None:
    assert violations(check_markdown, " \n") == ["content.data: empty"]
    assert violations(check_markdown, "é" * (MAX_MARKDOWN_BYTES // 2 + 1)) == ["content.data: too_large"]
    assert violations(check_markdown, "é" * (MAX_MARKDOWN_BYTES // 2)) == []


def test_a_page_is_asked_for_by_what_can_be_stored() -> None:
    assert violations(check_page, "demo", "handbook", "a\x00") == ["page_token: has_nul"]
    assert violations(check_page, "", "X", "") == ["tenant: missing", "source: malformed"]


def test_what_is_no_name_is_not_repeated() -> None:
    assert readable_name("demo") == "demo"
    assert readable_name(CANARY + " ") == readable_name("a" * 65) == ""
    assert readable_document_id("a/b.md") == "a/b.md"
    assert readable_document_id("a\x00") == readable_document_id("") == readable_document_id("d" * 513) == ""


anything = st.text(max_size=200)


@given(st.lists(anything, min_size=6, max_size=46), st.integers(1, 300))
def test_no_violation_holds_any_part_of_a_value(values: list[str], times: int) -> None:
    # The marker makes a value recognizable: one letter of it could stand in any sentence.
    marked = [f"⟦{value * times}⟧" for value in values]
    with pytest.raises(Rejected) as caught:
        check_query(QueryFields(*marked[:6], sources=marked[6:]))
    told = str(caught.value) + "".join(v.field + v.description for v in caught.value.violations)
    assert "⟦" not in told
    assert "⟧" not in told
    assert all(v.reason in {"not_a_uuid", "malformed", "too_long", "has_nul"} for v in caught.value.violations)
