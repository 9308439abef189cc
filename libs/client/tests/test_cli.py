from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.trace.v1.service_pb2 import Span
from headrace_client.cli.app import build_app, load_verbs
from headrace_client.cli.bench import find_checkout
from typer.testing import CliRunner

#: The command, as a terminal starts it: a job in a shell's background would be deaf to Ctrl-C.
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from headrace_client.cli import main; main()"
)

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
TRACE = "0af7651916cd43dd8448eb211c80319c"


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


async def headrace_command(*arguments: str, where: str = "") -> Ran:
    """Runs the command in a thread of this process: its servers run in this one's loop."""
    environ = {"HEADRACE_ENDPOINTS": where, "HEADRACE_HOME": "", "COLUMNS": "100"}
    ran = await asyncio.to_thread(CliRunner().invoke, build_app(), list(arguments), env=environ)
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


async def start(*arguments: str, where: str = "") -> Process:
    """Runs the command as a user does, in a process of its own."""
    environ = {**os.environ, "HEADRACE_ENDPOINTS": where, "HEADRACE_HOME": ""}
    command = (sys.executable, "-c", MAIN, *arguments)
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environ, cwd="/")


GOLDEN = """\
It rebinds names of the enclosing scope [1].

Sources
  [1] The nonlocal statement › Simple statements › nonlocal
      python-reference · chunk 5f0c4b52 v3 · similarity 0.83

Tier       public
Grounding  supported by the sources
Model      SmolLM2-135M-Instruct 0123456789abcdef (transformers)
Prompt     grounded-answer 1
Variant    default 2
Tokens     412 in, 18 out
Time       █▓▒░▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚▚·
           █ ingest 2.0  ▓ classifier 3.0  ▒ embedder 6.0  ░ retriever 9.0
           ▚ inference 960  · bus 20  = 1,000 ms
Query      0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10
Trace      0af7651916cd43dd8448eb211c80319c
"""


async def test_an_answer_is_told_in_full(headrace: Any) -> None:
    ran = await headrace_command("ask", "What?", "--query-id", QUERY, where=headrace.ingest_only)
    assert (ran.code, ran.out) == (0, GOLDEN)
    assert ran.err == "The bus has the question …\nWriting the answer from 5 passages …\n"


async def test_json_is_one_object_and_nothing_else(headrace: Any) -> None:
    options = (
        "--tier",
        "tier_1",
        "--source",
        "a",
        "--source",
        "b",
        "--conversation",
        "c",
        "--max-document-tier",
        "public",
    )
    ran = await headrace_command("ask", "What?", "--query-id", QUERY, "--json", *options, where=headrace.ingest_only)
    [answer] = ran.json
    assert (ran.code, ran.err) == (0, "")
    assert answer == {
        "query_id": QUERY,
        "tier": "public",
        "answer": "It rebinds names of the enclosing scope [1].",
        "grounded": True,
        "grounding": "grounded",
        "citations": [
            {
                "number": 1,
                "document": "nonlocal",
                "title": "The nonlocal statement",
                "source": "python-reference",
                "section": "Simple statements › nonlocal",
                "chunk_id": "5f0c4b52-6f0e-5f0e-9d9b-0a2f6a0a6f10",
                "version": 3,
                "similarity": 0.83,
                "uri": "",
            }
        ],
        "model": {"name": "SmolLM2-135M-Instruct", "version": "0123456789abcdef", "provider": "transformers"},
        "prompt": {"name": "grounded-answer", "version": "1"},
        "variant": {"name": "default", "version": "2"},
        "usage": {"input_tokens": 412, "output_tokens": 18},
        "timings_ms": {
            "ingest": 2.0, "classifier": 3.0, "embedder": 6.0, "retriever": 9.0, "inference": 960.0, "total": 1000.0,
        },
        "trace_id": TRACE,
    }  # fmt: skip
    [asked] = headrace.queries.asked
    assert (asked.declared_tier, asked.max_document_tier, list(asked.sources), asked.conversation_id) == (
        2,
        1,
        ["a", "b"],
        "c",
    )


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ((grpc.StatusCode.PERMISSION_DENIED, "tier_2 may not be answered here"), 3, "The policy forbids it"),
        ((grpc.StatusCode.UNAVAILABLE, "kafka cannot be reached"), 1, "kafka cannot be reached"),
        ((grpc.StatusCode.INTERNAL, "internal error; trace 0af7"), 1, "trace 0af7"),
        ((grpc.StatusCode.ABORTED, "query q ended without an answer: see `headrace dlq list`"), 1, "headrace dlq list"),
    ],
)
async def test_errors_are_a_line_and_a_stable_code(headrace: Any, fault: Any, code: int, words: str) -> None:
    headrace.queries.fault = fault
    ran = await headrace_command("ask", "What?", where=headrace.ingest_only)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


