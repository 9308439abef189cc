"""`headrace prompts` and `headrace variants`, over the real servicers."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode
from headrace.inference.v1.prompts_pb2_grpc import add_PromptServiceServicer_to_server
from headrace.inference.v1.variants_pb2_grpc import add_VariantServiceServicer_to_server
from headrace_inference.adapters.memory_variants import MemoryVariantBooks
from headrace_inference.backend_file import read_backends
from headrace_runtime.errors import Conflict, Failure, NotFound, Rejected

from libs.client.tests.test_cli import Ran, headrace_command
from services.inference.tests.test_variants import Instance

BRIEF = """\
name: brief
system: |-
  You answer from the passages.
  Be brief.
question: |-
  {passages}

  Question: {question}
"""
SHORT = """\
name: short
prompt: brief
reading:
  passages: 2
decoding:
  max_output_tokens: 64
"""


class Translated(grpc.aio.ServerInterceptor):
    """Failures as statuses, as the service's own door does."""

    async def intercept_service(self, continuation, details):  # type: ignore[no-untyped-def]
        handler = await continuation(details)

        async def unary(request, context):  # type: ignore[no-untyped-def]
            codes = {Rejected: StatusCode.INVALID_ARGUMENT, NotFound: StatusCode.NOT_FOUND}
            try:
                return await handler.unary_unary(request, context)
            except Failure as error:
                code = StatusCode.FAILED_PRECONDITION if isinstance(error, Conflict) else codes[type(error)]
                await context.abort(code, str(error))

        return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, handler.response_serializer)


@pytest.fixture
async def where() -> AsyncIterator[str]:
    """An inference of prompts and variants, and where it is."""
    one, server = Instance(MemoryVariantBooks()), grpc.aio.server(interceptors=[Translated()])
    add_PromptServiceServicer_to_server(one.prompts, server)
    add_VariantServiceServicer_to_server(one.variants, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"inference=127.0.0.1:{port}"
    await server.stop(None)


async def put(where: str, tmp_path: Path, text: str, *, what: str = "prompts") -> Ran:
    file = tmp_path / "it.yaml"
    file.write_text(text)
    return await headrace_command(what, "put", str(file), where=where)


async def test_a_prompt_is_put_labelled_and_followed(where: str, tmp_path: Path) -> None:
    ran = await put(where, tmp_path, BRIEF)
    assert (ran.code, ran.out) == (0, "Prompt brief is version 1.\n")
    assert "headrace prompts label brief production 1" in ran.err
    ran = await headrace_command("prompts", "label", "brief", "production", "1", "--reason", "The first", where=where)
    assert ran.out == "Label production of brief names version 1.\n"
    ran = await put(where, tmp_path, BRIEF)
    assert (ran.out, ran.err) == ("Prompt brief is version 1, as it was.\n", "")
    await put(where, tmp_path, BRIEF.replace("Be brief.", "Be very brief."))
    ran = await headrace_command("prompts", "label", "brief", "production", "2", where=where)
    assert ran.out == "Label production of brief names version 2, before it version 1.\n"
    ran = await headrace_command("prompts", "label", "brief", "production", "--take-away", where=where)
    assert ran.out == "Label production of brief names nothing, before it version 2.\n"


async def test_what_is_shown_can_be_put_again(where: str, tmp_path: Path) -> None:
    text = BRIEF + "examples:\n- asked: |-\n    [1] A.\n\n    Question: b?\n  answered: A [1].\n"
    await put(where, tmp_path, text)
    ran = await headrace_command("prompts", "show", "brief", where=where)
    assert "You answer from the passages.\n" in ran.out
    assert (await put(where, tmp_path, ran.out)).out == "Prompt brief is version 1, as it was.\n"
    ran = await headrace_command("prompts", "show", "brief", "1", "--json", where=where)
    assert json.loads(ran.out)["examples"] == [{"asked": "[1] A.\n\nQuestion: b?", "answered": "A [1]."}]


async def test_a_diff_shows_the_lines_that_changed(where: str, tmp_path: Path) -> None:
    await put(where, tmp_path, BRIEF)
    ran = await headrace_command("prompts", "diff", "brief", where=where)
    assert ran.code == 2
    assert "no other version" in ran.err
    await headrace_command("prompts", "label", "brief", "production", "1", where=where)
    await put(where, tmp_path, BRIEF.replace("Be brief.", "Be very brief."))
    ran = await headrace_command("prompts", "diff", "brief", where=where)
    assert ran.out.splitlines() == [
        "--- brief version 1 (production)",
        "+++ brief version 2",
        "@@ -2,5 +2,5 @@",
        " system: |-",
        "   You answer from the passages.",
        "-  Be brief.",
        "+  Be very brief.",
        " question: |-",
        "   {passages}",
    ]
    ran = await headrace_command("prompts", "diff", "brief", "2", "2", where=where)
    assert ran.out == "Versions 2 and 2 show a model the same.\n"


async def test_the_list_shows_labels_and_what_comes_with_headrace(where: str, tmp_path: Path) -> None:
    await put(where, tmp_path, BRIEF)
    await headrace_command("prompts", "label", "brief", "production", "1", where=where)
    ran = await headrace_command("prompts", "list", where=where)
    _, brief, shipped = ran.out.splitlines()
    assert brief.split()[:3] == ["brief", "1", "production"]
    assert "comes with Headrace" in shipped
    ran = await headrace_command("prompts", "list", "brief", "--json", where=where)
    assert [(p["name"], p["version"], p["labels"]) for p in ran.json] == [("brief", 1, ["production"])]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BRIEF.replace("system", "sytem"), "there is no field sytem"),
        (BRIEF.replace("{question}", "{query}"), "prompt.question"),
        ("- a", "has no fields"),
        ("name: [", "line 1: this is no YAML"),
        (BRIEF + "examples:\n- asked: a\n  anwsered: b\n", "anwsered"),
    ],
)
async def test_a_wrong_file_is_told_by_what_is_wrong(where: str, tmp_path: Path, text: str, told: str) -> None:
    ran = await put(where, tmp_path, text)
    assert ran.code == 2
    assert told in " ".join(ran.err.split()).replace("│ ", "").replace(" │", "")


