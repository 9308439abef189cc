"""A wrong setting stops the start and says its name, its value and what was expected."""

from __future__ import annotations

import pytest
from headrace_runtime.settings import ServiceSettings, StatefulSettings, load
from pydantic_settings import SettingsConfigDict


class Settings(StatefulSettings):
    model_config = SettingsConfigDict(env_prefix="HEADRACE_TRIAL_", extra="ignore", frozen=True)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TRIAL_DATABASE", "postgresql://localhost/x")


def explained(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        load(Settings)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_what_is_given_is_read_and_the_rest_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TRIAL_LISTEN", "0.0.0.0:7401")
    monkeypatch.setenv("HEADRACE_TRIAL_UNKNOWN", "x")
    settings = load(Settings)
    assert (settings.listen, settings.kafka, settings.drain_seconds) == ("0.0.0.0:7401", "127.0.0.1:9092", 15.0)


def test_a_missing_one_is_named_with_its_purpose(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HEADRACE_TRIAL_DATABASE")
    told = explained(capsys)
    assert "HEADRACE_TRIAL_DATABASE is not set." in told
    assert "DSN" in told


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("DRAIN_SECONDS", "soon", "valid number"),
        ("DRAIN_SECONDS", "-1", "greater than or equal to 0"),
        ("LISTEN", "somewhere", "pattern"),
    ],
)
def test_a_wrong_one_is_named_with_its_value_and_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, expectation: str
) -> None:
    monkeypatch.setenv(f"HEADRACE_TRIAL_{name}", value)
    told = explained(capsys)
    assert f"HEADRACE_TRIAL_{name}='{value}' is wrong" in told
    assert expectation in told


def test_all_wrong_ones_are_named_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("HEADRACE_TRIAL_DATABASE")
    monkeypatch.setenv("HEADRACE_TRIAL_LISTEN", "x")
    assert len(explained(capsys).splitlines()) == 2


def test_every_setting_says_what_it_is_for() -> None:
    for kind in (ServiceSettings, StatefulSettings):
        assert all(field.description for field in kind.model_fields.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE", "5432"), ("KAFKA_PASSWORD", "hunter2"), ("LISTEN", "http://user:hunter2@host"), ("SERVICE_KEY", "k")],
)
def test_a_secret_that_is_wrong_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    class Picky(ServiceSettings):
        model_config = SettingsConfigDict(env_prefix="HEADRACE_TRIAL_", extra="ignore", frozen=True)

        database: int
        kafka_password: int  # type: ignore[assignment]
        service_key: int  # type: ignore[assignment]

    for setting in ("DATABASE", "KAFKA_PASSWORD", "SERVICE_KEY"):
        monkeypatch.setenv(f"HEADRACE_TRIAL_{setting}", "not-a-number")
    monkeypatch.setenv(f"HEADRACE_TRIAL_{name}", f"{value}-not-a-number")
    with pytest.raises(SystemExit):
        load(Picky)
    told = capsys.readouterr().err
    assert f"HEADRACE_TRIAL_{name} is wrong" in told
    assert value not in told
