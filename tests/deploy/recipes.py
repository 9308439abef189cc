"""What must hold for docker-compose.yml and deploy/docker/Dockerfile, checked against what the services really need.

Nothing here runs a container: the checks read the files, the services' Settings classes and the repository.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from headrace_runtime.settings import ServiceSettings
from pydantic import ValidationError

Node = dict[str, Any]

ROOT = Path(__file__).parents[2]
RECIPE = "deploy/docker/Dockerfile"
#: How long the parts of a service may take to stop, one after the other: libs/runtime drains, libs/stream leaves.
STOP_SECONDS = 15 + 10 + 5
PORTS_A_SERVICE = 5


def services() -> list[str]:
    """The services that there are."""
    return sorted(p.parent.name for p in (ROOT / "services").glob("*/pyproject.toml"))


def load_compose(path: Path = ROOT / "docker-compose.yml") -> Node:
    """The file with its variables at their defaults."""
    made: Node = _interpolated(yaml.safe_load(path.read_text()))
    return made


def _interpolated(node: Any) -> Any:
    """As compose does: after the YAML is read, in every string."""
    if isinstance(node, dict):
        return {key: _interpolated(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value) for value in node]
    return interpolate(node) if isinstance(node, str) else node


def interpolate(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Replaces ${NAME:-default}, as compose does."""
    given = environ or {}
    return re.sub(r"\$\{([A-Z_]+):-([^}]*)\}", lambda m: given.get(m[1]) or m[2], text)


def settings_of(service: str) -> type[ServiceSettings]:
    """The service's Settings class."""
    found: type[ServiceSettings] = importlib.import_module(f"headrace_{service}.settings").Settings
    return found


def compose_problems(compose: Node) -> list[str]:
    """Everything that is wrong with the file."""
    checks = (
        _every_service_is_there,
        _settings_are_right,
        _callers_can_be_known,
        _ports_agree,
        _ports_leave_room_to_scale,
        _commands_exist,
        _builds_are_possible,
        _containers_are_confined,
        _order_is_possible,
        _addresses_lead_somewhere,
        _passwords_agree,
        _kafka_knows_its_clients,
        _images_are_pinned,
        _volumes_exist,
        _folders_can_be_written,
    )
    return [problem for check in checks for problem in check(compose)]


def _ours(compose: Node) -> Iterator[tuple[str, Node]]:
    for name in services():
        if name in compose["services"]:
            yield name, compose["services"][name]


def _every_service_is_there(compose: Node) -> Iterator[str]:
    for name in services():
        if name not in compose["services"]:
            yield f"{name}: missing"


def _settings_are_right(compose: Node) -> Iterator[str]:
    """Each variable is one of the service's own, none that it needs is missing, and each value is taken."""
    for name, container in _ours(compose):
        prefix = f"HEADRACE_{name.upper()}_"
        given = {k: v for k, v in container["environment"].items() if k.startswith("HEADRACE_")}
        fields = settings_of(name).model_fields
        for variable in given:
            if not variable.startswith(prefix) or variable.removeprefix(prefix).lower() not in fields:
                yield f"{name}: {variable} is no setting of it; it has {sorted(fields)}"
        values = {k.removeprefix(prefix).lower(): v for k, v in given.items() if k.startswith(prefix)}
        try:
            settings_of(name)(**values)
        except ValidationError as error:
            for problem in error.errors():
                yield f"{name}: {prefix}{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"


def _callers_can_be_known(compose: Node) -> Iterator[str]:
    """A service starts with nobody to believe only to end at once, and without a key of its own nobody believes it."""
    for name, container in _ours(compose):
        environment = container.get("environment", {})
        for setting in ("IDENTITIES", "SERVICE_KEY"):
            variable = f"HEADRACE_{name.upper()}_{setting}"
            path = environment.get(variable, "")
            mounts = [volume.split(":")[1] for volume in container.get("volumes", []) if isinstance(volume, str)]
            if not any(path.startswith(f"{mount}/") for mount in mounts):
                yield f"{name}: {variable} must name a file in a volume that is mounted"


def _ports_agree(compose: Node) -> Iterator[str]:
    """Where it listens is what is published and what the health check asks."""
    for name, container in _ours(compose):
        host, _, port = container["environment"].get(f"HEADRACE_{name.upper()}_LISTEN", "").rpartition(":")
        if host != "0.0.0.0":
            yield f"{name}: it must listen on 0.0.0.0, or nobody outside its container reaches it"
        if [p.rpartition(":")[2] for p in container.get("ports", [])] != [port]:
            yield f"{name}: publish port {port}, where it listens"
        probe = container.get("healthcheck", {}).get("test", [])
        if probe[:-1] != ["CMD", "python", "-m", "headrace_runtime.health"] or probe[-1:] != [f"127.0.0.1:{port}"]:
            yield f"{name}: its health check must ask headrace_runtime.health about 127.0.0.1:{port}"


