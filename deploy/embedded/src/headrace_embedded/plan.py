"""What is to run: the bus, the database and the services with their ports and environments."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from headrace_embedded import state
from headrace_embedded.errors import Missing, UsedWrongly
from headrace_embedded.house import CHECKOUT
from headrace_embedded.servers import kafka

BUS_VARIABLE = "HEADRACE_BUS"
KAFKA_PORT = 9092
POSTGRES_PORT = 7432

Bus = Literal["kafka", "mock"]

MODELS = CHECKOUT / state.FOLDER / "models"
_CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """One service: how it is started, where it prefers to listen, and whether it has a schema of its own."""

    name: str
    command: tuple[str, ...]
    port: int
    schema: str = ""
    instances: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `headrace up` brings up."""

    bus: Bus
    kafka_port: int
    postgres_port: int
    services: tuple[ServicePlan, ...]


def default_plan(*, bus: Bus, scale: Mapping[str, int]) -> Plan:
    """Returns the plan for one machine, with so many instances of the services named in `scale`."""
    services = tuple(_service(name, scale.get(name, 1)) for name in DEFAULT_PORTS)
    return Plan(bus, KAFKA_PORT, POSTGRES_PORT, services)


def check_scale(scale: Mapping[str, int]) -> None:
    """Raises UsedWrongly for a service that there is none of, or a number that makes no sense."""
    known = [name for name in DEFAULT_PORTS if name != "traces"]
    for name, instances in scale.items():
        if name not in known or not 1 <= instances <= 16:
            raise UsedWrongly(f"--scale {name}={instances}: name one of {', '.join(known)}, with 1 to 16 instances")


#: Traces come first, so that the first spans of the others find their receiver.
DEFAULT_PORTS = {
    "traces": 7410,
    "ingest": 7401,
    "classifier": 7402,
    "embedder": 7403,
    "retriever": 7404,
    "inference": 7405,
    "feedback": 7406,
    "drift": 7407,
    "trainer": 7408,
}

#: Those that compute in torch, and may use every core.
_TORCH = ("embedder", "inference", "trainer")


def _service(name: str, instances: int) -> ServicePlan:
    module = "headrace_embedded.traces" if name == "traces" else f"headrace_{name}"
    threads = str(_CORES if name in _TORCH else 1)
    environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if name == "traces":
        # The receiver of spans must not send spans of receiving spans.
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_SDK_DISABLED": "true"}
    if name in ("embedder", "inference", "trainer"):
        # Converted weights are worth keeping whatever becomes of the state.
        variable = f"HEADRACE_{name.upper()}_CACHE"
        environment[variable] = os.environ.get(variable, str(MODELS))
    return ServicePlan(name, (sys.executable, "-m", module), DEFAULT_PORTS[name], name, instances, environment)


def choose_bus(environ: Mapping[str, str]) -> Bus:
    """Returns "kafka", or "mock" where the user says so or the machine has no Java, or no Maven and no jars.

    Raises UsedWrongly for another value of HEADRACE_BUS.
    """
    asked = environ.get(BUS_VARIABLE, "")
    if asked not in ("", "kafka", "mock"):
        raise UsedWrongly(f"{BUS_VARIABLE}={asked}: set it to kafka or mock, or leave it unset")
    if asked:
        return "mock" if asked == "mock" else "kafka"
    return "kafka" if why_no_kafka() == "" else "mock"


def why_no_kafka() -> str:
    """Returns what keeps a real Kafka from running here, with its mend; "" when nothing does."""
    try:
        kafka.java()
    except Missing as missing:
        return str(missing)
    if not kafka.has_jars() and shutil.which("mvn") is None:
        return f"no mvn on the PATH: {kafka.MAVEN_MEND}"
    return ""


def write_plan(home: Path, plan: Plan) -> None:
    """Leaves the plan where the supervisor reads it."""
    state.write_json(home / "plan.json", asdict(plan))


def read_plan(home: Path) -> Plan:
    """Reads the plan that `write_plan` left."""
    content = json.loads((home / "plan.json").read_text())
    services = tuple(ServicePlan(**{**s, "command": tuple(s["command"])}) for s in content.pop("services"))
    return Plan(**content, services=services)
