"""The file of backends: what it may say, and how a mistake is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from headrace_inference.app import entries_of
from headrace_inference.backend_file import EngineBackend, ServerBackend, key_of, read_backends
from headrace_inference.settings import Settings
from headrace_runtime.errors import Conflict
from pydantic import SecretStr

WHOLE = """
backends:
  - name: local
    kind: engine
  - name: large
    kind: openai
    url: https://models.example.com/v1
    model: org/large
    key_variable: LARGE_KEY
    context: 8192
    timeout: 30
    attempts: 2
    calls_per_minute: 600
    in_flight: 32
    prices: {input: 0.15, output: 0.6, cached_input: 0.075}
"""


def with_line(line: str) -> str:
    """The file, where the last backend says this instead of what it says of the same."""
    first, last = WHOLE.split("  - name: large\n")
    key = line.split(":", maxsplit=1)[0]
    kept = [one for one in ["    name: large", *last.splitlines()] if not one.strip().startswith(f"{key}:")]
    return "\n".join([first + "  -", *kept, f"    {line}"])


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "backends.yaml"
    path.write_text(text)
    return path


def test_a_file_says_what_stands_side_by_side(tmp_path: Path) -> None:
    local, large = read_backends(file(tmp_path, WHOLE))
    assert isinstance(local, EngineBackend)
    assert isinstance(large, ServerBackend)
    assert (large.url, large.calls_per_minute, large.in_flight) == ("https://models.example.com/v1", 600, 32)
    assert large.price_list.input == Decimal("0.15")
    assert key_of(large, {"LARGE_KEY": "sk-1"}).get_secret_value() == "sk-1"


def test_a_key_that_is_not_set_is_missed_by_name(tmp_path: Path) -> None:
    _, large = read_backends(file(tmp_path, WHOLE))
    assert isinstance(large, ServerBackend)
    with pytest.raises(Conflict, match="LARGE_KEY, which is not set"):
        key_of(large, {})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tiemout: 3", "backends[1].tiemout: there is no such field"),
        ("timeout: soon", "backends[1].timeout: Input should be a valid number"),
        ("timeout: 0", "backends[1].timeout: Input should be greater than 0"),
        ("calls_per_minute: -1", "backends[1].calls_per_minute: Input should be greater than"),
        ("in_flight: 0", "backends[1].in_flight: Input should be greater than"),
        ("url: models.example.com", "backends[1].url: is no address"),
        ("url: https://a:hunter2@models.example.com", "backends[1].url: holds a password"),
        ("key: sk-secret", "backends[1].key: there is no such field"),
        ("key_variable: sk-secret", "backends[1].key_variable: String should match pattern"),
        ("kind: magic", "backends[1]: kind is engine or openai"),
        ("name: Large", "backends[1].name: String should match pattern"),
        ("name: local", "backends: two have the name local"),
        ("prices: {input: -1}", "backends[1].prices.input: Input should be greater than"),
        ("prices: {input: .nan}", "backends[1].prices.input: Input should be a finite number"),
        ("prices: {gold: 1}", "backends[1].prices.gold: there is no such field"),
        ("timeout: [", ": this is no YAML"),
        ("timeout: 3\n    attempts: 1", "a field stands here twice"),
        ("key_variable: skabcdef0123", "backends[1].key_variable: String should match pattern"),
    ],
)
def test_each_mistake_is_told_by_its_field_and_never_by_its_value(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(Conflict) as refused:
        read_backends(file(tmp_path, with_line(line)))
    assert told in str(refused.value)
    assert "sk-secret" not in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "skabcdef" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "backends: []", "- a", "backends: {}"])
def test_a_file_without_backends_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Conflict):
        read_backends(file(tmp_path, text))


def test_a_file_that_is_not_there_is_missed_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="HEADRACE_INFERENCE_BACKENDS"):
        read_backends(tmp_path / "nowhere.yaml")


def test_without_a_file_there_is_one_backend_as_the_settings_say(tmp_path: Path) -> None:
    (engine,) = entries_of(Settings(database="postgresql://x"))
    assert (engine.name, engine.kind) == ("local", "engine")
    (server,) = entries_of(
        Settings(
            database="postgresql://x",
            backend="openai",
            openai_url="http://127.0.0.1:8000/v1",
            openai_key=SecretStr("k"),
            openai_timeout=7,
        )
    )
    assert isinstance(server, ServerBackend)
    assert (server.name, server.timeout, server.key_variable) == ("local", 7, "HEADRACE_INFERENCE_OPENAI_KEY")
    assert len(entries_of(Settings(database="postgresql://x", backends=file(tmp_path, WHOLE)))) == 2
