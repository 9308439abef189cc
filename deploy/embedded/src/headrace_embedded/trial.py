"""A Headrace of one's own, for the tests that cross services and for measurements: everything real, gone afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from headrace_client.cli.console import notice
from headrace_client.endpoints import Endpoints, read_endpoints

from headrace_embedded import launch, plan, state, testing
from headrace_embedded.errors import NotReady
from headrace_embedded.plan import Plan
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka
from headrace_embedded.state import PartState, PartStatus

#: A killed service loads its model again; a killed server recovers its log.
RESTART_S = 90.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A running Headrace and its processes."""

    home: Path

    @property
    def endpoints(self) -> Endpoints:
        """Where everything is now."""
        return read_endpoints(self.home / "endpoints.json")

    def part(self, name: str) -> PartStatus:
        """Returns one process as it stands now; raises LookupError for an unknown name."""
        status = state.read_status(self.home)
        part = status.part(name) if status else None
        if part is None:
            raise LookupError(f"no part {name}")
        return part

    def kill(self, name: str) -> int:
        """Ends a process and its children as a crash would, and returns its id."""
        part = self.part(name)
        process = psutil.Process(part.pid)
        for member in [process, *process.children(recursive=True)]:
            # Postgres's children end by themselves when one of them does.
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        return part.pid

    def wait_for_another(self, name: str, killed: int) -> None:
        """Waits until a killed process is up again; raises NotReady when it does not come up."""
        end = time.monotonic() + RESTART_S
        while time.monotonic() < end:
            part = self.part(name)
            if part.pid != killed and part.state == PartState.READY:
                return
            time.sleep(0.1)
        raise NotReady(f"{name} did not come up again within {RESTART_S:.0f} s")

    def memory(self) -> int:
        """Returns the bytes that all processes hold together, shared pages counted once."""
        supervisor = psutil.Process(launch.holder(self.home))
        return sum(process.memory_full_info().pss for process in [supervisor, *supervisor.children(recursive=True)])


@contextmanager
def running(
    environment: Mapping[str, str],
    *,
    scale: Mapping[str, int] | None = None,
    commands: Mapping[str, tuple[str, ...]] | None = None,
) -> Iterator[Trial]:
    """Brings everything up in a folder of its own, its services with `environment` on top, and ends it.

    `commands` starts a service by another command, for a test that needs it broken.
    """
    kafka.fetch_jars(notice)
    with testing.state_folder() as home, _variables(environment):
        wanted = _with_commands(plan.default_plan(bus="kafka", scale=scale or {}), commands or {})
        process = launch.launch(home, wanted, lifetime=Lifetime.PARENTS)
        try:
            launch.follow(home, lambda _: None, supervisor=process.pid, alive=lambda: process.poll() is None)
            yield Trial(home)
        finally:
            left = launch.halt(home, lambda _: None)
            process.wait(30)
    if left:
        raise NotReady(f"processes are left: {left}")


def _with_commands(wanted: Plan, commands: Mapping[str, tuple[str, ...]]) -> Plan:
    services = (replace(each, command=commands.get(each.name, each.command)) for each in wanted.services)
    return replace(wanted, services=tuple(services))


@contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Sets variables of this process, which the supervisor and the services inherit."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
