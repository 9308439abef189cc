# ruff: noqa: N802  (gRPC names the methods)
"""`headrace report`: text, JSON, a picture and a page, against a ReportService of ten lines."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import grpc
import pytest
from headrace.feedback.v1.reports_pb2 import (
    CompareRequest,
    CompareResponse,
    Estimate,
    PromptFigures,
    ReportLine,
    SummarisePromptsResponse,
)
from headrace.feedback.v1.reports_pb2_grpc import ReportServiceServicer, add_ReportServiceServicer_to_server
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.query_pb2 import TRIAL_SETTING_ZERO_SHOT
from headrace_client.cli.app import build_app
from headrace_client.cli.prompt_figures import figure_cells
from headrace_client.cli.report_words import WIDTH, bar
from typer.testing import CliRunner

RUN = "7a1f3c52-6f0e-4f0e-9d9b-0a2f6a0a6f10"
VERDICT = (
    "By key facts stated (known answers), B is better: +6 points, 95 % interval 3 to 9, 150 pairs. By median latency, "
    "A is better: −1.06 s, 95 % interval −1.11 to −1.00, 150 pairs."
)
STALE = (
    "3 answers of <b>A</b> and 0 of B are stale: what they were made of has changed or gone since "
    "(headrace answers stale)."
)
#: What a terminal shows of it. It changes when the report does, and then it should be looked at.
GOLDEN = """\
Tenant acme, run 7a1f3c52-6f0e-4f0e-9d9b-0a2f6a0a6f10
  A  default@1, 150 answers
  B  shorter@2:zero-shot, 1,200 answers
  150 questions that both answered, compared pair by pair

By key facts stated (known answers), B is better: +6 points, 95 % interval 3 to 9, 150 pairs. By
median latency, A is better: −1.06 s, 95 % interval −1.11 to −1.00, 150 pairs.

All questions             A                   B                        B less A, around 0
  key_facts               52 % (48–56)        58 % (54–62)        ··············│····━━━━●━━━━━ B
    B is better: +6 points, 95 % interval 3 to 9, 150 pairs
  latency                 1.52 s (1.48–1.56)  2.58 s (2.54–2.62)  ··············│············●━ A
    A is better: −1.06 s, 95 % interval −1.11 to −1.00, 150 pairs

how-to questions          A                   B                        B less A, around 0
  wins:fair:correct *     45 % (40–50)        55 % (50–60)        ············━━┿━━━━━●━━━━━━━━ ?
    can't tell yet on how-to questions: about 80 more pairs
  * shown only: this judge is not calibrated well enough to decide

To bear in mind
  - wins:fair:correct: this judge is not calibrated well enough; it is shown, and decides nothing.
  - 3 answers of <b>A</b> and 0 of B are stale: what they were made of has changed or gone since
    (headrace answers stale).
