"""docker-compose.yml and the image recipe fit the services. They are checked here, and were not run: see recipes.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import recipes

COMPOSE = recipes.load_compose()
RECIPE = (recipes.ROOT / recipes.RECIPE).read_text()
#: The only ones that may carry the gigabytes of torch.
WITH_TORCH = {"embedder", "inference", "trainer"}


def test_compose_fits_the_services() -> None:
    assert recipes.compose_problems(COMPOSE) == []


def test_the_recipe_can_be_followed() -> None:
    assert recipes.recipe_problems(RECIPE) == []


SEEDED: list[tuple[str, Any, str]] = [
    ("services/ingest/environment/HEADRACE_INGEST_DATABSE", "postgresql://x", "HEADRACE_INGEST_DATABSE is no setting"),
    ("services/feedback/environment/HEADRACE_FEEDBACK_DATABASE", None, "HEADRACE_FEEDBACK_DATABASE: Field required"),
    ("services/embedder/environment/HEADRACE_EMBEDDER_THREADS", "many", "HEADRACE_EMBEDDER_THREADS: Input should be"),
    ("services/ingest/environment/HEADRACE_INGEST_LISTEN", "0.0.0.0:7499", "publish port 7499"),
    ("services/ingest/environment/HEADRACE_INGEST_LISTEN", "127.0.0.1:7401", "must listen on 0.0.0.0"),
    ("services/ingest/healthcheck/test/4", "127.0.0.1:7402", "its health check must ask"),
    ("services/ingest/ports/0", "127.0.0.1:7510:7401", "ports of this machine or more"),
    ("services/ingest/ports/0", "127.0.0.1:7510-7525:7401", "port 7520 is ingest's"),
    ("services/ingest/ports/0", "0.0.0.0:7510-7519:7401", "publish on 127.0.0.1 only"),
    ("services/ingest/command/2", "headrace_ingst", "there is no module headrace_ingst"),
    ("services/topics/command/1", "deploy/docker/prepar.py", "there is no deploy/docker/prepar.py"),
    ("services/ingest/build/dockerfile", "Dockerfile", "there is no Dockerfile"),
    ("services/ingest/build/args/SERVICE", "feedback", "build it with SERVICE: ingest"),
    ("services/topics/build/target", "seutp", "the recipe has no stage seutp"),
    ("services/ingest/container_name", "ingest", "a container_name allows one process"),
    ("services/ingest/deploy/resources/limits/memory", None, "limit its memory"),
    ("services/ingest/read_only", False, "read_only: true"),
    ("services/ingest/stop_grace_period", "10s", "stop_grace_period: more than"),
    ("services/ingest/depends_on/topics", None, "must wait for topics"),
    ("services/topics/depends_on/topics", {"condition": "service_started"}, "waits for itself"),
    ("services/kafka/healthcheck", None, "waits for kafka to be healthy"),
    ("services/jaeger/image", "jaegertracing/jaeger", "pin its image"),
    ("services/ingest/environment/HEADRACE_INGEST_KAFKA", "kafka:9094", "names kafka:9094, where nothing listens"),
    ("services/retriever/environment/HEADRACE_RETRIEVER_EMBEDDER", "embeder:7403", "names embeder:7403"),
    ("services/database/environment/HEADRACE_PASSWORD_INGEST", "another", "its password is not the one"),
    ("services/ingest/environment/HEADRACE_INGEST_DATABASE", "postgresql://postgres:x@postgres:5432/x", "as headrace_"),
    ("services/kafka/environment/KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "PRODUCTS:PLAINTEXT", "lets anybody in"),
    ("services/kafka/environment/KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND", "true", "what is not listed must be denied"),
    ("services/kafka/environment/KAFKA_AUTHORIZER_CLASS_NAME", None, "what is not listed must be denied"),
    ("services/ingest/environment/HEADRACE_INGEST_KAFKA_USERNAME", "products", "its name at Kafka is ingest"),
    ("services/ingest/environment/HEADRACE_INGEST_KAFKA_PASSWORD", None, "Kafka knows another password of it"),
    ("services/topics/environment/HEADRACE_SETUP_KAFKA_PASSWORD", "x", "another password of its superuser"),
    ("services/kafka/image", "apache/kafka", "pin its image"),
    ("services/otel-collector/volumes/0", "./deploy/otel/colector.yaml:/x:ro", "there is no ./deploy/otel/colector"),
    ("services/inference/environment/HEADRACE_INFERENCE_CACHE", None, "HEADRACE_INFERENCE_CACHE=.headrace/models is"),
    ("services/inference/environment/HEADRACE_INFERENCE_BACKEND", "openai", "needs HEADRACE_INFERENCE_OPENAI_URL"),
    ("services/inference/volumes/0", "modls:/var/cache/headrace", "the volume modls is not declared"),
    ("services/ingest/environment/HEADRACE_INGEST_IDENTITIES", None, "HEADRACE_INGEST_IDENTITIES must name a file"),
    ("services/ingest/volumes", None, "HEADRACE_INGEST_SERVICE_KEY must name a file"),
    ("services/classifier", None, "classifier: missing"),
]  # fmt: skip


def tampered(place: str, value: Any) -> recipes.Node:
    """The file with one thing changed, or taken out."""
    made = deepcopy(COMPOSE)
    *path, last = place.split("/")
    node: Any = made
    for step in path:
        node = node[int(step) if isinstance(node, list) else step]
    key: Any = int(last) if isinstance(node, list) else last
    if value is None:
        del node[key]
    else:
        node[key] = value
    return made


@pytest.mark.parametrize(("place", "value", "problem"), SEEDED)
def test_a_mistake_in_compose_is_caught(place: str, value: Any, problem: str) -> None:
    found = recipes.compose_problems(tampered(place, value))
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("COPY libs libs", "COPY lib lib", "COPY lib: there is none"),
        ("COPY requirements/${SERVICE}.txt", "COPY requirements/${SERVICE}.lock", "ingest.lock: there is none"),
        ("COPY --from=service-parts", "COPY --from=parts", "there is no such stage"),
        ("--require-hashes -r requirements/service.txt", "-r requirements/service.txt", "--require-hashes, or"),
        ("--no-deps --no-index wheels/*.whl", "wheels/*.whl", "install with --require-hashes"),
        ("USER 10001:10001", "USER 0", "USER must be a number"),
        ("USER 10001:10001", "", "USER must be a number"),
        ("ENV HEADRACE_SERVICE", "ENV HEADRACE_PASSWORD=x HEADRACE_SERVICE", "keep a secret"),
        ("python:3.11-slim-bookworm", "python:latest", "pinned to a version"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_recipe_is_caught(old: str, new: str, problem: str) -> None:
    assert old in RECIPE
    found = recipes.recipe_problems(RECIPE.replace(old, new))
    assert any(problem in one for one in found), found


@pytest.mark.parametrize("service", recipes.services())
def test_only_those_with_a_model_carry_torch(service: str) -> None:
    assert ("torch" in recipes.pinned(service)) is (service in WITH_TORCH)


@pytest.mark.parametrize("name", [*recipes.services(), "uv", "build", "embedded"])
def test_what_an_image_installs_is_pinned_by_hash(name: str) -> None:
    assert recipes.pinned(name)
    assert recipes.unpinned(name) == []


OURS = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps({n: m.__file__ for n, m in sys.modules.items() if n.startswith("headrace_") and m.__file__}))
"""


