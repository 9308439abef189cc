"""What the pages tell people to type exists."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from headrace_client.cli.app import build_app

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "libs/client/README.md", *sorted((ROOT / "docs").glob("[ht]*/*.md"))]

#: Brought by another package.
ELSEWHERE = {"up", "down", "status", "doctor", "demo"}


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(match[1], id=f"{page.name}:{number}")
        for page in PAGES
        for number, match in enumerate(re.finditer(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL))
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles_and_its_imports_exist(code: str) -> None:
    tree = compile(code, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names)


@pytest.mark.parametrize("block", blocks("console"))
def test_commands_and_their_options_exist(block: str) -> None:
    for line in block.splitlines():
        if line.startswith("$ headrace "):
            check_command(shlex.split(line.removeprefix("$ headrace "), comments=True))


def check_command(words: list[str]) -> None:
    command: Any = typer.main.get_command(build_app())
    while hasattr(command, "commands") and words[0] not in ELSEWHERE and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    options = {name for parameter in getattr(command, "params", ()) for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("line", ["nonsense", "ask --nonsense", "documents nonsense"])
def test_a_command_that_does_not_exist_is_found_out(line: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_command(line.split())
