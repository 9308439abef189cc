"""The how-to of routes on the whole house: kinds, a second variant, its share, what is logged of it, and who did it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_client import Client
from headrace_client.errors import NotFound
from headrace_embedded.trial import Trial

from services.inference.tests.kinds_of_questions import EXAMPLES

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]

QUESTION = "What does the nonlocal statement do?"
VARIANT = {
    "name": "brief",
    "prompt": "grounded-answer",
    "prompt_version": 1,
    "reading": {"passages": 1},
    "decoding": {"max_output_tokens": 48},
}


class Developer:
    """Somebody with a shell on the machine."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home, self.folder = home, folder

    async def runs(self, *words: str) -> str:
        return await asyncio.to_thread(self._run, words)

    def _run(self, words: tuple[str, ...]) -> str:
        command = [str(Path(sys.executable).with_name("headrace")), *words]
        environment = {**os.environ, "HEADRACE_HOME": str(self.home), "COLUMNS": "160"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def writes(self, name: str, content: Any) -> str:
        (self.folder / name).write_text(yaml.safe_dump(content, sort_keys=False))
        return name


@pytest.fixture
def developer(stack: Trial, tmp_path: Path) -> Developer:
    return Developer(stack.home, tmp_path)


async def asked(client: Client) -> AnswerCompleted:
    """Asks, and waits until the answer is in the log."""
    query_id = str(uuid.uuid4())
    await client.answer(QUESTION, tenant="demo", product="docs-search", query_id=query_id)
    for _ in range(100):
        try:
            return (await client.interaction(tenant="demo", query_id=query_id)).interaction
        except NotFound:
            await asyncio.sleep(0.1)
    raise AssertionError("the interaction was not stored")


async def test_a_second_variant_gets_one_kind_of_question(client: Client, developer: Developer) -> None:
    kinds = [{"name": name, "examples": list(examples)} for name, examples in EXAMPLES.items()]
    told = await developer.runs("routes", "kinds", "put", developer.writes("kinds.yaml", {"kinds": kinds}))
    assert "Version 1 of the kinds is in force." in told
    await developer.runs("variants", "put", developer.writes("brief.yaml", VARIANT))
    put = ("--arm", "brief=1", "--fallback", "default", "--shadow", "default=1", "--reason", "Try it")
    told = await developer.runs("routes", "put", "what-is", *put)
    assert "Route what-is is version 1: 100 % brief 1." in told
    try:
        told = await developer.runs("routes", "explain", QUESTION, "--tier", "public")
        assert told.startswith("brief 1 would answer")
        answer = await asked(client)
        assert (answer.variant.name, answer.variant.version) == ("brief", "1")
        routing = answer.routing
        assert (routing.kind, routing.route, routing.reason) == ("what-is", "what-is", "share")
        assert routing.confidence > 0.5
        audit = await developer.runs("audit", "show", "--tenant", "demo", "--last", "50")
        for words in (
            "changed demo's kinds of query: version 1",
            "changed who answers what-is queries of demo: version 1",
        ):
            assert words in audit
    finally:
        await developer.runs("routes", "delete", "what-is", "--reason", "Enough")
    answer = await asked(client)
    assert (answer.variant.name, answer.routing.kind, answer.routing.reason) == ("default", "what-is", "default")
