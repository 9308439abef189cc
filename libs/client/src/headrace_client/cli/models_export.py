"""Telling MLflow of a model. MLflow is imported when it is asked for: it is no dependency of the client."""

from __future__ import annotations

import importlib
from typing import Any
from urllib.parse import urlsplit

import typer
from headrace.training.v1.models_pb2 import Model
from headrace.training.v1.service_pb2 import GetModelResponse


def export_model(found: GetModelResponse, tracking: Any) -> str:
    """Registers a version with an MlflowClient, and returns its number."""
    model = found.model
    name = model.model.rpartition("@")[0]
    experiment = tracking.get_experiment_by_name(f"headrace {model.tenant}")
    experiment_id = experiment.experiment_id if experiment else tracking.create_experiment(f"headrace {model.tenant}")
    run = tracking.create_run(experiment_id, run_name=model.model, tags=tags_of(model)).info
    run_id = run.run_id
    for key, value in metrics_of(model).items():
        tracking.log_metric(run_id, key, value)
    tracking.log_text(run_id, found.card, "card.md")
    tracking.set_terminated(run_id)
    if not any(known.name == name for known in tracking.search_registered_models(f"name = '{name}'")):
        tracking.create_registered_model(name)
    source = source_of(model.address, artifacts=run.artifact_uri)
    version = tracking.create_model_version(name, source=source, run_id=run_id, tags=tags_of(model))
    return str(version.version)


def source_of(address: str, *, artifacts: str) -> str:
    """Where a version is said to come from: its weights' address, or the run's artifacts where that is a folder. A
    server refuses folders outside of these: it would read them for whoever asks. A tag has the address in any case."""
    return artifacts if urlsplit(address).scheme in ("", "file") else address


def tags_of(model: Model) -> dict[str, str]:
    """What identifies it, and what it stands on."""
    return {
        "headrace.model": model.model,
        "headrace.address": model.address,
        "headrace.dataset": model.dataset_id,
        "headrace.run": model.run_id,
        "headrace.base": f"{model.base.name} {model.base.version}".strip(),
        "headrace.trace": model.trace_id,
        "headrace.grants": ",".join(model.grants),
    }


def metrics_of(model: Model) -> dict[str, float]:
    """What the gate measured, rule by rule; of all kinds together."""
    return {line.rule.replace(":", "."): line.candidate for line in model.gate.lines if not line.kind}


def load_mlflow() -> Any:
    """The library. Raises BadParameter where it is not installed."""
    try:
        return importlib.import_module("mlflow")
    except ImportError:
        raise typer.BadParameter("MLflow is not installed: pip install mlflow-skinny", param_hint="--mlflow") from None
