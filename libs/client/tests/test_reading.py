"""Reading interactions and logs from the command line: what is shown, written, counted, and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from headrace.feedback.v1 import service_pb2 as feedbacks
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN

from libs.client.tests.test_cli import headrace_command

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
REFUSAL = "no live grant covers it; ask for a grant: headrace approvals request --tenant acme --purpose review"

SHOWN: dict[str, Any] = {
    "interaction": {
        "query": {"queryId": QUERY, "tenant": "acme", "product": "shop", "subject": "user-17"},
        "question": {"plain": "Where is my order?", "characters": 18},
        "text": {"plain": "On its way [1].", "characters": 15},
        "tier": "TIER_2",
        "grounding": "GROUNDING_GROUNDED",
        "citations": [{"number": 1, "chunk": {"chunkId": "c", "source": "crm", "documentId": "d", "title": "Orders"}}],
        "completedAt": "2026-11-21T09:00:01Z",
    },
    "storedAt": "2026-11-21T09:00:02Z",
    "feedback": [
        {"feedbackId": QUERY, "subject": "user-17", "thumb": "THUMB_DOWN"},
        {"feedbackId": QUERY, "correction": "It was lost."},
    ],
}

EXPORTED: list[dict[str, Any]] = [
    {
        "interactions": [
            {
                "queryId": QUERY,
                "tier": "TIER_2",
                "question": "Wo?",
                "answer": "Hier ❤",
                "grantId": "g",
                "sources": ["crm"],
            }
        ]
    },
    {"interactions": [{"queryId": QUERY, "tier": "TIER_PUBLIC", "question": "q", "correction": "c"}]},
    {"exclusions": [{"reason": "no_grant", "tier": "TIER_2", "interactions": "1200"}]},
]


def exported() -> list[feedbacks.ExportResponse]:
    return [json_format.ParseDict(response, feedbacks.ExportResponse()) for response in EXPORTED]


async def test_an_interaction_is_shown_with_all_that_made_it(headrace: Any) -> None:
    headrace.feedback.shown = json_format.ParseDict(SHOWN, feedbacks.GetResponse())
    where = f"feedback={headrace.address}"
    ran = await headrace_command("review", "show", QUERY, "--tenant", "acme", where=where)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[:5] == ["Question", "  Where is my order?", "", "Answer", "  On its way [1]."]
    assert "  [1] Orders" in lines
    assert "Tier       tier-2" in lines
    assert "Asked by   shop, for user-17" in lines
    assert lines[-2:] == ["  thumb by user-17: down", "  correction by somebody: It was lost."]
    (asked,) = headrace.feedback.asked
    assert (asked.tenant, asked.query_id) == ("acme", QUERY)


async def test_what_a_stranger_wrote_does_not_steer_the_readers_terminal(headrace: Any) -> None:
    headrace.feedback.shown = json_format.ParseDict(SHOWN, feedbacks.GetResponse())
    headrace.feedback.shown.interaction.question.plain = "first\x1b]0;mine\x07\nsecond"
    headrace.feedback.shown.feedback[1].correction = "\x9b2J"
    ran = await headrace_command("review", "show", QUERY, where=f"feedback={headrace.address}")
    assert ran.out.splitlines()[1:3] == ["  first\ufffd]0;mine\ufffd", "  second"]
    assert not {"\x1b", "\x9b", "\x07"} & set(ran.out)


async def test_as_json_it_is_one_object(headrace: Any) -> None:
    headrace.feedback.shown = json_format.ParseDict(SHOWN, feedbacks.GetResponse())
    where = f"feedback={headrace.address}"
    (shown,) = (await headrace_command("review", "show", QUERY, "--json", where=where)).json
    assert (shown["query_id"], shown["question"], shown["answer"]) == (QUERY, "Where is my order?", "On its way [1].")
    assert (shown["tier"], shown["subject"], shown["citations"][0]["title"]) == ("tier_2", "user-17", "Orders")
    assert [(one["kind"], one["value"]) for one in shown["feedback"]] == [
        ("thumb", "down"),
        ("correction", "It was lost."),
    ]


async def test_a_refused_review_says_why_and_leaves_with_3(headrace: Any) -> None:
    headrace.feedback.refusal = REFUSAL
    ran = await headrace_command("review", "show", QUERY, where=f"feedback={headrace.address}")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"The policy forbids it: {REFUSAL}.\n"


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def read_train(headrace: Any, out: Path, *more: str) -> Any:
    arguments = ("--tenant", "acme", "--purpose", "train", "--out", str(out), *more)
    return await headrace_command("datasets", "read", *arguments, where=f"feedback={headrace.address}")


async def test_a_dataset_is_written_a_line_each_and_what_is_left_out_is_counted(headrace: Any, tmp_path: Path) -> None:
    headrace.feedback.exported = exported()
    out = tmp_path / "acme.jsonl"
    ran = await read_train(headrace, out, "--source", "crm", "--since", "2026-11-01")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[0] == f"2 interactions in {out}."
    assert ran.out.splitlines()[-1].split("  ")[0] == "no live grant covers it"
    assert "1,200" in ran.out
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["tier"], row["answer"], row["grant_id"], row["correction"]) for row in rows] == [
        ("tier_2", "Hier ❤", "g", ""),
        ("public", "", "", "c"),
    ]
    assert out.stat().st_mode & 0o777 == 0o600, "it holds people's words"
    (asked,) = headrace.feedback.asked
    assert (asked.tenant, asked.purpose, list(asked.sources)) == ("acme", PURPOSE_TRAIN, ["crm"])
    assert asked.since.ToJsonString() == "2026-11-01T00:00:00Z"
    assert not asked.HasField("until")


async def test_its_summary_as_json(headrace: Any, tmp_path: Path) -> None:
    headrace.feedback.exported = exported()
    out = tmp_path / "acme.jsonl"
    (summary,) = (await read_train(headrace, out, "--json")).json
    assert summary == {
        "out": str(out),
        "interactions": 2,
        "tiers": {"public": 1, "tier_2": 1},
        "excluded": [{"reason": "no_grant", "tier": "tier_2", "interactions": 1200}],
    }


async def test_a_grant_that_ends_on_the_way_leaves_with_3_and_no_half_a_file(headrace: Any, tmp_path: Path) -> None:
    headrace.feedback.exported = exported()[:1]
    headrace.feedback.refusal = "a grant ended while it was being read"
    out = tmp_path / "acme.jsonl"
    out.write_text("the one from yesterday")
    ran = await read_train(headrace, out)
    assert ran.code == 3
    assert "a grant ended" in ran.err
    assert names_in(tmp_path) == ["acme.jsonl"]
    assert out.read_text() == "the one from yesterday"
