"""The how-to of the privacy team, run from its first command to its last, its output compared with what it shows."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from headrace_client import Client
from headrace_client.errors import NotFound
from headrace_embedded.trial import Trial

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "privacy-team.md"

#: What the page writes where an id stands: the first time it shows one, the reader learns it.
NAMES = ("QUERY", "GRANT", "TRAINING", "ERASURE")
UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
SECONDS = 120

ONE, OTHER = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10", "1b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"


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
            learned = Shown(step.shows, tuple(done.stdout.splitlines()), self.known).learned()
            assert learned is not None, f"{step.command}\n{done.stdout}\nis not\n" + "\n".join(step.shows)
            self.known |= learned

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
        return re.sub(rf"\b(?:{'|'.join(NAMES)})\b", lambda name: self.known.get(name[0], name[0]), text)


class Shown:
    """The output that a page has, held against a command's own.

    A line that is … alone stands for any lines, or none; within a line … stands for anything. A name stands for the id
    that is known by it, or for one that is learned here.
    """

    def __init__(self, expected: tuple[str, ...], actual: tuple[str, ...], known: Mapping[str, str]) -> None:
        self._expected = expected
        self._actual = actual
        self._known = known
        self._failed: set[tuple[int, int]] = set()

    def learned(self, line: int = 0, at: int = 0) -> dict[str, str] | None:
        """The ids that the output tells, from a line of the page on; None where the two differ."""
        if line == len(self._expected):
            return {} if at == len(self._actual) else None
        if (line, at) in self._failed:
            return None
        found = self._skipping(line, at) if self._expected[line] == "…" else self._line(line, at)
        if found is None:
            self._failed.add((line, at))
        return found

    def _skipping(self, line: int, at: int) -> dict[str, str] | None:
        found = self.learned(line + 1, at)
        return self.learned(line, at + 1) if found is None and at < len(self._actual) else found

    def _line(self, line: int, at: int) -> dict[str, str] | None:
        matched = at < len(self._actual) and self._pattern(line).fullmatch(self._actual[at].rstrip())
        rest = self.learned(line + 1, at + 1) if matched else None
        if not matched or rest is None:
            return None
        mine = matched.groupdict()
        return mine | rest if all(rest.get(name, value) == value for name, value in mine.items()) else None

    def _pattern(self, line: int) -> re.Pattern[str]:
        pattern = re.escape(self._expected[line]).replace("…", ".*")
        for name in NAMES:
            meant = self._known.get(name) or f"(?P<{name}>{UUID})"
            pattern = meant.join(re.split(rf"\b{name}\b", pattern))
        return re.compile(pattern)


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
        ("echo a; echo b", ("a",)),
        ("echo a; echo b", ("…", "a")),
        ("echo tow", ("two",)),
        ("echo", ("QUERY",)),
        (f"echo {ONE}; echo {OTHER}", ("QUERY", "QUERY")),
        ("seq 300", ("…",) * 9 + ("never",)),
    ],
)
def test_a_page_that_has_rotted_is_found_out(tmp_path: Path, command: str, shows: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        Reader(tmp_path, tmp_path).follow(Step(command, 0, shows))


def test_a_reader_learns_ids_and_uses_them(tmp_path: Path) -> None:
    reader = Reader(tmp_path, tmp_path)
    reader.follow(Step(f"echo above; echo 'asked as {ONE}: so'; echo {ONE}", 0, ("…", "asked as QUERY: …", "QUERY")))
    reader.follow(Step("echo QUERY", 0, (ONE,)))


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
