"""A supervisor with stub services, on the real servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from headrace_embedded import launch, state, testing
from headrace_embedded.plan import Plan, ServicePlan
from headrace_embedded.processes import Lifetime
from headrace_embedded.state import Status

STUB = Path(__file__).parent / "stub_service.py"


@dataclass(frozen=True)
class House:
    """A state folder, and how to bring it up."""

    home: Path
    supervisors: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def stub(self, name: str, *, instances: int = 1, **environment: str) -> ServicePlan:
        """A service that serves nothing but its health."""
        return ServicePlan(name, (sys.executable, str(STUB), name), 0, name, instances, environment)

    def up(self, *services: ServicePlan) -> Status:
        """Brings stubs up, on Postgres and the mock bus, and returns the status once everything is ready."""
        plan = Plan("mock", 0, 0, services)
        process = launch.launch(self.home, plan, lifetime=Lifetime.PARENTS)
        self.supervisors.append(process)
        return launch.follow(self.home, lambda _: None, supervisor=process.pid, alive=lambda: process.poll() is None)

    def down(self) -> list[int]:
        """Takes it down, and returns what is left."""
        remaining = launch.halt(self.home, lambda _: None)
        for supervisor in self.supervisors:
            supervisor.wait(10)
        return remaining

    def status(self) -> Status:
        """What the supervisor wrote last."""
        status = state.read_status(self.home)
        assert status is not None
        return status


@pytest.fixture
def house() -> Iterator[House]:
    """A state folder of the test's own; whatever runs in it at the end is ended."""
    with testing.state_folder() as folder:
        one = House(folder)
        yield one
        one.down()
