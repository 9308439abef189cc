# ruff: noqa: N802  (gRPC names the methods)
"""`headrace erase show` and `verify`: a receipt, and the completion that tells what became of the models."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from headrace.privacy.v1 import erasure_pb2
from headrace.privacy.v1.erasure_pb2_grpc import ErasureServiceServicer, add_ErasureServiceServicer_to_server
from headrace_client.cli.app import build_app
from headrace_client.receipts import COMPLETION, KIND
from headrace_identity import Limit, key_set, new_key
from headrace_identity.tokens import sign_json
from typer.testing import CliRunner

ID = "4e1b7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
SIGNER = new_key("classifier", limit=Limit(frozenset({"service:classifier"}), frozenset({"*"})))
REACHED = {"model": "acme-generator@01", "dataset_id": "4f2a", "retire_by": "2026-11-28T09:00:00.000Z"}
GONE = REACHED | {"retired_at": "2026-11-21T10:00:00.000Z", "replaced_by": "acme-generator@02"}
CLAIMS = {"erasure_id": ID, "tenant": "acme", "closed_at": "2026-11-21T09:00:05.000Z", "to_retrain": [REACHED]}


def receipt(**changes: Any) -> str:
    return sign_json(CLAIMS | changes, SIGNER, kind=KIND)


def completion(of: str, *, key: Any = SIGNER, kind: str = COMPLETION) -> str:
    digest = hashlib.sha256(of.encode()).hexdigest()
    claims = {"erasure_id": ID, "receipt_sha256": digest, "models": [GONE], "completed_at": "2026-11-21T10:00:01.000Z"}
    return sign_json(claims, key, kind=kind)


def verify(tmp_path: Path, content: str) -> Any:
    """Runs `headrace erase verify` on a file."""
    (tmp_path / "keys.json").write_text(json.dumps(key_set([SIGNER])))
    (tmp_path / "receipt.json").write_text(content)
    words = ["erase", "verify", str(tmp_path / "receipt.json"), "--keys", str(tmp_path / "keys.json")]
    return CliRunner().invoke(build_app(), words, env={"COLUMNS": "160"})


def test_a_receipt_alone_says_which_models_are_still_to_go(tmp_path: Path) -> None:
    ran = verify(tmp_path, receipt())
    assert ran.exit_code == 0, ran.output
    assert "acme-generator@01 learned from it: to be retired by 2026-11-28T09:00:00.000Z" in ran.stdout
    assert "learned from it" not in verify(tmp_path, receipt(to_retrain=[])).stdout


def test_a_completion_says_what_became_of_them(tmp_path: Path) -> None:
    signed = receipt()
    ran = verify(tmp_path, json.dumps({"receipt": signed, "completion": completion(signed)}))
    assert ran.exit_code == 0, ran.output
    assert "acme-generator@01: weights deleted 2026-11-21T10:00:00.000Z, replaced by acme-generator@02" in ran.stdout


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        (lambda signed: completion(receipt(tenant="other")), "another receipt"),
        (lambda signed: completion(signed, key=new_key("classifier")), "signature does not fit"),
        (lambda signed: completion(signed, kind=KIND), "has not signed it"),
        (lambda signed: signed, "has not signed it"),
        (lambda signed: completion(signed)[:-4] + "AAAA", "signature does not fit"),
    ],
)
def test_a_forged_completion_is_found_out(tmp_path: Path, forged: Any, said: str) -> None:
    signed = receipt()
    ran = verify(tmp_path, json.dumps({"receipt": signed, "completion": forged(signed)}))
    assert ran.exit_code == 1
    assert said in ran.output


class FakeErasures(ErasureServiceServicer):
    """One erasure, completed."""

    async def GetErasure(self, request: Any, context: Any) -> erasure_pb2.GetErasureResponse:
        model = erasure_pb2.ReachedModel(model="acme-generator@01", replaced_by="base")
        model.retired_at.FromJsonString("2026-11-21T10:00:00Z")
        erasure = erasure_pb2.Erasure(
            erasure_id=ID, receipt="r", receipt_text="Erasure\n\nCompleted", completion="c", models=[model]
        )
        return erasure_pb2.GetErasureResponse(erasure=erasure)


@pytest.fixture
async def where() -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_ErasureServiceServicer_to_server(FakeErasures(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"classifier=127.0.0.1:{port}"
    await server.stop(None)


async def test_an_erasure_is_shown_with_its_models_and_its_completion(where: str) -> None:
    environ = {"HEADRACE_ENDPOINTS": where, "HEADRACE_HOME": "", "COLUMNS": "160"}
    ran = await asyncio.to_thread(CliRunner().invoke, build_app(), ["erase", "show", ID, "--json"], env=environ)
    shown = json.loads(ran.stdout)
    assert (shown["completion"], shown["models"][0]["replaced_by"]) == ("c", "base")
    assert shown["models"][0]["retired_at"].startswith("2026-11-21T10:00:00")
    ran = await asyncio.to_thread(CliRunner().invoke, build_app(), ["erase", "show", ID], env=environ)
    assert "Completed" in ran.stdout