async def test_a_wrong_question_is_told_field_by_field(headrace: Any) -> None:
    headrace.queries.fault = (grpc.StatusCode.INVALID_ARGUMENT, "question.text: empty")
    headrace.queries.violations = {"question.text": "The question is empty."}
    ran = await headrace_command("ask", " ", where=headrace.ingest_only)
    assert (ran.code, ran.err) == (2, "ingest refused the request:\n  question.text: The question is empty.\n")


async def test_nobody_there(free_address: Callable[[], str]) -> None:
    address = free_address()
    ran = await headrace_command("ask", "What?", where=f"ingest={address}")
    assert ran.code == 1
    assert ran.err == f"Nothing answers at {address} (ingest). Start Headrace with `headrace up`.\n"


async def test_the_codes_hold_for_a_process(headrace: Any, free_address: Callable[[], str]) -> None:
    done = await start("ask", "What?", "--query-id", QUERY, where=headrace.ingest_only)
    failed = await start("ask", "What?", where=f"ingest={free_address()}")
    wrong = await start("ask")
    assert ((await done.communicate())[0].decode(), done.returncode) == (GOLDEN, 0)
    await failed.communicate()
    await wrong.communicate()
    assert (failed.returncode, wrong.returncode) == (1, 2)


async def test_it_says_its_version() -> None:
    said = await headrace_command("--version")
    assert (said.code, said.out.split()) == (0, ["headrace", version("headrace-client")])


async def test_a_text_that_is_not_utf8_is_used_wrongly() -> None:
    asking = await start("ask", os.fsdecode(b"\xff"), where="ingest=127.0.0.1:1")
    _, err = await asking.communicate()
    assert (asking.returncode, err) == (2, b"A text that was given is not valid UTF-8.\n")


async def test_no_kafka_there(free_address: Callable[[], str]) -> None:
    address = free_address()
    for verb in (("publish", "What?"), ("dlq", "list")):
        ran = await headrace_command(*verb, where=f"kafka={address}")
        assert ran.code == 1
        assert ran.err == f"Nothing answers at {address} (Kafka). Start Headrace with `headrace up`.\n"


async def test_an_interrupt_ends_cleanly(headrace: Any) -> None:
    headrace.queries.hang = True
    process = await start("ask", "What?", where=headrace.ingest_only)
    assert process.stderr is not None
    assert b"The bus has the question" in await process.stderr.readline()
    process.send_signal(2)
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (130, "Stopped.\n")


async def test_a_timeout_says_how_to_get_the_answer_later(headrace: Any) -> None:
    headrace.queries.hang = True
    ran = await headrace_command("ask", "What?", "--query-id", QUERY, "--timeout", "0.5", where=headrace.ingest_only)
    assert ran.code == 1
    assert f"headrace ask --query-id {QUERY}" in ran.err


async def test_documents_are_put_and_what_is_left_out_has_its_reason(headrace: Any, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "deep" / "b.txt").write_text("B")
    (tmp_path / "empty.md").touch()
    (tmp_path / "code.rs").write_text("fn main() {}")
    headrace.documents.held["a.md"] = b"# A"
    options = ("--source", "notes", "--tier", "public")
    ran = await headrace_command("documents", "put", str(tmp_path), *options, where=headrace.ingest_only)
    assert ran.code == 0
    assert sorted(ran.out.splitlines()) == [
        "5 files in notes: 1 indexed, 1 unchanged, 3 skipped.",
        "indexed    deep/b.txt  (2 chunks, public)",
        f"skipped    {tmp_path}/.git  (hidden)",
        f"skipped    {tmp_path}/code.rs  (unsupported type .rs)",
        f"skipped    {tmp_path}/empty.md  (empty)",
        "unchanged  a.md  (2 chunks, public)",
    ]
    put = {r.document_id: r for r in headrace.documents.requests}["deep/b.txt"]
    assert (put.tenant, put.source, put.declared_tier, put.content.media_type) == ("demo", "notes", 1, "text/plain")


