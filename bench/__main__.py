"""Runs the groups and prints the table.

    python -m bench [--quick] [--only GROUP]... [--json PATH]

Each group runs in a process of its own, so that threads, environment and warm caches of one do not change the next.
A group that fails is shown with its reason, the others still run, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.harness import FULL, QUICK, Budget, Row

FOLDER = Path(__file__).parent
#: A group that takes longer than this hangs.
GROUP_SECONDS = 1800
#: Whose versions a reader needs to judge the numbers.
PACKAGES = (
    "aiokafka", "faststream", "grpcio", "asyncpg", "torch", "transformers", "sentence-transformers", "openvino",
    "xllamacpp", "presidio-analyzer", "opentelemetry-sdk",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one group."""

    group: str
    rows: tuple[Row, ...] = ()
    failure: str = ""


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    budget = QUICK if options.quick else FULL
    if options.worker:
        _work(options.only[0], budget, into=options.worker)
        return 0
    console = Console(width=None if sys.stdout.isatty() else 160)
    machine = describe_machine()
    console.print(_header(machine, budget))
    outcomes = []
    for group in options.only or groups():
        console.print(f"==> {group}", highlight=False)
        outcomes.append(run_group(group, budget))
    console.print(table(outcomes))
    write(options.json, machine, budget, outcomes)
    console.print(f"Written to {options.json}", highlight=False)
    return int(any(o.failure for o in outcomes))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Headrace beside its peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not what it does")
    parser.add_argument("--only", action="append", choices=groups(), metavar="GROUP", help="one of: %(choices)s")
    parser.add_argument("--json", type=Path, default=FOLDER / "results.json", metavar="PATH")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def groups(folder: Path = FOLDER) -> list[str]:
    """The groups that there are: `classifier` for bench_classifier.py."""
    return sorted(p.stem.removeprefix("bench_") for p in folder.glob("bench_*.py"))


def _work(group: str, budget: Budget, *, into: Path) -> None:
    rows = importlib.import_module(f"bench.bench_{group}").rows(budget)
    into.write_text(json.dumps([asdict(row) for row in rows]))


def run_group(group: str, budget: Budget, timeout: float = GROUP_SECONDS) -> Outcome:
    """Runs one group in its own process. What it prints on stdout is shown on stderr, as it comes."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        result = Path(folder, "rows.json")
        command = [sys.executable, "-m", "bench", "--only", group, "--worker", str(result)]
        if budget is QUICK:
            command.append("--quick")
        try:
            done = subprocess.run(
                command,
                cwd=FOLDER.parent,
                stdout=sys.stderr,
                stderr=subprocess.PIPE,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(group, failure=f"did not finish within {timeout:.0f} s")
        if done.returncode:
            sys.stderr.write(done.stderr)
            return Outcome(group, failure=_reason(done.stderr) or f"exit code {done.returncode}")
        return Outcome(group, rows=tuple(Row(**row) for row in json.loads(result.read_text())))


def _reason(stderr: str) -> str:
    """The last line of a traceback names the error."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def describe_machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "versions": {name: v for name in PACKAGES if (v := _version(name))},
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _header(machine: dict[str, Any], budget: Budget) -> str:
    versions = ", ".join(f"{name} {v}" for name, v in machine["versions"].items())
    return (
        f"Headrace bench, {budget.name}: {machine['cpu']}, {machine['cores']} cores, load {machine['load']}, "
        f"OMP_NUM_THREADS {machine['omp_num_threads']}\nPython {machine['python']}, {versions}\n"
    )


def table(outcomes: list[Outcome]) -> Table:
    """One line per row, and one per group that failed."""
    made = Table(box=None, pad_edge=False)
    for heading in ("group", "what"):
        made.add_column(heading, overflow="fold")
    for heading in ("ours", "peer", "unit", "ratio", "goal", "met"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("note", overflow="fold")
    for outcome in outcomes:
        for row in outcome.rows:
            made.add_row(*_cells(row))
        if outcome.failure:
            made.add_row(
                outcome.group, "[red]failed[/red]", "", "", "", "", "", "[red]no[/red]", escape(outcome.failure)
            )
    return made


def _cells(row: Row) -> tuple[str, ...]:
    met = {True: "[green]yes[/green]", False: "[red]no[/red]", None: ""}[row.met]
    return (
        row.group,
        escape(row.name),
        _number(row.ours),
        _number(row.peer),
        row.unit,
        _ratio(row.ratio),
        _goal(row),
        met,
        escape(row.note),
    )


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def _goal(row: Row) -> str:
    if row.goal is None:
        return ""
    sign = "≥" if row.higher_is_better else "≤"
    return f"{sign} {row.goal:g}×" if row.goal_of == "ratio" else f"{sign} {row.goal:g} {row.unit}"


def write(path: Path, machine: dict[str, Any], budget: Budget, outcomes: list[Outcome]) -> None:
    """Writes everything as JSON: {"machine", "budget", "groups": [{"group", "failure", "rows": [… with "met"]}]}."""
    found = [
        {"group": o.group, "failure": o.failure, "rows": [asdict(row) | {"met": row.met} for row in o.rows]}
        for o in outcomes
    ]
    path.write_text(json.dumps({"machine": machine, "budget": budget.name, "groups": found}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
