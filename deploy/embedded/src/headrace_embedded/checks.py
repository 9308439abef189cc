"""What this machine needs to run Headrace: one function a check, each with its mend."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata, util
from pathlib import Path

import asyncpg
import psutil
from headrace_database.lint import Fault, lint
from headrace_runtime.health import is_serving

from headrace_embedded import plan, ports, state
from headrace_embedded.errors import Missing
from headrace_embedded.identity import keys_of
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka, postgres, provision
from headrace_embedded.servers.exemptions import EXEMPT

PYTHON_NEEDED = (3, 11)
#: All processes together stay under 6 GiB.
MEMORY_NEEDED = 6 * 2**30
DISK_NEEDED = 3 * 2**30


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    #: It works, but less well.
    WEAK = "weak"
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `mend` says what to do about it; empty when all is well."""

    name: str
    verdict: Verdict
    found: str
    mend: str = ""


def examine(environ: Mapping[str, str], folder: Path) -> list[Check]:
    """Looks at everything."""
    home = state.find_home(environ, folder)
    checks: Iterable[Callable[[], list[Check]]] = (
        lambda: [_python()],
        _packages,
        lambda: [java(), _maven()],
        lambda: [_postgres()],
        lambda: [keys(home)],
        lambda: [processor(_cpu_flags()), memory(psutil.virtual_memory().available), _disk(home)],
        lambda: _parts(home) if state.is_running(home) else _ports(),
    )
    return [check for look in checks for check in look()]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_NEEDED:
        return Check(
            "Python", Verdict.FAILS, version, "make .venv with Python 3.11 or newer: make setup PYTHON=python3.11"
        )
    return Check("Python", Verdict.OK, version)


def _packages() -> list[Check]:
    services = [
        f"headrace_{name}"
        for name in ("ingest", "classifier", "embedder", "retriever", "inference", "feedback", "drift", "trainer")
    ]
    missing = [name for name in (*services, "aiokafka", "asyncpg", "grpc", "torch") if util.find_spec(name) is None]
    if missing:
        return [Check("Packages", Verdict.FAILS, f"not installed: {', '.join(missing)}", "make setup")]
    return [Check("Packages", Verdict.OK, f"services and their libraries; torch {metadata.version('torch')}")]


def java() -> Check:
    """Looks for a Java that can run Kafka."""
    try:
        found = kafka.java()
    except Missing as missing:
        return Check("Java", Verdict.WEAK, "Kafka can't run; an in-memory bus stands in", str(missing))
    return Check("Java", Verdict.OK, f"{kafka.java_version(found)} at {found}")


def _maven() -> Check:
    if kafka.has_jars():
        return Check("Kafka's jars", Verdict.OK, str(kafka.JARS))
    maven = shutil.which("mvn")
    if maven is None:
        return Check(
            "Kafka's jars", Verdict.WEAK, "no Maven to fetch them; an in-memory bus stands in", kafka.MAVEN_MEND
        )
    return Check("Kafka's jars", Verdict.OK, f"to be fetched at the first start by {maven}")


def _postgres() -> Check:
    try:
        found = postgres.programs_folder()
    except Missing as missing:
        return Check("PostgreSQL", Verdict.FAILS, "its wheel is missing", str(missing))
    return Check("PostgreSQL", Verdict.OK, f"{metadata.version(postgres.WHEEL)} at {found}")


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split())


def processor(flags: frozenset[str]) -> Check:
    """Looks at the processor's flags, as /proc/cpuinfo names them."""
    cores = f"{os.cpu_count()} cores"
    if {"avx512_bf16", "amx_bf16"} & flags:
        return Check("Processor", Verdict.OK, f"{cores}, with bf16 arithmetic")
    mend = "models run in fp32, about half as fast: a processor with avx512_bf16 or amx_bf16 helps"
    return Check("Processor", Verdict.WEAK, f"{cores}, without bf16 arithmetic", mend)


def memory(available: int) -> Check:
    """Looks at the bytes of memory that are free."""
    found = f"{available / 2**30:.1f} GiB free"
    if available < MEMORY_NEEDED:
        return Check("Memory", Verdict.WEAK, found, "everything together takes up to 6 GiB: end what else runs")
    return Check("Memory", Verdict.OK, found)


def _disk(home: Path) -> Check:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(place, os.W_OK):
        return Check(
            "Disk", Verdict.FAILS, f"{place} can't be written", f"set {state.HOME_VARIABLE} to a folder of yours"
        )
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:.1f} GiB free for {home}"
    if free < DISK_NEEDED:
        return Check("Disk", Verdict.FAILS, found, f"free 3 GiB, or set {state.HOME_VARIABLE} to a larger disk")
    return Check("Disk", Verdict.OK, found)


def keys(home: Path) -> Check:
    """Looks at the keys: whoever may read them may be anybody."""
    folder = keys_of(home).folder
    if not folder.exists():
        return Check("Keys", Verdict.OK, f"to be made at the first start, in {folder}")
    found = [folder, *folder.rglob("*")]
    exposed = [path for path in found if path.stat().st_mode & 0o077]
    if exposed:
        mend = f"chmod -R go= {folder}, and rotate them: docs/how-to/authenticate.md"
        return Check("Keys", Verdict.FAILS, f"others may read {exposed[0]}", mend)
    return Check("Keys", Verdict.OK, f"{sum(path.is_file() for path in found)} files in {folder}, for its owner alone")


def _ports() -> list[Check]:
    wanted = {"Kafka": plan.KAFKA_PORT, "PostgreSQL": plan.POSTGRES_PORT, **plan.DEFAULT_PORTS}
    taken = [f"{name} {port}" for name, port in wanted.items() if not ports.is_free(port)]
    if taken:
        mend = "nothing to do: free ports are taken instead; .headrace/endpoints.json names them"
        return [Check("Ports", Verdict.WEAK, f"in use: {', '.join(taken)}", mend)]
    return [Check("Ports", Verdict.OK, "the usual ones are free")]


def _parts(home: Path) -> list[Check]:
    status = state.read_status(home)
    if status is None:
        return []
    parts = [_part(part) for part in status.parts]
    database = status.part("postgres")
    if database is None or database.state is not state.PartState.READY:
        return parts
    return [*parts, row_security(home, port=int(database.address.rsplit(":", 1)[1]))]


def _part(part: state.PartStatus) -> Check:
    address = part.address.split(",")[0]
    serves = is_serving(address) if part.kind == "service" else ports.answers(int(address.rsplit(":", 1)[1] or 0))
    if serves:
        return Check(part.name, Verdict.OK, f"serves at {part.address}")
    return Check(part.name, Verdict.FAILS, f"{part.state}, does not serve at {part.address}", f"its log: {part.log}")


def row_security(home: Path, *, port: int) -> Check:
    """Looks through the catalog of the running database for ways around row-level security."""
    server = postgres.open_server(home / "postgres", port, lifetime=Lifetime.PARENTS)
    try:
        faults = asyncio.run(_lint(server.dsn(provision.DATABASE, role=provision.role_of(provision.TRACES))))
    except (OSError, asyncpg.PostgresError) as error:
        found = f"the catalog cannot be read: {type(error).__name__}"
        return Check("Row security", Verdict.FAILS, found, "headrace down, then headrace up")
    if faults:
        return Check("Row security", Verdict.FAILS, f"{len(faults)} ways around it, first {faults[0]}", faults[0].mend)
    return Check("Row security", Verdict.OK, "holds every table of every service")


async def _lint(dsn: str) -> list[Fault]:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        return await lint(connection, provision.SCHEMAS, exempt=EXEMPT)
    finally:
        await connection.close()