def _ports_leave_room_to_scale(compose: Node) -> Iterator[str]:
    taken: dict[int, str] = {}
    for name, container in compose["services"].items():
        for published in container.get("ports", []):
            address, hosts, _ = published.split(":")
            first, _, last = hosts.partition("-")
            numbers = range(int(first), int(last or first) + 1)
            if name in services() and len(numbers) < PORTS_A_SERVICE:
                yield f"{name}: give it {PORTS_A_SERVICE} ports of this machine or more, one for each process"
            if address != "127.0.0.1":
                yield f"{name}: publish on 127.0.0.1 only; who wants more says so"
            for number in numbers:
                if taken.setdefault(number, name) != name:
                    yield f"{name}: port {number} is {taken[number]}'s"


def _commands_exist(compose: Node) -> Iterator[str]:
    """What a container of ours runs can be imported, or is a script of ours."""
    for name, container in compose["services"].items():
        commands = [container.get("command", []), container.get("healthcheck", {}).get("test", [])[1:]]
        for command in commands:
            if command[:2] == ["python", "-m"] and not _is_runnable(command[2]):
                yield f"{name}: there is no module {command[2]} to run"
            if command[:1] == ["python"] and command[1] != "-m" and not (ROOT / command[1]).is_file():
                yield f"{name}: there is no {command[1]}"
        if name in services() and container.get("command") != ["python", "-m", f"headrace_{name}"]:
            yield f"{name}: it must run headrace_{name}"


def _is_runnable(module: str) -> bool:
    found = importlib.util.find_spec(module)
    return found is not None and (found.submodule_search_locations is None or _is_runnable(f"{module}.__main__"))


def _builds_are_possible(compose: Node) -> Iterator[str]:
    stages = {stage.name for stage in read_recipe((ROOT / RECIPE).read_text())}
    for name, container in compose["services"].items():
        build = container.get("build")
        if build is None:
            continue
        if not (ROOT / build["context"] / build["dockerfile"]).is_file():
            yield f"{name}: there is no {build['dockerfile']}"
        if build.get("target", "service") not in stages:
            yield f"{name}: the recipe has no stage {build['target']}"
        if name in services() and build.get("args") != {"SERVICE": name}:
            yield f"{name}: build it with SERVICE: {name}"


def _containers_are_confined(compose: Node) -> Iterator[str]:
    for name, container in compose["services"].items():
        if "container_name" in container:
            yield f"{name}: a container_name allows one process only"
        if not container.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory"):
            yield f"{name}: limit its memory"
        if container.get("build") and not (container.get("read_only") and container.get("cap_drop") == ["ALL"]):
            yield f"{name}: read_only: true and cap_drop: [ALL]"
        grace = int(str(container.get("stop_grace_period", "10s")).removesuffix("s"))
        if name in services() and grace <= STOP_SECONDS:
            yield f"{name}: stop_grace_period: more than the {STOP_SECONDS}s that it may take to stop"


def _order_is_possible(compose: Node) -> Iterator[str]:
    """Who waits for a healthy server waits for one that can say so; services wait for their database and topics."""
    everything = compose["services"]
    for name, container in everything.items():
        for other, rule in _waits_for(container).items():
            if other not in everything:
                yield f"{name}: waits for {other}, which there is none of"
            elif rule["condition"] == "service_healthy" and "healthcheck" not in everything[other]:
                yield f"{name}: waits for {other} to be healthy, which has no health check"
        if name in _all_before(name, everything):
            yield f"{name}: waits for itself"
        if name in services():
            for needed in {"database", "topics"} - set(_waits_for(container)):
                yield f"{name}: must wait for {needed} to be prepared"


def _waits_for(container: Node) -> dict[str, Node]:
    found: dict[str, Node] = container.get("depends_on", {})
    return found


def _all_before(name: str, everything: Node) -> set[str]:
    found: set[str] = set()
    waiting = [*_waits_for(everything[name])]
    while waiting:
        other = waiting.pop()
        if other not in found and other in everything:
            found.add(other)
            waiting += _waits_for(everything[other])
    return found