async def test_a_file_that_cannot_be_put_fails_the_command_but_not_the_others(headrace: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.md").write_text("bad")
    for number in range(20):
        (tmp_path / f"{number}.md").write_text("good")
    ran = await headrace_command(
        "documents", "put", str(tmp_path), "--source", "s", "--json", where=headrace.ingest_only
    )
    assert ran.code == 1
    outcomes = {line["document"]: line["outcome"] for line in ran.json}
    assert len(outcomes) == 21
    assert [name for name, outcome in outcomes.items() if outcome != "indexed"] == ["bad.md"]
    assert "It cannot be parsed." in next(line["reason"] for line in ran.json if line["outcome"] == "failed")


async def test_sources_and_documents_are_listed(headrace: Any) -> None:
    sources = await headrace_command("documents", "list", "--json", where=headrace.ingest_only)
    assert [(s["source"], s["tier"], s["chunks"]) for s in sources.json] == [("notes", "public", 4)]
    held = await headrace_command("documents", "list", "notes", where=headrace.ingest_only)
    assert "a.md" in held.out
    assert "b.md" in held.out
    assert "indexed" in held.out


async def test_a_document_is_deleted_once(headrace: Any) -> None:
    headrace.documents.held["a.md"] = b"# A"
    first = await headrace_command("documents", "delete", "notes", "a.md", where=headrace.ingest_only)
    assert (first.code, first.out) == (0, "a.md is gone from every search.\n")
    second = await headrace_command("documents", "delete", "notes", "a.md", where=headrace.ingest_only)
    assert (second.code, second.err) == (1, "ingest answers: no such document.\n")


async def test_each_kind_of_feedback_is_recorded_by_itself(headrace: Any) -> None:
    options = ("--thumb", "up", "--rating", "5", "--comment", "fine", "--correction", "x")
    ran = await headrace_command("feedback", QUERY, *options, "--json", where=headrace.variable)
    assert ran.code == 0
    assert [line["kind"] for line in ran.json] == ["thumb", "rating", "comment", "correction"]
    assert {r.feedback.query_id for r in headrace.feedback.recorded} == {QUERY}


@pytest.mark.parametrize("arguments", [(), (QUERY,), ("--trace", TRACE), (QUERY, "--rating", "9")])
async def test_feedback_without_a_judgement_is_used_wrongly(arguments: tuple[str, ...]) -> None:
    ran = await headrace_command("feedback", *arguments, where="feedback=127.0.0.1:1")
    assert (ran.code, ran.out) == (2, "")


async def test_a_trace_is_drawn_once_it_has_arrived(headrace: Any) -> None:
    headrace.traces.spans = [
        Span(
            trace_id=TRACE, span_id="a" * 16, service="ingest", name="send query.submitted", kind="producer",
            started_at=Timestamp(seconds=100), ended_at=Timestamp(seconds=101),
        )
    ]  # fmt: skip
    drawn = await headrace_command("trace", QUERY, where=headrace.variable)
    assert drawn.code == 0
    assert drawn.out.startswith(f"Trace {TRACE}\ningest: send query.submitted ██")
    told = await headrace_command("trace", TRACE, "--json", where=headrace.variable)
    assert told.json[0]["spans"][0]["duration_ms"] == 1000.0


async def test_a_long_trace_is_folded_unless_each_span_is_wanted(headrace: Any) -> None:
    headrace.traces.spans = [
        Span(
            trace_id=TRACE, span_id=f"{place:016x}", parent_span_id="" if place == 1 else f"{1:016x}",
            service="feedback", name="gate" if place == 1 else "SELECT rows", kind="client",
            started_at=Timestamp(seconds=place), ended_at=Timestamp(seconds=200),
        )
        for place in range(1, 92)
    ]  # fmt: skip
    short = await headrace_command("trace", TRACE, where=headrace.variable)
    assert "feedback: SELECT rows ×90" in short.out
    assert "91 spans, 1 service" in short.out
    whole = await headrace_command("trace", TRACE, "--every-span", where=headrace.variable)
    assert whole.out.count("feedback: SELECT rows ") == 90


async def test_a_trace_that_nobody_has(headrace: Any) -> None:
    ran = await headrace_command("trace", QUERY, "--wait", "0.3", where=headrace.variable)
    assert (ran.code, ran.out) == (1, "")
    assert "No span" in ran.err


async def test_the_commands_own_span_begins_the_trace(headrace: Any) -> None:
    asking = await start("ask", "What?", where=headrace.variable)  # a tracer is set up once in a process
    await asking.communicate()
    assert headrace.queries.metadata["traceparent"].startswith("00-")


def test_a_broken_package_costs_only_its_own_verbs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "verbs_of_a_test.py").write_text(
        "def add_hello(app):\n    app.command('hello')(lambda: print('hello'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    app = build_app()
    broken = EntryPoint("a", "no_such_module:add", "headrace.commands")
    good = EntryPoint("b", "verbs_of_a_test:add_hello", "headrace.commands")
    load_verbs(app, [broken, good])
    assert "no_such_module:add could not be loaded" in capsys.readouterr().err
    assert CliRunner().invoke(app, ["hello"]).output == "hello\n"


def test_the_checkout_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__main__.py").touch()
    (tmp_path / "protos" / "topics").mkdir(parents=True)
    assert find_checkout(tmp_path / "protos") == tmp_path


async def test_bench_outside_of_a_checkout_says_so() -> None:
    bench = await start("bench")
    _, err = await bench.communicate()
    assert bench.returncode == 1
    assert b"inside a checkout" in err


@pytest.mark.parametrize(
    "arguments", [(), ("documents",), ("dlq",), ("dlq", "show", "no.topic", "1"), ("ask",), ("nonsense",)]
)
async def test_wrong_use_has_its_code(arguments: tuple[str, ...]) -> None:
    ran = await headrace_command(*arguments)
    assert ran.code == 2
