"""A collector that is dead or silent holds no process back, and libraries' log lines lose what they hold."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from headrace_telemetry.setup import SHUTDOWN_SECONDS

CANARY = "canary-hunter2"

_TRACED = """
import sys
from headrace_telemetry.setup import start_telemetry, stop_telemetry
from headrace_telemetry.tracing import span
start_telemetry("trial", instance="i", collectors=[sys.argv[1]])
for _ in range(1000):
    with span("work"):
        pass
stop_telemetry()
"""

_LOGGED = f"""
import logging, structlog
from headrace_telemetry.setup import start_logging
from headrace_telemetry.tracing import span
start_logging("trial")
library = logging.getLogger("some.library")
library.warning("could not send %s", "{CANARY}")
library.warning("could not send {CANARY}")
library.log(35, "odd level %s", "{CANARY}")
library.error("failed", exc_info=ValueError("{CANARY}"))
library.info("{CANARY}")
structlog.get_logger().info("ours", count=1)
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize("where", ["dead", "silent"])
@pytest.mark.parametrize("variable", ["", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_a_collector_that_does_not_answer_holds_nobody_back(where: str, variable: str, silent: int) -> None:
    address = "http://127.0.0.1:1" if where == "dead" else f"http://127.0.0.1:{silent}"
    started = time.monotonic()
    finished = run(_TRACED, address, **({variable: address} if variable else {}))
    # The bound, and what a start of Python with gRPC takes on a busy machine.
    assert time.monotonic() - started < SHUTDOWN_SECONDS + 7
    assert finished.stderr == ""


def test_a_librarys_lines_lose_their_arguments_and_errors_their_text() -> None:
    lines = [json.loads(line) for line in run(_LOGGED).stderr.splitlines()]
    assert CANARY not in json.dumps(lines)
    told = [(line["event"], line.get("template"), line["level"], line.get("error")) for line in lines]
    assert told == [
        ("library", "could not send %s", "warning", None),
        ("library", "a library's message", "warning", None),
        ("library", "odd level %s", "warning", None),
        ("library", "a library's message", "error", "ValueError"),
        ("ours", None, "info", None),
    ]
    assert {line["service"] for line in lines} == {"trial"}