#: Where the servers that are not ours listen inside their containers, by their images' documentation.
KNOWN_PORTS = {"kafka": {9092}, "postgres": {5432}, "otel-collector": {4317, 4318}, "jaeger": {4317, 16686}}


def _addresses_lead_somewhere(compose: Node) -> Iterator[str]:
    """Each host:port in a variable is a container that listens there."""
    listening: dict[str, set[int]] = dict(KNOWN_PORTS)
    for name, container in _ours(compose):
        port = container["environment"].get(f"HEADRACE_{name.upper()}_LISTEN", ":0").rpartition(":")[2]
        listening[name] = {int(port)}
    for name, container in compose["services"].items():
        for variable, value in container.get("environment", {}).items():
            for host, port in _addresses(variable, str(value)):
                if int(port) not in listening.get(host, set()):
                    yield f"{name}: {variable} names {host}:{port}, where nothing listens"


def _addresses(variable: str, value: str) -> list[tuple[str, str]]:
    """The addresses of others in a value; where a container listens itself is not one."""
    if not variable.startswith(("HEADRACE_", "OTEL_")) or variable.endswith("_LISTEN"):
        return []
    return re.findall(r"(?:^|[/@,])([a-z][a-z-]*):(\d+)", value)


def _passwords_agree(compose: Node) -> Iterator[str]:
    """A service connects with its own role, and with the password that the role is given."""
    given = compose["services"].get("database", {}).get("environment", {})
    for name, container in _ours(compose):
        dsn = container["environment"].get(f"HEADRACE_{name.upper()}_DATABASE")
        if dsn is None:
            continue
        url = urlsplit(dsn)
        if url.username != f"headrace_{name}" or url.path != "/headrace":
            yield f"{name}: it connects as headrace_{name} to the database headrace"
        if url.password != given.get(f"HEADRACE_PASSWORD_{name.upper()}"):
            yield f"{name}: its password is not the one that its role is given"


