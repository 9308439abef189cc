"""The process behind `headrace up`: brings everything up in order, keeps it up, and takes it down in order.

    python -m headrace_embedded.supervisor STATE_FOLDER

It reads plan.json, writes status.json and endpoints.json, and ends at SIGTERM. Servers and services die with it (on
Linux by the kernel's word, elsewhere at the next start), so a crash leaves nothing that runs unwatched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError
from headrace_runtime.errors import Failure
from headrace_runtime.health import is_serving

from headrace_embedded import leftovers, ports, state
from headrace_embedded.audit_key import ensure_audit_key
from headrace_embedded.board import Board
from headrace_embedded.errors import EmbeddedError, InUse
from headrace_embedded.identity import CALLERS, ensure_keys, keys_of
from headrace_embedded.keepers import Instance, ServiceKeeper, end_server, keep_server, start_server
from headrace_embedded.migrations import migrate_all
from headrace_embedded.plan import Plan, ServicePlan, read_plan
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka, mock_kafka, postgres, provision
from headrace_embedded.servers.kafka import KafkaServer
from headrace_embedded.servers.mock_kafka import MockKafkaServer
from headrace_embedded.servers.postgres import PostgresServer
from headrace_embedded.servers.topics import create_topics

log = logging.getLogger("supervisor")

#: A log is set aside at the next start once it is this large.
LOG_LIMIT_BYTES = 10_000_000

#: What may go wrong while servers and services come up.
_TROUBLE = (EmbeddedError, Failure, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

#: For every service: no downloads, and small heaps.
_QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "2", "PYTHONUNBUFFERED": "1"}

#: Whom each service calls, beside the classifier.
_NEIGHBOURS = {
    "retriever": ("embedder",),
    "inference": ("embedder",),
    "feedback": ("embedder", "inference", "retriever"),
    "drift": ("feedback",),
    "trainer": ("embedder", "feedback", "inference", "retriever"),
}
#: What is kept below the state folder, beside the database: by service, setting and name.
_FOLDERS = {
    "embedder": {"TRAINED": "trained"},
    "feedback": {"DATASETS": "datasets"},
    "trainer": {"MODELS": "trained", "WORK": "training"},
}


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one instance of a service."""

    service: ServicePlan
    name: str
    address: str
    log: Path


