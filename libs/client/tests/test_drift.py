# ruff: noqa: N802  (gRPC names the methods)
"""`headrace drift`: text, JSON, a picture and a page, against a DriftService of ten lines."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from headrace.drift.v1 import service_pb2
from headrace.drift.v1.drift_pb2 import ALERT_STATE_OPEN, Alert, Baseline
from headrace.drift.v1.service_pb2 import GetReportResponse
from headrace.drift.v1.service_pb2_grpc import DriftServiceServicer, add_DriftServiceServicer_to_server
from headrace_client.cli.app import build_app
from headrace_client.cli.drift_words import WIDTH
from typer.testing import CliRunner

ALERT = "7c0e3a52-6f0e-5f0e-9d9b-0a2f6a0a6f10"
QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
BASELINE = {
    "baselineId": "5f0c4b52-6f0e-4f0e-9d9b-0a2f6a0a6f10",
    "tenant": "acme",
    "from": "2026-11-01T00:00:00Z",
    "until": "2026-11-08T00:00:00Z",
    "samples": "4120",
    "setBy": "by itself",
    "setAt": "2026-11-08T00:10:00Z",
}
WORDS = {
    "slice": {"tenant": "acme", "kind": "how-to"},
    "measure": "MEASURE_VOCABULARY",
    "baseline": 0.03,
    "window": 0.31,
    "effect": 0.84,
    "effectKind": "cohen_h",
    "pValue": 1e-7,
    "baselineSamples": "4120",
    "windowSamples": "212",
    "drifted": True,
}
PLACES = WORDS | {"measure": "MEASURE_EMBEDDINGS", "window": 0.42, "effectKind": "mmd", "drifted": False}
TOLD = {
    "alertId": ALERT,
    "slice": {"tenant": "acme", "kind": "how-to"},
    "readings": [WORDS],
    "explanation": {
        "summary": "Words that the baseline does not know went from 3.0 % to 31 %.",
        "words": [
            {"word": "join", "hash": "00ff00ff00ff00ff", "baseline": 0.0, "window": 0.021, "tier": "TIER_1"},
            {"hash": "11ff00ff00ff00ff", "baseline": 0.001, "window": 0.012, "tier": "TIER_2"},
        ],
        "kinds": [
            {"kind": "how-to", "baselineShare": 0.5, "windowShare": 0.8, "baselineGrounded": 0.7},
            {"kind": "<b>odd</b>", "baselineShare": 0.5, "windowShare": 0.2},
        ],
        "queryIds": [QUERY],
        "lever": "LEVER_DOCUMENTS",
        "because": "The new questions find nothing close: documents are missing.",
        "withoutClosePassage": 0.82,
    },
    "state": "ALERT_STATE_OPEN",
    "windowFrom": "2026-11-20T09:00:00Z",
    "windowUntil": "2026-11-21T09:00:00Z",
    "openedAt": "2026-11-21T09:00:00Z",
    "tier": "TIER_2",
    "model": {"name": "SmolLM2", "version": "0123"},
}
GOLDEN_ALERT = f"""\
Alert      {ALERT}, open
Of         how-to questions, at most tier-2
Window     2026-11-20 09:00 to 2026-11-21 09:00 UTC
Answered   mostly by SmolLM2@0123

Words that the baseline does not know went from 3.0 % to 31 %.
Pull documents. The new questions find nothing close: documents are missing.

Words that moved, by their share of all words:
  join                                        0.0 →   21.0 ‰
  (11ff00ff: only tier-2, or of few)          1.0 →   12.0 ‰

Kinds of question, and the share of grounded answers:
  how-to                50 →  80 %    70 →   0 %
  <b>odd</b>            50 →  20 %     0 →   0 %

To look at (headrace trace, headrace evaluations show):
  {QUERY}