def _kafka_knows_its_clients(compose: Node) -> Iterator[str]:
    """Every listener asks for a name and a password, nobody may do anything unless listed, and the passwords agree."""
    kafka = compose["services"].get("kafka", {}).get("environment", {})
    for listener in kafka.get("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "").split(","):
        name, _, protocol = listener.partition(":")
        if not protocol.startswith("SASL_"):
            yield f"kafka: the listener {name} lets anybody in"
    if kafka.get("KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND") != "false" or "KAFKA_AUTHORIZER_CLASS_NAME" not in kafka:
        yield "kafka: what is not listed must be denied"
    users: dict[str, str] = dict(
        re.findall(r'user_(\w+)="([^"]*)"', kafka.get("KAFKA_LISTENER_NAME_SERVICES_PLAIN_SASL_JAAS_CONFIG", ""))
    )
    for name, container in _ours(compose):
        prefix, environment = f"HEADRACE_{name.upper()}_KAFKA", container["environment"]
        if environment.get(f"{prefix}_USERNAME") != name:
            yield f"{name}: its name at Kafka is {name}"
        if name not in users or environment.get(f"{prefix}_PASSWORD") != users[name]:
            yield f"{name}: Kafka knows another password of it"
    setup = compose["services"].get("topics", {}).get("environment", {})
    if setup.get("HEADRACE_SETUP_KAFKA_PASSWORD") != users.get("broker"):
        yield "topics: Kafka knows another password of its superuser"


def _images_are_pinned(compose: Node) -> Iterator[str]:
    for name, container in compose["services"].items():
        if "build" not in container and ":" not in container["image"].rpartition("/")[2]:
            yield f"{name}: pin its image to a version"


def _volumes_exist(compose: Node) -> Iterator[str]:
    for name, container in compose["services"].items():
        for volume in container.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith(".") and not (ROOT / source).is_file():
                yield f"{name}: there is no {source}"
            if not source.startswith(".") and source not in compose["volumes"]:
                yield f"{name}: the volume {source} is not declared"


def _folders_can_be_written(compose: Node) -> Iterator[str]:
    """A folder that a service writes to lies on a volume: its root is read-only."""
    for name, container in _ours(compose):
        mounts = [Path(volume.split(":")[1]) for volume in container.get("volumes", [])]
        for field, found in settings_of(name).model_fields.items():
            variable = f"HEADRACE_{name.upper()}_{field.upper()}"
            path = Path(str(container["environment"].get(variable, found.default)))
            if found.annotation is Path and not any(path.is_relative_to(mount) for mount in mounts):
                yield f"{name}: {variable}={path} is not on a volume of it"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a recipe: its name, what it starts from, and its instructions as (word, rest)."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]


def read_recipe(text: str) -> list[Stage]:
    """Reads a Dockerfile as far as ours goes: no heredocs, no escapes but line continuation."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    stages: list[Stage] = []
    instructions: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            instructions = []
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(name, base, ()))
        elif stages:
            instructions.append((word, rest))
            stages[-1] = Stage(stages[-1].name, stages[-1].base, tuple(instructions))
    return stages


def recipe_problems(text: str) -> list[str]:
    """Everything that is wrong with a recipe."""
    stages = read_recipe(text)
    checks = (_copies_exist, _installs_are_pinned, _runs_as_nobody, _holds_no_secret, _bases_exist)
    return [problem for check in checks for problem in check(text, stages)]


def _copies_exist(_: str, stages: list[Stage]) -> Iterator[str]:
    for stage in stages:
        for word, rest in stage.instructions:
            if word != "COPY":
                continue
            *sources, _target = [part for part in rest.split() if not part.startswith("--")]
            origin = re.search(r"--from=(\S+)", rest)
            if origin and origin[1] not in {s.name for s in stages}:
                yield f"{stage.name}: COPY --from={origin[1]}: there is no such stage"
            if not origin:
                yield from _missing(stage.name, sources)


def _missing(stage: str, sources: list[str]) -> Iterator[str]:
    for source in sources:
        for name in services() if "${SERVICE}" in source else [""]:
            path = source.replace("${SERVICE}", name)
            if not (ROOT / path).exists():
                yield f"{stage}: COPY {path}: there is none"


def _installs_are_pinned(_: str, stages: list[Stage]) -> Iterator[str]:
    for stage in stages:
        for word, rest in stage.instructions:
            for command in rest.split("&&") if word == "RUN" else []:
                words = set(command.split())
                if "pip install" in command and not (
                    "--require-hashes" in words or {"--no-deps", "--no-index"} <= words
                ):
                    yield f"{stage.name}: install with --require-hashes, or our wheels with --no-deps --no-index"


def _runs_as_nobody(_: str, stages: list[Stage]) -> Iterator[str]:
    by_name = {stage.name: stage for stage in stages}
    for name in ("service", "setup"):
        if not _user(by_name, name).split(":")[0].isdigit() or _user(by_name, name).startswith("0"):
            yield f"{name}: USER must be a number other than 0"


def _user(by_name: Mapping[str, Stage], name: str) -> str:
    stage = by_name.get(name)
    if stage is None:
        return ""
    users = [rest for word, rest in stage.instructions if word == "USER"]
    return users[-1] if users else _user(by_name, stage.base)


def _holds_no_secret(text: str, stages: list[Stage]) -> Iterator[str]:
    for stage in stages:
        for word, rest in stage.instructions:
            if word in {"ENV", "ARG"} and re.search(r"PASSWORD|SECRET|TOKEN|_KEY", rest, re.IGNORECASE):
                yield f"{stage.name}: {word} would keep a secret in the image"
    if re.search(r"\.env\b", text):
        yield "the recipe names .env, which holds secrets"


def _bases_exist(text: str, stages: list[Stage]) -> Iterator[str]:
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    earlier: set[str] = set()
    for stage in stages:
        base = re.sub(r"\$\{(\w+)\}", lambda m: arguments.get(m[1], ""), stage.base)
        if base not in earlier and not re.search(r":\d", base):
            yield f"{stage.name}: FROM {stage.base}: an earlier stage, or an image pinned to a version"
        earlier.add(stage.name)


def pinned(requirements: str) -> set[str]:
    """The distributions that requirements/<name>.txt pins, in lower case with hyphens."""
    text = (ROOT / "requirements" / f"{requirements}.txt").read_text()
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def unpinned(requirements: str) -> list[str]:
    """The distributions in requirements/<name>.txt that have no hash."""
    text = (ROOT / "requirements" / f"{requirements}.txt").read_text().replace("\\\n", " ")
    return [line.split()[0] for line in text.splitlines() if "==" in line and "--hash=sha256:" not in line]


def imports(source: str) -> set[str]:
    """The top-level names that a module imports from outside the standard library and Headrace."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and not name.startswith("headrace")}


def is_provided(top: str, distributions: set[str]) -> bool:
    """Whether one of the distributions brings an import name; several share "google" and "opentelemetry"."""
    owners = importlib.metadata.packages_distributions().get(top, [])
    return any(normal(owner) in distributions for owner in owners)