class Supervisor:
    """Runs a plan. Blocking calls run in `threads`, whose threads have to live as long as the supervisor."""

    def __init__(self, home: Path, plan: Plan, threads: ThreadPoolExecutor) -> None:
        self._home = home
        self._plan = plan
        self._threads = threads
        self._bus = _open_bus(home / "kafka", plan)
        port = ports.reserve(plan.postgres_port)
        self._keys = keys_of(home)
        self._database = postgres.open_server(home / "postgres", port, lifetime=Lifetime.PARENTS)
        self._slots = [slot for service in plan.services for slot in _slots(service, home / "logs")]
        self._board = Board(home, bus=plan.bus)
        self._keepers: dict[str, asyncio.Task[None]] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Brings everything up and, once `stopping` is set, takes it down.

        What keeps it from coming up ends in the status, as its reason, after everything is down again.
        """
        outcome = ("stopped", "")
        self._list_parts()
        try:
            await self._bring_up(stopping)
            await stopping.wait()
        except _TROUBLE as error:
            log.exception("could not come up")
            outcome = ("failed", str(error) if isinstance(error, EmbeddedError | Failure) else type(error).__name__)
        self._board.phase("stopping", outcome[1])
        state.forget_endpoints(self._home)
        await self._take_down()
        self._board.phase(*outcome)

    def _list_parts(self) -> None:
        self._board.add("kafka", kind="server", log=self._bus.log)
        self._board.add("postgres", kind="server", log=self._database.log)
        for slot in self._slots:
            self._board.add(slot.name, kind="service", log=slot.log)

    async def _bring_up(self, stopping: asyncio.Event) -> None:
        ensure_keys(self._home)
        outcomes = await asyncio.gather(self._bring_up_bus(), self._bring_up_database(), return_exceptions=True)
        for error in (outcome for outcome in outcomes if outcome is not None):
            raise error
        self._write_endpoints()
        if not stopping.is_set():
            firsts = [self._keep(slot).first for slot in self._slots]
            if await _ready_before(stopping, firsts):
                self._board.phase("ready")

    async def _bring_up_bus(self) -> None:
        await self._start("kafka", self._bus)
        self._board.at("kafka", self._bus.bootstrap)
        if isinstance(self._bus, KafkaServer):
            await create_topics(self._bus.bootstrap)
            # The mock cluster is not started again: what was on it would be missing, and its address another.
            self._watch("kafka", self._bus)

    async def _bring_up_database(self) -> None:
        await self._start("postgres", self._database)
        self._board.at("postgres", f"{ports.HOST}:{self._database.port}")
        passwords = provision.passwords_of(self._database)
        inside = await provision.provision(self._database.dsn(), database=provision.DATABASE, passwords=passwords)
        for schema, names in (await migrate_all(inside)).items():
            log.info("%s: %d migrations applied", schema, len(names))
        self._watch("postgres", self._database)

    async def _start(self, name: str, server: KafkaServer | MockKafkaServer | PostgresServer) -> None:
        await start_server(name, server, board=self._board, elsewhere=self._elsewhere)

    def _watch(self, name: str, server: KafkaServer | PostgresServer) -> None:
        keeping = keep_server(name, server, board=self._board, elsewhere=self._elsewhere)
        self._keepers[name] = asyncio.create_task(keeping)

    def _keep(self, slot: Slot) -> ServiceKeeper:
        _set_aside(slot.log)
        instance = Instance(slot.name, slot.service.command, slot.address, self._environment(slot), slot.log)
        keeper = ServiceKeeper(instance, board=self._board, elsewhere=self._elsewhere, serving=is_serving)
        self._keepers[slot.name] = asyncio.create_task(keeper.keep())
        return keeper

    def _environment(self, slot: Slot) -> dict[str, str]:
        prefix = f"HEADRACE_{slot.service.name.upper()}_"
        told = {"KAFKA": self._bus.bootstrap, "LISTEN": slot.address}
        if slot.service.schema:
            told["DATABASE"] = self._database.dsn(provision.DATABASE, role=provision.role_of(slot.service.schema))
        if slot.service.name != "traces" and (collector := self._addresses("traces")):
            told["TRACES"] = f"http://{collector}"
        told |= {name.upper(): self._addresses(name) for name in _NEIGHBOURS.get(slot.service.name, ())}
        told |= {name: str(self._home / folder) for name, folder in _FOLDERS.get(slot.service.name, {}).items()}
        told |= self._keys_of(slot.service.name)
        ours = {f"{prefix}{name}": value for name, value in told.items()}
        return {**os.environ, **_QUIET, **slot.service.environment, **ours, state.MARK: str(self._home)}

    def _keys_of(self, service: str) -> dict[str, str]:
        """What a service is told of keys: whose tokens it believes, its own key, and where the classifier is."""
        told = {"IDENTITIES": str(self._keys.identities)}
        if (policy := self._home / "policy.yaml").exists():
            told["POLICY"] = str(policy)
        if service in CALLERS:
            told["SERVICE_KEY"] = str(self._keys.service(service))
        if service != "classifier":
            return {**told, "CLASSIFIER": self._addresses("classifier")}
        folder = self._keys.folder
        ours = {"AUDIT_KEY": ensure_audit_key(folder), "CHECKPOINTS": folder / "checkpoints"}
        ours["MASTER_KEY_FILE"] = folder / "master.json"
        return told | {name: str(path) for name, path in ours.items()}

    def _addresses(self, service: str) -> str:
        return ",".join(slot.address for slot in self._slots if slot.service.name == service)

    def _write_endpoints(self) -> None:
        services = {service.name: self._addresses(service.name) for service in self._plan.services}
        extra = {"bus": self._plan.bus, "supervisor": os.getpid(), "keys": str(self._keys.folder)}
        state.write_endpoints(self._home, kafka=self._bus.bootstrap, services=services, extra=extra)

    async def _take_down(self) -> None:
        """Ends the door first, so that nothing new comes in, then the other services, then what they stand on."""
        await self._cancel(slot.name for slot in self._slots if slot.service.name == "ingest")
        await self._cancel(slot.name for slot in self._slots if slot.service.name != "traces")
        await self._cancel(slot.name for slot in self._slots)
        await self._cancel(("kafka", "postgres"))
        servers = (("kafka", self._bus), ("postgres", self._database))
        await asyncio.gather(*(end_server(n, s, board=self._board, elsewhere=self._elsewhere) for n, s in servers))

    async def _cancel(self, names: Iterable[str]) -> None:
        tasks = [self._keepers.pop(name) for name in list(names) if name in self._keepers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _elsewhere(self, call: Callable[[], object]) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _open_bus(folder: Path, plan: Plan) -> KafkaServer | MockKafkaServer:
    if plan.bus == "mock":
        return mock_kafka.open_server(folder, lifetime=Lifetime.PARENTS)
    return kafka.open_server(folder, ports.reserve(plan.kafka_port), lifetime=Lifetime.PARENTS)


def _slots(service: ServicePlan, logs: Path) -> list[Slot]:
    names = [service.name]
    if service.instances > 1:
        names = [f"{service.name}-{number}" for number in range(1, service.instances + 1)]
    addresses = [f"{ports.HOST}:{ports.reserve(service.port)}" for _ in names]
    return [Slot(service, name, a, logs / f"{name}.log") for name, a in zip(names, addresses, strict=True)]


async def _ready_before(stopping: asyncio.Event, firsts: Sequence[asyncio.Future[None]]) -> bool:
    """Returns whether all were ready before somebody asked to stop. Raises what the first to fail raised."""
    ready = asyncio.gather(*firsts)
    asked = asyncio.create_task(stopping.wait())
    first: tuple[asyncio.Future[Any], ...] = (ready, asked)
    await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if ready.done():
        await ready
        return True
    ready.cancel()
    return False


def _set_aside(file: Path) -> None:
    if file.exists() and file.stat().st_size > LOG_LIMIT_BYTES:
        file.replace(file.with_suffix(".log.1"))


async def _supervise(home: Path, threads: ThreadPoolExecutor) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await Supervisor(home, read_plan(home), threads).run(stopping)


def main(home: Path) -> int:
    """Supervises until SIGTERM; 1 when another supervisor has the folder or when nothing could come up."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    os.environ[state.MARK] = str(home)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(state.hold_lock(home))
        except InUse as error:
            log.warning("%s", error)
            return 1
        if ended := leftovers.end(home):
            log.warning("ended %d processes that an earlier run had left behind", ended)
        threads = stack.enter_context(ThreadPoolExecutor(max_workers=16, thread_name_prefix="keeper"))
        asyncio.run(_supervise(home, threads))
    status = state.read_status(home)
    return 1 if status is not None and status.phase == "failed" else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
