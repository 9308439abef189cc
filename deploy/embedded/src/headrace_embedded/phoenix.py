"""Arize Phoenix on the spans that are kept: `make traces`.

    python -m headrace_embedded.phoenix VENV

Phoenix lives in a virtual environment of its own, since its requirements don't fit beside ours. Headrace must be up.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from headrace_client.cli.console import notice, say
from headrace_database import open_database
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from headrace_embedded import ports, processes, state
from headrace_embedded.errors import EmbeddedError, Missing, NotReady
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres, provision
from headrace_embedded.traces.spans import to_otlp
from headrace_embedded.traces.store import SpanStore

PORT = 6006
PROJECT = "headrace"
START_S = 120.0
LOOK_S = 1.0
SPANS_A_REQUEST = 500

#: Phoenix serves gRPC on every interface and has no setting for it: this keeps it on the loopback one.
_LOOPBACK_ONLY = """
import sys
import grpc.aio
listen = grpc.aio.Server.add_insecure_port
grpc.aio.Server.add_insecure_port = lambda server, address: listen(server, address.replace("[::]", "127.0.0.1"))
from phoenix.server.main import main
sys.argv = ["phoenix", "serve"]
main()
"""


@contextmanager
def phoenix(venv: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Runs Phoenix and gives its ports, for browsers and for spans. Raises Missing or NotReady."""
    python = (venv / "bin" / "python").absolute()
    if not python.exists():
        raise Missing(f"{venv} has no Python: run make traces")
    web, spans = ports.reserve(PORT), ports.reserve()
    log = folder / "phoenix.log"
    process = processes.spawn(
        [str(python), "-c", _LOOPBACK_ONLY], log=log, lifetime=Lifetime.PARENTS, environment=_told(folder, web, spans)
    )
    try:
        processes.wait_until(
            lambda: process.poll() is not None or (ports.answers(web) and ports.answers(spans)), deadline_s=START_S
        )
        if process.poll() is not None:
            raise NotReady(f"Phoenix ended during its start. Its log, {log}, ends:\n{processes.tail(log)}")
        yield web, spans
    finally:
        processes.stop(process, grace_s=5.0)


def _told(folder: Path, web: int, spans: int) -> dict[str, str]:
    return {
        **os.environ,
        "PHOENIX_HOST": ports.HOST,
        "PHOENIX_PORT": str(web),
        "PHOENIX_GRPC_PORT": str(spans),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        # It would run commands on this machine for whoever reaches the page.
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        "PHOENIX_AGENTS_DISABLE_BASH": "true",
    }


async def forward(store: SpanStore, port: int, *, after: int) -> int:
    """Sends every span that was stored after a position to a collector, and returns the position reached."""
    async with grpc.aio.insecure_channel(f"{ports.HOST}:{port}") as channel:
        export = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        while page := await store.after(after, limit=SPANS_A_REQUEST):
            await export(to_otlp([span for _, span in page], project=PROJECT))
            after = page[-1][0]
    return after


async def _follow(dsn: str, port: int) -> None:
    async with open_database(dsn, schema=provision.TRACES, connections=1) as database:
        store, position = SpanStore(database), 0
        while True:
            position = await forward(store, port, after=position)
            await asyncio.sleep(LOOK_S)


def dsn_of(home: Path) -> str:
    """Returns where the running Headrace keeps its spans. Raises NotReady when it doesn't run."""
    status = state.read_status(home)
    part = status.part("postgres") if status is not None and state.is_running(home) else None
    if part is None:
        raise NotReady("Headrace is not running, and its spans are in its database: run headrace up first")
    server = postgres.open_server(home / "postgres", int(part.address.rsplit(":", 1)[1]), lifetime=Lifetime.OWN)
    return server.dsn(provision.DATABASE, role=provision.role_of(provision.TRACES))


def main(venv: Path) -> int:
    """Runs Phoenix beside the running Headrace until Ctrl-C."""
    home = state.find_home(os.environ, Path.cwd())
    try:
        dsn = dsn_of(home)
        notice("Starting Phoenix …")
        with phoenix(venv, home / "phoenix") as (web, spans):
            say(f"Phoenix shows the spans at http://{ports.HOST}:{web}/ (project {PROJECT}). End it with Ctrl-C.")
            asyncio.run(_follow(dsn, spans))
    except KeyboardInterrupt:
        return 0
    except EmbeddedError as error:
        notice(str(error), style="red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
