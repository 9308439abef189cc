"""What the verbs print and how they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from headrace_embedded import checks, state
from headrace_embedded.checks import Check, Verdict
from headrace_embedded.cli import doctor, progress, up, verbs
from headrace_embedded.state import PartState, PartStatus, Status
from typer.testing import CliRunner

if TYPE_CHECKING:
    from conftest import House


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    for add in (verbs.add_up, verbs.add_down, verbs.add_status, verbs.add_doctor):
        add(app)
    return app


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(state.HOME_VARIABLE, str(tmp_path))
    return tmp_path


def test_status_says_that_nothing_runs(app: typer.Typer, home: Path) -> None:
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 1
    assert "headrace up" in result.stdout


def test_status_as_json_says_that_nothing_runs(app: typer.Typer, home: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--json"])
    assert json.loads(result.stdout) == {"running": False, "home": str(home)}


def test_down_says_that_nothing_ran(app: typer.Typer, home: Path) -> None:
    result = CliRunner().invoke(app, ["down"])
    assert result.exit_code == 0
    assert "was not running" in result.stdout


@pytest.mark.parametrize("scale", ["inference", "inference=x", "nobody=2", "traces=2", "inference=0", "inference=99"])
def test_a_scale_that_makes_no_sense_is_a_wrong_use(app: typer.Typer, home: Path, scale: str) -> None:
    result = CliRunner().invoke(app, ["up", "--scale", scale])
    assert result.exit_code == 2
    assert not (home / "status.json").exists()


def test_scale_is_read() -> None:
    assert up.parse_scale(["inference=2", "embedder=3"]) == {"inference": 2, "embedder": 3}


def test_an_unknown_bus_is_a_wrong_use(app: typer.Typer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BUS", "rabbit")
    assert CliRunner().invoke(app, ["up"]).exit_code == 2


def test_the_doctor_names_everything_it_looked_at(app: typer.Typer, home: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    looked_at = {check["name"] for check in json.loads(result.stdout)["checks"]}
    assert looked_at >= {"Python", "Packages", "Java", "Kafka's jars", "PostgreSQL", "Processor", "Memory", "Disk"}


def test_a_failing_check_shows_its_mend() -> None:
    check = Check("Disk", Verdict.FAILS, "1.0 GiB free", "free 3 GiB")
    assert doctor.lines(check) == ["✗ Disk           1.0 GiB free", "                 → free 3 GiB"]


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [({"avx512_bf16"}, Verdict.OK), ({"amx_bf16"}, Verdict.OK), ({"avx2"}, Verdict.WEAK), (set(), Verdict.WEAK)],
)
def test_a_processor_without_bf16_is_weak_but_does(flags: set[str], verdict: Verdict) -> None:
    assert checks.processor(frozenset(flags)).verdict is verdict


def test_little_memory_is_told() -> None:
    assert checks.memory(2**30).verdict is Verdict.WEAK
    assert checks.memory(16 * 2**30).verdict is Verdict.OK


def test_without_java_the_doctor_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    check = checks.java()
    assert check.verdict is Verdict.WEAK
    assert "apt install openjdk" in check.mend


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (PartStatus("kafka", "server", PartState.READY, seconds=1.94), "ready in 1.9 s"),
        (PartStatus("ingest", "service", PartState.READY, seconds=2, restarts=1), "ready in 2.0 s, 1 restart"),
        (PartStatus("ingest", "service", PartState.STARTING), "starting…"),
        (PartStatus("ingest", "service", PartState.FAILED), "failed"),
    ],
)
def test_a_part_is_put_in_words(part: PartStatus, words: str) -> None:
    assert progress.line(part) == words


def test_the_mock_bus_is_called_by_its_name() -> None:
    part = PartStatus("kafka", "server", PartState.READY)
    assert progress.title(Status(1, 0.0, "ready", "", "mock", (part,)), part) == "mock Kafka"
    assert progress.title(Status(1, 0.0, "ready", "", "kafka", (part,)), part) == "Kafka"


def test_the_state_folder_is_the_nearest_above_or_a_new_one(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert state.find_home({}, below) == below / ".headrace"
    (tmp_path / ".headrace").mkdir()
    assert state.find_home({}, below) == tmp_path / ".headrace"
    assert state.find_home({state.HOME_VARIABLE: str(below)}, tmp_path) == below


@pytest.mark.real
def test_status_and_a_second_up_see_what_runs(app: typer.Typer, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(state.HOME_VARIABLE, str(house.home))
    house.up(house.stub("ingest"))
    shown = CliRunner().invoke(app, ["status", "--json"])
    assert shown.exit_code == 0
    parts = {part["name"]: part for part in json.loads(shown.stdout)["parts"]}
    assert parts["ingest"]["state"] == "ready"
    assert parts["postgres"]["memory_bytes"] > 2**20
    again = CliRunner().invoke(app, ["up", "--json"])
    assert again.exit_code == 0
    assert json.loads(again.stdout)["already_running"] is True
    examined = CliRunner().invoke(app, ["doctor", "--json"])
    assert {"name": "ingest", "verdict": "ok"}.items() <= {
        check["name"]: check for check in json.loads(examined.stdout)["checks"]
    }["ingest"].items()
    assert CliRunner().invoke(app, ["down"]).exit_code == 0
