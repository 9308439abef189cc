"""Writes the reference of the `headrace` command from the command itself.

python docs/generate_cli.py           writes docs/reference/cli.md
python docs/generate_cli.py --check   fails when that page is stale
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from headrace_client.cli.app import complete_app

PAGE = Path(__file__).parent / "reference" / "cli.md"

HEADER = """\
<!-- Made by docs/generate_cli.py from the command itself; change that, not this. -->

# The `headrace` command

Every verb has `--help`. With `--json`, standard output holds JSON and nothing else: one object, or one a line for what
is a list. Progress and errors go to standard error.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed: standard error says why, and what to do |
| 2 | used wrongly, or the request was refused field by field |
| 3 | the privacy policy forbids it |
| 130 | stopped with Ctrl-C |
"""


def render() -> str:
    """The page's text."""
    root: Any = typer.main.get_command(complete_app())
    verbs = root.list_commands(None)
    sections = [section for verb in verbs for section in _sections(root.commands[verb], f"headrace {verb}")]
    return "\n".join([HEADER, *sections])


def _sections(command: Any, name: str) -> Iterator[str]:
    """A verb's section, then those of the verbs below it."""
    yield "\n".join(_lines(command, name))
    below: dict[str, Any] = getattr(command, "commands", {})
    for verb, each in below.items():
        yield from _sections(each, f"{name} {verb}")


def _lines(command: Any, name: str) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{_help(command)}\n"
    if hasattr(command, "commands"):
        return
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    usage = " ".join([name, *(_usage(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])])
    yield f"```console\n$ {usage}\n```\n"
    if command.params:
        yield "| | | default |\n| --- | --- | --- |"
        yield from (_row(parameter) for parameter in [*arguments, *options])
        yield ""


def _help(command: Any) -> str:
    """The help text, an example in it as code."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    shown = [f"Example: `{p.removeprefix('Example: ')}`" if p.startswith("Example: ") else p for p in paragraphs]
    return "\n\n".join(shown)


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    several = "…" if argument.nargs == -1 else ""
    return f"{name}{several}" if argument.required else f"[{name}{several}]"


def _row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    names = [_usage(parameter)] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    shown = ", ".join(f"`{name}`" for name in names) + ("" if is_argument else _value(parameter))
    variable = f" Variable: `{parameter.envvar}`." if parameter.envvar else ""
    return " | ".join(
        ["| " + shown.replace("|", "\\|"), f"{parameter.help or ''}{variable}", f"{_default(parameter)} |"]
    )


def _value(option: Any) -> str:
    """What an option takes; nothing for a switch."""
    if option.is_flag:
        return ""
    annotation = option.type_descriptor.annotation
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return " " + "|".join(str(choice.value) for choice in annotation)
    return f" {option.metavar or ('NUMBER' if annotation in (int, float) else 'TEXT')}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    return f"`{default}`" if parameter.show_default and default not in (None, "", False) else ""


def is_fresh(page: Path = PAGE) -> bool:
    """Whether a page says what the command says now."""
    return page.exists() and page.read_text() == render()


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        PAGE.write_text(render())
    elif not is_fresh():
        sys.stderr.write("docs/reference/cli.md is stale: run python docs/generate_cli.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
