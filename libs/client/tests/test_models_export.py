"""`headrace models export` against MLflow's own server, installed in a folder of its own at first use."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import grpc
import pytest
from headrace.training.v1.service_pb2_grpc import add_ModelServiceServicer_to_server

from libs.client.tests.test_models import NAME, FakeModels

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
PINNED = ROOT / "requirements" / "mlflow.txt"
#: Headrace's own packages go first; the pins keep what both need at one version.
HEADRACE = "import sys; sys.path.append(sys.argv.pop(1)); from headrace_client.cli import main; main()"


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of a folder with the pinned MLflow."""
    folder = ROOT / "build" / "mlflow"
    interpreter = folder / "bin" / "python"
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, "--allow-existing", folder], check=True)
    subprocess.run([uv, "pip", "sync", "--quiet", "--python", interpreter, "--require-hashes", PINNED], check=True)
    return interpreter


@pytest.fixture(scope="module")
def server(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that has nothing yet."""
    folder = tmp_path_factory.mktemp("mlflow")
    stores = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (folder / "artifacts").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [python, Path(__file__).with_name("mlflow_server.py")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=os.environ | stores, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, (folder / "log").read_text()[-2000:]
        yield f"http://127.0.0.1:{port}"
        process.kill()


@pytest.fixture
async def endpoints() -> Any:
    served = grpc.aio.server()
    port = served.add_insecure_port("127.0.0.1:0")
    add_ModelServiceServicer_to_server(FakeModels(), served)
    await served.start()
    yield f"trainer=127.0.0.1:{port}"
    await served.stop(0)


async def export(python: Path, server: str, endpoints: str) -> str:
    """What the command says when it tells the server of the model."""
    site = next(python.parent.parent.glob("lib/python*/site-packages"))
    words = (sys.executable, "-c", HEADRACE, site, "models", "export", "live", "--mlflow", server)
    environ = {**os.environ, "HEADRACE_ENDPOINTS": endpoints, "HEADRACE_HOME": "", "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *map(str, words), env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd="/"
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    return out.decode()


def asked(server: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> Any:
    """What MLflow's REST API answers: https://mlflow.org/docs/latest/rest-api.html."""
    request = Request(
        f"{server}/api/2.0/mlflow/{path}?{urlencode(query)}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=30) as response:
        return json.load(response)


async def test_a_model_is_told_of_and_a_second_time_is_a_second_version(
    python: Path, server: str, endpoints: str
) -> None:
    for number in ("1", "2"):
        assert f"{NAME} is version {number} in {server}" in await export(python, server, endpoints)
    version = asked(server, "model-versions/get", name="acme-generator", version="1")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert (tags["headrace.model"], tags["headrace.address"]) == (NAME, f"file:///models/{NAME}")
    run = asked(server, "runs/get", run_id=version["run_id"])["run"]
    assert run["info"]["status"] == "FINISHED"
    assert version["source"] == run["info"]["artifact_uri"]
    assert run["info"]["run_name"] == NAME
    assert {m["key"]: m["value"] for m in run["data"]["metrics"]}["grounded"] == 0.4
    artifacts = asked(server, "artifacts/list", run_id=version["run_id"])["files"]
    assert [(file["path"], file["file_size"]) for file in artifacts] == [("card.md", len(f"# {NAME}\n\nA canary."))]
    experiments = asked(server, "experiments/search", {"max_results": 10})["experiments"]
    assert sorted(one["name"] for one in experiments) == ["Default", "headrace demo"]
