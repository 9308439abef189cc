"""`headrace up` and `headrace down`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from headrace_client.cli.console import notice, say, say_json
from headrace_client.cli.options import JsonOption

from headrace_embedded import launch, plan, state
from headrace_embedded.cli.progress import shown
from headrace_embedded.cli.running import DONE, FAILED, run
from headrace_embedded.errors import NotReady, UsedWrongly
from headrace_embedded.plan import Plan
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka, mock_kafka
from headrace_embedded.state import Status


def up(
    scale: Annotated[
        list[str] | None,
        typer.Option("--scale", show_default=False, metavar="SERVICE=N", help="Run N processes of a service."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring up Kafka, PostgreSQL and every service on this machine, and leave them running.

    The state stays in .headrace (or where HEADRACE_HOME says) through `headrace down` and the next `headrace up`.

    Example: headrace up --scale inference=2
    """
    run(lambda: _up(scale or [], quiet=as_json))


def _up(scale: Sequence[str], *, quiet: bool) -> int:
    home = state.find_home(os.environ, Path.cwd())
    began = time.monotonic()
    was_running = state.is_running(home)
    status = bring_up(home, parse_scale(scale))
    if quiet:
        say_json({"already_running": was_running, **summary(home, status)})
    elif was_running:
        say(f"Headrace is up already, with its state in {home}. End it with: {command()} down")
    else:
        say(*_welcome(home, seconds=time.monotonic() - began))
    return DONE


def bring_up(home: Path, scale: dict[str, int]) -> Status:
    """Brings everything up, or follows what is coming up already, with its progress on standard error.

    Raises EmbeddedError when it can't; nothing is left running then.
    """
    if state.is_running(home):
        with shown(state.read_status(home)) as show:
            return launch.follow(home, show, supervisor=launch.holder(home), alive=lambda: state.is_running(home))
    process = launch.launch(home, _prepare(scale), lifetime=Lifetime.OWN)
    try:
        with shown() as show:
            return launch.follow(home, show, supervisor=process.pid, alive=lambda: process.poll() is None)
    except BaseException:
        # Whatever it was, Ctrl-C too: what came up so far must not stay behind.
        _give_up(home, process)
        raise


def _give_up(home: Path, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        notice("Taking down what came up so far …")
    launch.halt(home, lambda _: None)


def _prepare(scale: dict[str, int]) -> Plan:
    """Decides on the bus and fetches what it needs."""
    notice(f"Bringing up Headrace with Python {'.'.join(map(str, sys.version_info[:3]))}")
    bus = plan.choose_bus(os.environ)
    if bus == "mock":
        notice(mock_kafka.WARNING, style="yellow")
        if os.environ.get(plan.BUS_VARIABLE) != "mock":
            notice(f"The reason: {plan.why_no_kafka()}", style="yellow")
    else:
        kafka.fetch_jars(notice)
    return plan.default_plan(bus=bus, scale=scale)


def parse_scale(words: Sequence[str]) -> dict[str, int]:
    """Reads SERVICE=N. Raises UsedWrongly."""
    scale: dict[str, int] = {}
    for word in words:
        name, equals, number = word.partition("=")
        if not equals or not number.isdigit():
            raise UsedWrongly(f"--scale {word}: write it as SERVICE=N, for example inference=2")
        scale[name] = int(number)
    plan.check_scale(scale)
    return scale


def command() -> str:
    """Returns how the user calls us: `headrace` where it is on the PATH, else the path that was called."""
    if shutil.which("headrace"):
        return "headrace"
    called = Path(sys.argv[0])
    return str(called) if called.name == "headrace" else "headrace"


def _welcome(home: Path, *, seconds: float) -> list[str]:
    endpoints = state.read_endpoints(home)
    services = endpoints.get("services", {})
    return [
        f"Headrace is up in {seconds:.1f} s, with its state in {home}.",
        "",
        f'  ask       {command()} ask "What does the nonlocal statement do?"',
        f"  add       {command()} documents put FOLDER --source NAME",
        f"  look      {command()} status",
        f"  end       {command()} down",
        "",
        f"gRPC, with reflection, at {services.get('ingest', '')}; Kafka at {endpoints.get('kafka', '')}.",
    ]


def summary(home: Path, status: Status) -> dict[str, Any]:
    """Returns what `--json` prints of a running Headrace."""
    parts = [{"name": p.name, "state": p.state, "pid": p.pid, "address": p.address} for p in status.parts]
    return {"home": str(home), "phase": status.phase, "endpoints": state.read_endpoints(home), "parts": parts}


@dataclass(frozen=True, slots=True)
class Ended:
    """What `down` found."""

    was_running: bool
    remaining: list[int]


def take_down(home: Path) -> Ended:
    """Ends everything, with its progress on standard error, and looks whether anything is left."""
    was_running = state.is_running(home)
    with shown(state.read_status(home)) as show:
        remaining = launch.halt(home, show)
    return Ended(was_running, remaining)


def down(as_json: JsonOption = False) -> None:
    """End everything that `headrace up` started. What it stored stays for the next start."""
    run(lambda: _down(quiet=as_json))


def _down(*, quiet: bool) -> int:
    home = state.find_home(os.environ, Path.cwd())
    ended = take_down(home)
    if quiet:
        say_json({"home": str(home), "was_running": ended.was_running, "remaining": ended.remaining})
    elif ended.remaining:
        raise NotReady(f"These processes could not be ended: {', '.join(map(str, ended.remaining))}")
    else:
        said = "Headrace is down; nothing of it is left running." if ended.was_running else "Headrace was not running."
        say(f"{said} Its state stays in {home}." if home.exists() else said)
    return FAILED if ended.remaining else DONE