"""


def a_report() -> GetReportResponse:
    history = [
        {"at": (NOW - timedelta(hours=hours)).isoformat(), "reading": reading}
        for hours in (2, 1, 0)
        for reading in (WORDS | {"drifted": hours == 0}, PLACES)
    ]
    whole = {
        "baseline": BASELINE,
        "windowFrom": "2026-11-20T09:00:00Z",
        "windowUntil": "2026-11-21T09:00:00Z",
        "readings": [WORDS, PLACES],
        "alerts": [TOLD],
        "late": "7",
        "history": history,
    }
    return json_format.ParseDict(whole, GetReportResponse())


@dataclass
class FakeDrift(DriftServiceServicer):
    asked: list[Any] = field(default_factory=list)
    response: GetReportResponse = field(default_factory=a_report)

    async def GetReport(self, request: Any, context: Any) -> GetReportResponse:
        self.asked.append(request)
        if request.tenant == "fresh":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "there is no baseline yet: 140 queries too few")
        return self.response

    async def ListAlerts(self, request: Any, context: Any) -> service_pb2.ListAlertsResponse:
        self.asked.append(request)
        return service_pb2.ListAlertsResponse(alerts=self.response.alerts if request.tenant == "acme" else [])

    async def GetAlert(self, request: Any, context: Any) -> service_pb2.GetAlertResponse:
        self.asked.append(request)
        return service_pb2.GetAlertResponse(alert=json_format.ParseDict(TOLD, Alert()))

    async def SetBaseline(self, request: Any, context: Any) -> service_pb2.SetBaselineResponse:
        self.asked.append(request)
        return service_pb2.SetBaselineResponse(baseline=json_format.ParseDict(BASELINE, Baseline()))

    async def GetBaseline(self, request: Any, context: Any) -> service_pb2.GetBaselineResponse:
        self.asked.append(request)
        return service_pb2.GetBaselineResponse(baseline=json_format.ParseDict(BASELINE, Baseline()))


@dataclass
class House:
    drift: FakeDrift
    where: str


@pytest.fixture
async def house() -> AsyncIterator[House]:
    server, drift = grpc.aio.server(), FakeDrift()
    add_DriftServiceServicer_to_server(drift, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield House(drift, f"drift=127.0.0.1:{port}")
    await server.stop(None)


async def command(house: House, verb: str, *arguments: str, tenant: str = "acme") -> Any:
    environ = {"HEADRACE_ENDPOINTS": house.where, "HEADRACE_HOME": "", "COLUMNS": "100"}
    line = ["drift", verb, *arguments, "--tenant", tenant]
    return await asyncio.to_thread(CliRunner().invoke, build_app(), line, env=environ)


async def test_a_report_tells_baseline_window_readings_and_what_holds(house: House) -> None:
    ran = await command(house, "report", "--kind", "how-to", "--at", "2026-11-21")
    assert ran.exit_code == 0
    assert "2026-11-01 00:00 to 2026-11-08 00:00 UTC, 4,120 questions" in ran.stdout
    assert "7 events came too late" in ran.stdout
    (line,) = [line for line in ran.stdout.splitlines() if "vocabulary" in line]
    assert line.split() == [
        *("how-to", "questions", "vocabulary", "3.0", "%", "31", "%", "+0.84", "cohen_h", "1e-07", "212", "drifted")
    ]
    assert GOLDEN_ALERT in ran.stdout
    (asked,) = house.drift.asked
    assert (asked.kind, asked.at.ToJsonString()) == ("how-to", "2026-11-21T00:00:00Z")


async def test_before_the_first_look_it_says_that_nothing_was_measured(house: House, tmp_path: Path) -> None:
    house.drift.response = GetReportResponse(baseline=house.drift.response.baseline)
    for name in ("nothing.html", "nothing.png"):
        ran = await command(house, "report", "--plot", str(tmp_path / name))
        assert ran.exit_code == 0
        assert "nothing was measured against this baseline yet" in ran.stdout


async def test_without_a_baseline_the_mend_is_said(house: House) -> None:
    ran = await command(house, "report", tenant="fresh")
    assert ran.exit_code == 1
    assert "140 queries too few" in ran.stderr


async def test_for_programs_there_is_one_object(house: House) -> None:
    found = json.loads((await command(house, "report", "--json")).stdout)
    assert (found["late"], len(found["readings"]), len(found["history"])) == (7, 2, 6)
    assert found["readings"][0]["measure"] == "vocabulary"
    assert found["alerts"][0]["lever"] == "documents"
    (line,) = (await command(house, "alerts", "--json")).stdout.splitlines()
    alert = json.loads(line)
    assert (alert["alert_id"], alert["query_ids"], alert["words"][1]["word"]) == (ALERT, [QUERY], "")
    assert json.loads((await command(house, "alerts", ALERT, "--json")).stdout)["summary"].startswith("Words")
    assert json.loads((await command(house, "baseline", "--json")).stdout)["samples"] == 4120


async def test_alerts_are_listed_and_one_is_explained(house: House) -> None:
    ran = await command(house, "alerts", "--open")
    assert ALERT in ran.stdout
    assert house.drift.asked[0].state == ALERT_STATE_OPEN
    assert (await command(house, "alerts", ALERT)).stdout == GOLDEN_ALERT
    assert max(map(len, GOLDEN_ALERT.splitlines())) <= WIDTH
    assert "There are no alerts." in (await command(house, "alerts", tenant="calm")).stdout


async def test_a_baseline_is_shown_or_set(house: House) -> None:
    for arguments in ([], ["--dataset", "support"], ["--since", "2026-11-01", "--until", "2026-11-08"]):
        ran = await command(house, "baseline", *arguments)
        assert ran.exit_code == 0
        assert "set 2026-11-08 00:10, by itself" in ran.stdout
    shown, of_dataset, of_period = house.drift.asked
    assert isinstance(shown, service_pb2.GetBaselineRequest)
    assert (of_dataset.dataset, of_dataset.HasField("until")) == ("support", False)
    assert getattr(of_period, "from").ToJsonString() == "2026-11-01T00:00:00Z"


@pytest.mark.parametrize(
    "arguments", [["--since", "2026-11-01"], ["--dataset", "a", "--since", "2026-11-01", "--until", "2026-11-02"]]
)
async def test_half_a_period_is_refused_before_anybody_is_asked(house: House, arguments: list[str]) -> None:
    ran = await command(house, "baseline", *arguments)
    assert (ran.exit_code, house.drift.asked) == (2, [])


class Page(HTMLParser):
    """Counts what a page has, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attributes if name in {"src", "href", "data", "srcset"}]


