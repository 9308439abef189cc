"""The reference pages hold every call, topic and setting, and say when they are stale."""

from __future__ import annotations

from headrace import topics

from docs import generate_reference
from docs.contracts import load_services, load_types

PAGES = generate_reference.render()


def test_every_call_is_there_with_its_comment() -> None:
    for service in load_services():
        assert f"## {service.name}" in PAGES["grpc.md"]
        for method in service.methods:
            assert f"### {method.name}\n\n{method.comment}" in PAGES["grpc.md"]


def test_every_message_that_a_call_needs_is_there() -> None:
    types = load_types()
    for name in ("headrace.query.v1.Answer", "headrace.privacy.v1.Tier", "headrace.feedback.v1.FeedbackSubmitted"):
        assert f"### {name}\n\n{types[name].comment}" in PAGES["grpc.md"]


def test_every_topic_is_there() -> None:
    assert all(f"| `{topic.name}` |" in PAGES["topics.md"] for topic in topics.ALL)


def test_every_setting_is_there() -> None:
    for service, settings in generate_reference.load_settings().items():
        for name in settings.model_fields:
            assert f"`HEADRACE_{service.upper()}_{name.upper()}`" in PAGES["settings.md"]


def test_a_cell_never_breaks_its_table() -> None:
    assert generate_reference.table(("a",), [("x|y\nz",)]) == ["| a |", "| --- |", "| x\\|y z |", ""]