def loaded(service: str) -> dict[str, Path]:
    """Our own modules that a service consists of once it runs, by name."""
    command = [sys.executable, "-c", OURS, f"headrace_{service}.app"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return {name: Path(file) for name, file in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize("service", recipes.services())
def test_what_a_service_imports_is_in_its_image(service: str) -> None:
    modules = loaded(service)
    needed = {top for file in modules.values() for top in recipes.imports(file.read_text())}
    assert {"aiokafka", "grpc", "uvloop"} <= needed
    assert [top for top in sorted(needed) if not recipes.is_provided(top, recipes.pinned(service))] == []
    others = {f"headrace_{name}" for name in recipes.services()} - {f"headrace_{service}"}
    assert not others & set(modules), "a service imports another"


def test_an_import_that_the_image_lacks_is_caught() -> None:
    assert recipes.imports("import torch.nn as nn\nfrom . import here\nfrom headrace_stream import Bus") == {"torch"}
    assert not recipes.is_provided("torch", recipes.pinned("classifier"))
    assert recipes.is_provided("torch", recipes.pinned("embedder"))


def test_kafka_is_the_version_that_the_tests_run_on() -> None:
    pom = (recipes.ROOT / "deploy" / "embedded" / "pom.xml").read_text()
    version = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)</version>", pom)
    assert version is not None
    assert COMPOSE["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_kafka_takes_the_largest_message() -> None:
    topics = [yaml.safe_load(p.read_text()) for p in (recipes.ROOT / "protos" / "topics").glob("*.yaml")]
    largest = max(topic["max_message_bytes"] for topic in topics)
    assert int(COMPOSE["services"]["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"]) > largest


def test_the_collector_hands_on_what_it_takes() -> None:
    collector = yaml.safe_load((recipes.ROOT / "deploy" / "otel" / "collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert set(pipeline[part]) <= set(collector[part])
    host, _, port = collector["exporters"]["otlp/jaeger"]["endpoint"].partition(":")
    assert int(port) in recipes.KNOWN_PORTS[host]
    assert host in COMPOSE["services"]


def test_a_variable_of_the_environment_wins_over_the_default() -> None:
    text = "a: ${NAME:-default}"
    assert recipes.interpolate(text) == "a: default"
    assert recipes.interpolate(text, {"NAME": "mine"}) == "a: mine"


def test_a_volume_that_a_service_writes_to_is_its_own_users() -> None:
    """A new volume takes its owner from the image's folder."""
    runtime = next(stage for stage in recipes.read_recipe(RECIPE) if stage.name == "runtime")
    made = [rest for word, rest in runtime.instructions if word == "RUN" and "install --directory" in rest]
    for name in recipes.services():
        for volume in COMPOSE["services"][name].get("volumes", []):
            (owned,) = [command.partition("--owner 10001 --group 10001 ")[2].split() for command in made]
            assert volume.split(":")[1] in owned


def test_no_password_is_written_where_it_cannot_be_changed() -> None:
    text = (recipes.ROOT / "docker-compose.yml").read_text()
    assert all(f"{{{name}:-" in text for name in ("POSTGRES_PASSWORD", "HEADRACE_PASSWORD_INGEST"))
    assert text.count("for-development-only") == len(re.findall(r"\$\{[A-Z_]+:-for-development-only\}", text))