async def test_a_page_needs_nothing_besides_itself_and_escapes_what_it_shows(house: House, tmp_path: Path) -> None:
    ran = await command(house, "report", "--plot", str(tmp_path / "drift.html"))
    assert ran.exit_code == 0
    made = (tmp_path / "drift.html").read_text()
    page = Page()
    page.feed(made)
    assert page.loaded == []
    assert not {"script", "link", "img", "iframe", "b"} & set(page.tags)
    assert page.tags.count("svg") == 2
    assert "&lt;b&gt;odd&lt;/b&gt;" in made


async def test_a_picture_is_drawn(house: House, tmp_path: Path) -> None:
    ran = await command(house, "report", "--plot", str(tmp_path / "drift.png"))
    assert ran.exit_code == 0
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


async def test_without_matplotlib_the_report_is_told_and_the_mend_named(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ran = await command(house, "report", "--plot", str(tmp_path / "drift.png"))
    assert ran.exit_code == 2
    assert GOLDEN_ALERT in ran.stdout
    assert "pip install matplotlib, or say --plot FILE.html" in ran.stderr


async def test_what_is_neither_picture_nor_page_is_refused_before_anybody_is_asked(house: House) -> None:
    ran = await command(house, "report", "--plot", "drift.pdf")
    assert (ran.exit_code, house.drift.asked) == (2, [])