async def test_a_variant_is_put_listed_and_shown(where: str, tmp_path: Path) -> None:
    ran = await put(where, tmp_path, SHORT, what="variants")
    assert ran.code == 1
    assert "no version of the prompt brief has the label production" in ran.err
    await put(where, tmp_path, BRIEF)
    await headrace_command("prompts", "label", "brief", "production", "1", where=where)
    ran = await put(where, tmp_path, SHORT, what="variants")
    assert (ran.code, ran.out) == (0, "Variant short is version 1.\n")
    ran = await headrace_command("variants", "show", "short", where=where)
    assert (await put(where, tmp_path, ran.out, what="variants")).out == "Variant short is version 1, as it was.\n"
    ran = await headrace_command("variants", "list", where=where)
    assert ran.out.splitlines()[2].split()[:4] == ["short", "1", "brief", "production"]
    await headrace_command("prompts", "label", "brief", "production", "--take-away", where=where)
    ran = await headrace_command("variants", "list", "short", where=where)
    assert "short version 1 cannot answer: no version of the prompt brief has the label production." in ran.err
    ran = await headrace_command("variants", "show", "short", "--json", where=where)
    (variant,) = ran.json
    assert variant["broken"]
    assert (variant["reading"]["passages"], variant["decoding"]["max_output_tokens"]) == (2, 64)


async def test_backends_are_listed(where: str) -> None:
    ran = await headrace_command("variants", "backends", where=where)
    _, local, far = ran.out.splitlines()
    assert local.split()[:3] == ["local", "scripted", "0123456789abcdef"]
    assert local.split()[-7:] == ["0", "0", "up", "0", "0", "0", "0"]
    assert far.split()[-7:-4] == ["1", "2", "up"]
    ran = await headrace_command("variants", "backends", "--json", where=where)
    assert [b["name"] for b in ran.json] == ["local", "far"]


async def test_the_files_of_the_how_to_work(where: str, tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "prompts.md").read_text()
    prompt, variant, backends = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert (await put(where, tmp_path, prompt)).out == "Prompt brief is version 1.\n"
    await headrace_command("prompts", "label", "brief", "production", "1", where=where)
    ran = await put(where, tmp_path, variant, what="variants")
    assert ran.out == "Variant shorter is version 1.\n", ran.err
    (tmp_path / "backends.yaml").write_text(backends)
    assert [entry.name for entry in read_backends(tmp_path / "backends.yaml")] == ["local", "large"]
