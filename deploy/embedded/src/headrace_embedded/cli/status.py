"""`headrace status`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.options import JsonOption
from headrace_runtime.health import is_serving

from headrace_embedded import measuring, ports, state
from headrace_embedded.cli.progress import title
from headrace_embedded.cli.running import DONE, FAILED, run
from headrace_embedded.measuring import Lag
from headrace_embedded.state import PartState, PartStatus, Status


@dataclass(frozen=True, slots=True)
class Measured:
    """One part as it is now."""

    part: PartStatus
    title: str
    state: str
    memory: int
    uptime: float


def status(as_json: JsonOption = False) -> None:
    """Show every part: whether it serves, where, what it takes, and how far the consumers are behind.

    Leaves with 0 when everything is ready, else with 1.
    """
    run(lambda: _status(quiet=as_json))


def _status(*, quiet: bool) -> int:
    home = state.find_home(os.environ, Path.cwd())
    known = state.read_status(home)
    if known is None or not state.is_running(home):
        return _not_running(home, quiet=quiet)
    measured = [_measure(known, part) for part in known.parts]
    lags = measuring.lag_or_nothing(_bootstrap(known)) if known.bus == "kafka" else []
    if quiet:
        say_json({"running": True, "phase": known.phase, **_json(home, measured, lags)})
    else:
        _say(home, known, measured, lags)
    return DONE if all(m.state == PartState.READY for m in measured) else FAILED


def _not_running(home: Path, *, quiet: bool) -> int:
    if quiet:
        say_json({"running": False, "home": str(home)})
    else:
        say(f"Headrace is not running; its state is kept in {home}. Start it with: headrace up")
    return FAILED


def _bootstrap(known: Status) -> str:
    bus = known.part("kafka")
    return bus.address if bus is not None else ""


def _measure(known: Status, part: PartStatus) -> Measured:
    memory = measuring.memory_bytes(part.pid) if part.pid else 0
    return Measured(part, title(known, part), _state_now(part), memory, measuring.uptime_seconds(part.created))


def _state_now(part: PartStatus) -> str:
    """What the supervisor says, unless the part itself says otherwise."""
    if part.state is not PartState.READY:
        return str(part.state)
    serving = is_serving(part.address) if part.kind == "service" else _accepts(part.address)
    return "ready" if serving else "not serving"


def _accepts(address: str) -> bool:
    return ports.answers(int(address.split(",", maxsplit=1)[0].rsplit(":", 1)[1]))


def _say(home: Path, known: Status, measured: list[Measured], lags: list[Lag]) -> None:
    columns = ["Part", "State", "Address", "Process", "Memory", "Up for", "Restarts"]
    say_table(columns, [_row(m) for m in measured])
    total = sum(m.memory for m in measured)
    say("", f"{_mebibytes(total)} in all; state and logs in {home}.")
    if known.bus == "mock":
        say("The bus is in memory, and tells no lag.", style="yellow")
    waiting = [lag for lag in lags if lag.records]
    if waiting:
        say("")
        say_table(
            ["Consumer group", "Topic", "Behind by"], [[lag.group, lag.topic, f"{lag.records:,}"] for lag in waiting]
        )
    elif lags:
        say("Every consumer has reached the end of its topics.")


def _row(m: Measured) -> list[str]:
    pid = str(m.part.pid) if m.part.pid else ""
    return [m.title, m.state, m.part.address, pid, _mebibytes(m.memory), _duration(m.uptime), str(m.part.restarts)]


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _json(home: Path, measured: list[Measured], lags: list[Lag]) -> dict[str, Any]:
    parts = [
        {
            "name": m.part.name,
            "state": m.state,
            "address": m.part.address,
            "pid": m.part.pid,
            "memory_bytes": m.memory,
            "uptime_seconds": round(m.uptime, 1),
            "restarts": m.part.restarts,
            "log": m.part.log,
        }
        for m in measured
    ]
    lag = [{"group": entry.group, "topic": entry.topic, "records": entry.records} for entry in lags]
    return {"home": str(home), "memory_bytes": sum(m.memory for m in measured), "parts": parts, "lag": lag}
