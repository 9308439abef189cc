"""The how-to of the privacy team, run from its first command to its last, its output compared with what it shows."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from headrace_client import Client
from headrace_client.errors import NotFound
from headrace_embedded.trial import Trial

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "privacy-team.md"

#: What the page writes where an id stands: the first time it shows one, the reader learns it.
NAMES = ("QUERY", "GRANT", "TRAINING")
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SECONDS = 120


@dataclass(frozen=True, slots=True)
class Step:
    """One command as the page has it, how it leaves, and what it shows. Output without a line is not looked at."""

    command: str
    leaves_with: int
    shows: tuple[str, ...]


@dataclass(slots=True)
class Reader:
    """Somebody who follows the page on a machine with Headrace: remembers the ids that it has been shown."""

    folder: Path
    home: Path
    known: dict[str, str] = field(default_factory=dict)

    def follow(self, step: Step) -> None:
        """Runs a command, checks what it shows, and learns ids from it."""
        done = self._run(self._filled(step.command))
        assert done.returncode == step.leaves_with, f"{step.command}\n{done.stdout}"
        if step.shows:
            found = self._pattern(step.shows).fullmatch(done.stdout)
            assert found, f"{step.command}\n{done.stdout}\nis not\n" + "\n".join(step.shows)
            self.known.update({name: value for name, value in found.groupdict().items() if value})

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "HEADRACE_HOME": str(self.home), "PATH": path, "COLUMNS": "160"}
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def _filled(self, text: str) -> str:
        for name, value in self.known.items():
            text = re.sub(rf"\b{name}\b", value, text)
        return text

    def _pattern(self, lines: tuple[str, ...]) -> re.Pattern[str]:
        return re.compile("".join(self._line(line) for line in lines))

    def _line(self, line: str) -> str:
        """A line that is … alone stands for any lines, or none; within a line … stands for anything."""
        if line == "…":
            return r"(?:.*\n)*?"
        pattern = re.escape(self._filled(line)).replace("…", ".*")
        for name in NAMES:
            pattern = re.sub(rf"\b{name}\b", f"(?P<{name}>{UUID})", pattern)
        return rf"{pattern}[ ]*\n"


def steps(page: str) -> Iterator[Step]:
    """The commands of a page, in order, each with the output that follows it."""
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for command, *shows in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            leaves = re.search(r"#\s*leaves with (\d)", command)
            lines = tuple("".join(shows).splitlines())
            yield Step(command, int(leaves[1]) if leaves else 0, lines)


def test_the_page_is_read_as_it_is_meant() -> None:
    page = "x\n```console\n$ a QUERY   # leaves with 3\none …\n…\n$ b\n```\ny\n```python\n$ c\n```\n"
    assert list(steps(page)) == [Step("a QUERY   # leaves with 3", 3, ("one …", "…")), Step("b", 0, ())]


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        ("true", ("shown",)),
        ("false", ()),
        ("echo one; echo two", ("one",)),
        ("echo tow", ("two",)),
        ("echo", ("QUERY",)),
    ],
)
def test_a_page_that_has_rotted_is_found_out(tmp_path: Path, command: str, shows: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        Reader(tmp_path, tmp_path).follow(Step(command, 0, shows))


def test_a_reader_learns_ids_and_uses_them(tmp_path: Path) -> None:
    reader = Reader(tmp_path, tmp_path)
    query = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
    reader.follow(Step(f"echo above; echo 'asked as {query}: so'", 0, ("…", "asked as QUERY: …")))
    reader.follow(Step("echo QUERY", 0, (query,)))


async def test_the_privacy_teams_page_does_what_it_says(stack: Trial, tmp_path: Path) -> None:
    reader = Reader(tmp_path, stack.home)
    async with Client.connect(stack.endpoints) as client:
        for step in steps(PAGE.read_text()):
            await asyncio.to_thread(reader.follow, step)
            if "ask " in step.command:
                await until_logged(client, reader.known["QUERY"])
    assert set(reader.known) == set(NAMES)


async def until_logged(client: Client, query_id: str) -> None:
    """The log is written beside the answer, not before it: people read slower than that."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await client.interaction(tenant="acme", query_id=query_id)
            except NotFound:
                await asyncio.sleep(0.2)
            else:
                return
