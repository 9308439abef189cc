# ruff: noqa: N802  (gRPC names the methods)
"""`headrace datasets`, against a DatasetService of a few lines a method."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2 import SPLIT_TEST, SPLIT_TRAIN, Dataset, DatasetExclusion, DatasetRow
from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceServicer, add_DatasetServiceServicer_to_server
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN, TIER_2, TIER_PUBLIC
from headrace_client.cli.app import build_app
from typer.testing import CliRunner

ID = "4f2a1c52a7e98d4b" * 4


@dataclass
class FakeDatasets(DatasetServiceServicer):
    """One snapshot of two rows."""

    asked: list[Any] = field(default_factory=list)
    breaks_off: bool = False
    one: Dataset = field(
        default_factory=lambda: Dataset(
            dataset_id=ID,
            name="support",
            state=datasets_pb2.DATASET_STATE_USABLE,
            rows=2,
            test_rows=1,
            exclusions=[DatasetExclusion(reason="no_grant", tier=TIER_2, rows=5)],
        )
    )

    async def BuildDataset(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.BuildDatasetResponse]:
        self.asked.append(request)
        yield datasets_pb2.BuildDatasetResponse(done=1, total=2)
        yield datasets_pb2.BuildDatasetResponse(done=2, total=2, dataset=self.one)

    async def ImportDataset(self, request: Any, context: Any) -> datasets_pb2.ImportDatasetResponse:
        self.asked.append(request)
        return datasets_pb2.ImportDatasetResponse(dataset=self.one, created=True)

    async def GetDataset(self, request: Any, context: Any) -> datasets_pb2.GetDatasetResponse:
        return datasets_pb2.GetDatasetResponse(dataset=self.one)

    async def ListDatasets(self, request: Any, context: Any) -> datasets_pb2.ListDatasetsResponse:
        return datasets_pb2.ListDatasetsResponse(datasets=[self.one])

    async def DiffDatasets(self, request: Any, context: Any) -> datasets_pb2.DiffDatasetsResponse:
        return datasets_pb2.DiffDatasetsResponse(before=self.one, after=self.one, kept=1, added=["r2"])

    async def ReadDataset(self, request: Any, context: Any) -> AsyncIterator[datasets_pb2.ReadDatasetResponse]:
        rows = [
            DatasetRow(row_id=f"r{side}", split=side, question="Which?", answer="That.")
            for side in (SPLIT_TRAIN, SPLIT_TEST)
        ]
        yield datasets_pb2.ReadDatasetResponse(dataset=self.one, rows=rows[:1])
        if self.breaks_off:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "a grant ended")
        yield datasets_pb2.ReadDatasetResponse(rows=rows[1:])


@dataclass
class House:
    datasets: FakeDatasets
    where: str

    async def run(self, *arguments: object) -> Any:
        environ = {"HEADRACE_ENDPOINTS": self.where, "HEADRACE_HOME": "", "COLUMNS": "160"}
        words = ["datasets", *map(str, arguments)]
        return await asyncio.to_thread(CliRunner().invoke, build_app(), words, env=environ)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    server, datasets = grpc.aio.server(), FakeDatasets()
    add_DatasetServiceServicer_to_server(datasets, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield House(datasets, f"feedback=127.0.0.1:{port}")
    await server.stop(None)


async def test_a_build_says_what_went_in_and_what_did_not(house: House) -> None:
    ran = await house.run(
        *("build", "support", "--tenant", "acme", "--purpose", "train", "--approved", "--max-tier", "public"),
        *("--least", "groundedness=0.8", "--since", "2026-11-01", "--seed", 7, "--without-subject", "anna"),
        *("--documents", "guide", "--documents", "wiki", "--documents-only"),
    )
    assert ran.exit_code == 0, ran.output
    (request,) = house.datasets.asked
    query = request.query
    assert (request.tenant, request.name, request.seed, query.purpose) == ("acme", "support", 7, PURPOSE_TRAIN)
    assert (query.approved_only, query.max_tier, query.scores[0].least) == (True, TIER_PUBLIC, 0.8)
    assert (query.since.ToJsonString(), list(query.without_subjects)) == ("2026-11-01T00:00:00Z", ["anna"])
    assert (list(query.document_sources), query.documents_only) == (["guide", "wiki"], True)
    assert ID in ran.stdout
    assert "no live grant covers it" in ran.stdout


async def test_rows_are_read_from_a_file(house: House, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"question": "Which?", "answer": "That.", "split": "test", "key_facts": ["Th.t"], "tier": "public"}\n'
    )
    ran = await house.run("import", file, "--name", "known", "--tier", "tier-1", "--json")
    assert ran.exit_code == 0, ran.output
    (row,) = house.datasets.asked[0].rows
    assert (row.question, row.split, list(row.key_facts), row.tier) == ("Which?", SPLIT_TEST, ["Th.t"], TIER_PUBLIC)
    assert json.loads(ran.stdout)["dataset_id"] == ID
    file.write_text("nonsense\n")
    assert (await house.run("import", file, "--name", "known")).exit_code == 2


async def test_snapshots_are_listed_shown_and_compared(house: House) -> None:
    for words in (("list",), ("show", "support")):
        ran = await house.run(*words)
        assert (ran.exit_code, ID[:12] in ran.stdout, "usable" in ran.stdout) == (0, True, True)
    ran = await house.run("diff", "support", ID[:8])
    assert "1 added, 0 removed" in ran.stdout
    assert json.loads((await house.run("diff", "a", "b", "--json")).stdout)["added"] == ["r2"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_an_export_is_whole_or_not_there(house: House, tmp_path: Path) -> None:
    out = tmp_path / "out"
    house.datasets.breaks_off = True
    ran = await house.run("export", "support", "--out", out)
    assert (ran.exit_code, names(tmp_path)) == (3, [])
    house.datasets.breaks_off = False
    ran = await house.run("export", "support", "--out", out, "--format", "jsonl")
    assert ran.exit_code == 0, ran.output
    assert names(out) == ["README.md", "test.jsonl", "train.jsonl"]
    assert json.loads((out / "test.jsonl").read_text())["row_id"] == "r2"
    assert (await house.run("export", "support", "--out", out)).exit_code != 0
