"""Prompts and variants as files: what `put` reads is what `show` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import typer
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from headrace.inference.v1.prompts_pb2 import Prompt
from headrace.inference.v1.variants_pb2 import Variant

M = TypeVar("M", bound=Message)

#: What a file says; the rest is the server's to say.
_OF_PROMPTS = ("name", "note", "system", "examples", "question")
_OF_VARIANTS = (
    "name",
    "prompt",
    "prompt_version",
    "prompt_label",
    "backend",
    "model_version",
    "reading",
    "decoding",
)


def read_prompt(file: Path) -> Prompt:
    """Reads a prompt. Raises BadParameter, which names the field."""
    return _read(file, Prompt(), _OF_PROMPTS)


def read_variant(file: Path) -> Variant:
    """Reads a variant. Raises BadParameter, which names the field."""
    return _read(file, Variant(), _OF_VARIANTS)


def _read(file: Path, message: M, known: tuple[str, ...]) -> M:
    try:
        parsed = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read ({type(error).__name__}).") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise typer.BadParameter(f"{file}{where}: this is no YAML.") from None
    if not isinstance(parsed, dict):
        raise typer.BadParameter(f"{file} has no fields; say {', '.join(known)}.")
    if unknown := [str(name) for name in parsed if name not in known]:
        raise typer.BadParameter(f"{file}: there is no field {unknown[0]}; say {', '.join(known)}.")
    try:
        return ParseDict(parsed, message)
    except ParseError as error:
        raise typer.BadParameter(f"{file}: {error}") from None


def prompt_text(prompt: Prompt) -> str:
    """A prompt as its file."""
    return _text(prompt, _OF_PROMPTS)


def variant_text(variant: Variant) -> str:
    """A variant as its file."""
    return _text(variant, _OF_VARIANTS)


def _text(message: Message, known: tuple[str, ...]) -> str:
    said = MessageToDict(message, preserving_proto_field_name=True)
    in_order = {name: said[name] for name in known if said.get(name)}
    return yaml.dump(in_order, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as they are, line by line."""


def _lines(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _lines)
