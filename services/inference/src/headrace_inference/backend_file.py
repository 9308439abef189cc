"""The file that says which backends there are. Each mistake is told by its field, and never by its value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from headrace_runtime.errors import Conflict
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from headrace_inference.meters import Prices

Price = Annotated[Decimal, Field(ge=0, le=100_000, allow_inf_nan=False)]


_TWICE = "a field stands here twice"


class PriceFile(BaseModel):
    """US dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: Price = Decimal(0)
    output: Price = Decimal(0)
    cached_input: Price | None = None


class _Backend(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    name: str = Field(pattern=r"^[a-z0-9_-]{1,64}$")
    model: str = ""
    context: int | None = Field(None, ge=256, le=1_048_576)
    calls_per_minute: int = Field(0, ge=0, le=1_000_000)
    waiting: int | None = Field(None, ge=0, le=100_000)
    rest_after: int = Field(3, ge=1, le=1_000)
    rest_seconds: float = Field(5.0, gt=0, le=3_600)
    prices: PriceFile = PriceFile()

    @property
    def price_list(self) -> Prices:
        """As they are counted with."""
        return Prices(self.prices.input, self.prices.output, self.prices.cached_input)


class EngineBackend(_Backend):
    """A model within the process. What is None is taken from the settings."""

    kind: Literal["engine"]
    slots: int | None = Field(None, ge=1, le=256)
    threads: int | None = Field(None, ge=1, le=256)


class ServerBackend(_Backend):
    """A server that speaks OpenAI's protocol. key_variable: the environment variable that holds its key."""

    kind: Literal["openai"]
    url: str
    # Capitals alone, as variables are: a key that stands here by mistake must not come back in an error.
    key_variable: str = Field("", pattern=r"^([A-Z_][A-Z0-9_]*)?$")
    timeout: float = Field(60.0, gt=0, le=3_600)
    attempts: int = Field(3, ge=1, le=10)
    in_flight: int = Field(16, ge=1, le=10_000)

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("is no address: say the server's base, for example http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("holds a password: put it into an environment variable and name that in key_variable")
        return url


class BackendFile(BaseModel):
    """The file. The first backend is the default one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backends: list[Annotated[EngineBackend | ServerBackend, Field(discriminator="kind")]] = Field(
        min_length=1, max_length=64
    )


BackendEntry = EngineBackend | ServerBackend


def read_backends(path: Path) -> Sequence[BackendEntry]:
    """Reads the file. Raises Conflict with each field that is wrong."""
    try:
        parsed = yaml.load(path.read_text("utf-8"), Loader=_Once)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise Conflict(f"HEADRACE_INFERENCE_BACKENDS: {path} cannot be read ({type(error).__name__})") from None
    except yaml.YAMLError as error:
        raise Conflict(f"{path}{_line(error)}: {_what_is_wrong(error)}") from None
    try:
        entries = BackendFile.model_validate(parsed).backends
    except ValidationError as error:
        raise Conflict("\n".join(f"{path}: {line}" for line in _in_words(error))) from None
    if twice := [name for name, count in Counter(e.name for e in entries).items() if count > 1]:
        raise Conflict(f"{path}: backends: two have the name {twice[0]}")
    return entries


def key_of(entry: ServerBackend, environ: Mapping[str, str]) -> SecretStr:
    """The server's key, from the variable that the file names. Raises Conflict when that is not set."""
    if entry.key_variable and not environ.get(entry.key_variable):
        raise Conflict(f"the backend {entry.name} takes its key from {entry.key_variable}, which is not set")
    return SecretStr(environ[entry.key_variable] if entry.key_variable else "")


class _Once(yaml.SafeLoader):
    """Takes each field once: of two, YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if len(set(names)) < len(names):
            raise yaml.constructor.ConstructorError(None, None, _TWICE, node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _what_is_wrong(error: yaml.YAMLError) -> str:
    return _TWICE if getattr(error, "problem", None) == _TWICE else "this is no YAML"


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _in_words(error: ValidationError) -> list[str]:
    # A value may be a key that stands where its variable's name should: only fields and expectations are told.
    return [f"{_path(e['loc'])}: {_expectation(e['type'], e['msg'])}" for e in error.errors(include_input=False)]


def _path(parts: tuple[Any, ...]) -> str:
    path = ""
    for part in parts:
        if part in {"engine", "openai"}:  # pydantic names the member of the union
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or "the file"


def _expectation(kind: str, said: str) -> str:
    match kind:
        case "extra_forbidden":
            return "there is no such field"
        case "union_tag_invalid" | "union_tag_not_found":
            return "kind is engine or openai"
        case _:
            return said.removeprefix("Value error, ")