"""


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, answers=150)


def a_report() -> CompareResponse:
    facts = ReportLine(measure="key_facts", unit="share", better="b", decides=True, method="paired_t")
    facts.a.CopyFrom(estimate(0.52, 0.48, 0.56))
    facts.b.CopyFrom(estimate(0.58, 0.54, 0.62))
    facts.difference.CopyFrom(estimate(0.06, 0.03, 0.09))
    facts.sentence = "B is better: +6 points, 95 % interval 3 to 9, 150 pairs"
    latency = ReportLine(measure="latency", unit="seconds", better="a", decides=True)
    latency.a.CopyFrom(estimate(1.52, 1.48, 1.56))
    latency.b.CopyFrom(estimate(2.58, 2.54, 2.62))
    latency.difference.CopyFrom(estimate(1.06, 1.00, 1.11))
    latency.sentence = "A is better: −1.06 s, 95 % interval −1.11 to −1.00, 150 pairs"
    judged = ReportLine(kind="how-to", measure="wins:fair:correct", unit="share", better="unknown", more_needed=80)
    judged.a.CopyFrom(estimate(0.45, 0.40, 0.50))
    judged.b.CopyFrom(estimate(0.55, 0.50, 0.60))
    judged.difference.CopyFrom(estimate(0.10, -0.03, 0.22))
    judged.sentence = "can't tell yet on how-to questions: about 80 more pairs"
    return CompareResponse(
        lines=[facts, latency, judged],
        answers_a=150,
        answers_b=1200,
        pairs=150,
        verdict=VERDICT,
        notes=[
            "wins:fair:correct: this judge is not calibrated well enough; it is shown, and decides nothing.",
            STALE,
        ],
    )


@dataclass
class FakeReports(ReportServiceServicer):
    asked: list[CompareRequest] = field(default_factory=list)
    response: CompareResponse = field(default_factory=a_report)

    async def Compare(self, request: CompareRequest, context: Any) -> CompareResponse:
        self.asked.append(request)
        if request.run_id == "none":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such run")
        return self.response

    async def SummarisePrompts(self, request: Any, context: Any) -> SummarisePromptsResponse:
        return SummarisePromptsResponse()


@dataclass
class House:
    reports: FakeReports
    where: str


@pytest.fixture
async def house() -> AsyncIterator[House]:
    server, reports = grpc.aio.server(), FakeReports()
    add_ReportServiceServicer_to_server(reports, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield House(reports, f"feedback=127.0.0.1:{port}")
    await server.stop(None)


async def command(house: House, *arguments: str) -> Any:
    environ = {"HEADRACE_ENDPOINTS": house.where, "HEADRACE_HOME": "", "COLUMNS": "100"}
    return await asyncio.to_thread(CliRunner().invoke, build_app(), ["report", *arguments], env=environ)


BOTH = ("--tenant", "acme", "--a", "default@1", "--b", "shorter@2:zero-shot", "--run", RUN)


async def test_a_report_reads_well_in_a_hundred_columns(house: House) -> None:
    ran = await command(house, *BOTH)
    assert ran.exit_code == 0
    assert ran.stdout == GOLDEN
    assert max(map(len, ran.stdout.splitlines())) <= WIDTH


async def test_what_is_asked_is_what_was_said(house: House) -> None:
    narrowed = ["--kind", "how-to", "--since", "2026-11-01", "--measure", "thumbs", "--least", "0.05", "--seed", "7"]
    ran = await command(house, *BOTH, *narrowed)
    assert ran.exit_code == 0
    (asked,) = house.reports.asked
    assert (asked.tenant, asked.run_id, asked.kind, list(asked.measures), asked.seed) == (
        *("acme", RUN, "how-to", ["thumbs"]),
        7,
    )
    assert (asked.b.variant.name, asked.b.variant.version, asked.b.setting) == ("shorter", "2", TRIAL_SETTING_ZERO_SHOT)
    assert (asked.least_difference, asked.since.ToJsonString()) == (0.05, "2026-11-01T00:00:00Z")
    assert not asked.HasField("until")


async def test_for_programs_there_is_one_object(house: House) -> None:
    ran = await command(house, *BOTH, "--json")
    found = json.loads(ran.stdout)
    assert (found["verdict"], found["pairs"], len(found["lines"])) == (VERDICT, 150, 3)
    assert found["lines"][0]["difference"] == {"value": 0.06, "low": 0.03, "high": 0.09, "answers": 150}
    assert found["b"] == {"variant": "shorter", "version": "2", "setting": "zero-shot"}
    assert [line["decides"] for line in found["lines"]] == [True, True, False]


@pytest.mark.parametrize("side", ["Default", "default@0", "default:nonsense", "x" * 65, "a b"])
async def test_a_side_that_is_none_is_refused_before_anybody_is_asked(house: House, side: str) -> None:
    ran = await command(house, "--a", side, "--b", "shorter")
    assert ran.exit_code == 2
    assert not house.reports.asked


async def test_a_run_that_is_not_there_fails_in_words(house: House) -> None:
    ran = await command(house, "--b", "shorter", "--run", "none")
    assert ran.exit_code == 1
    assert not house.reports.asked[0].a.variant.name


class Page(HTMLParser):
    """Counts what a page has, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attributes if name in {"src", "href", "data", "srcset"}]

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_a_page_needs_nothing_besides_itself_and_escapes_what_it_shows(house: House, tmp_path: Path) -> None:
    ran = await command(house, *BOTH, "--plot", str(tmp_path / "report.html"))
    assert ran.exit_code == 0
    made = (tmp_path / "report.html").read_text()
    page = Page()
    page.feed(made)
    assert page.loaded == []
    assert not {"script", "link", "img", "iframe", "b-a"} & set(page.tags)
    assert page.tags.count("svg") == 3
    assert "url(" not in made
    assert VERDICT in page.text
    assert "&lt;b&gt;A&lt;/b&gt;" in made
    assert "prefers-color-scheme: dark" in made
    assert 'name="viewport"' in made


async def test_a_picture_is_drawn(house: House, tmp_path: Path) -> None:
    ran = await command(house, *BOTH, "--plot", str(tmp_path / "report.png"))
    assert ran.exit_code == 0
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


async def test_without_matplotlib_the_report_is_told_and_the_mend_named(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    ran = await command(house, *BOTH, "--plot", str(tmp_path / "report.png"))
    assert ran.exit_code == 2
    assert ran.stdout == GOLDEN
    assert "pip install matplotlib, or say --plot FILE.html" in ran.stderr


async def test_what_is_neither_picture_nor_page_is_refused_before_anybody_is_asked(house: House) -> None:
    ran = await command(house, *BOTH, "--plot", "report.pdf")
    assert (ran.exit_code, house.reports.asked) == (2, [])


def test_a_bar_shows_the_interval_the_estimate_and_nought() -> None:
    assert bar(Estimate(value=0.0, low=-1.0, high=1.0), 1.0) == "━" * 14 + "●" + "━" * 14
    assert bar(Estimate(value=1.0, low=0.5, high=1.0), 1.0) == "·" * 14 + "│" + "·" * 6 + "━" * 7 + "●"
    assert bar(Estimate(), 0.0) == "·" * 14 + "●" + "·" * 14


def test_a_prompts_figures_say_nothing_where_there_is_nothing() -> None:
    prompt = Versioned(name="brief", version="1")
    assert figure_cells(None) == figure_cells(PromptFigures(prompt=prompt)) == ["", "", "", ""]
    spoken = {"grounded": 600, "extracted": 200, "refused": 400}
    whole = PromptFigures(prompt=prompt, answers=1200, **spoken, thumbs_up=3, thumbs_down=1)
    assert figure_cells(whole) == ["1,200", "75 %", "33 %", "3 of 4"]
    assert figure_cells(PromptFigures(prompt=prompt, answers=2, refused=2)) == ["2", "", "100 %", ""]
