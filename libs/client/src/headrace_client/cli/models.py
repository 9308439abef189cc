"""`headrace models list|show|promote|rollback|export`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer
from headrace.training.v1 import models_pb2, service_pb2, training_pb2

from headrace_client.cli.console import say, say_json, say_table, waiting
from headrace_client.cli.governance import connected
from headrace_client.cli.models_export import export_model, load_mlflow
from headrace_client.cli.models_words import (
    COLUMNS,
    model_json,
    model_row,
    outcome_lines,
    serving_json,
    serving_lines,
)
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.running import DONE, run
from headrace_client.cli.train import Target

_ROLE = "developer"

models = typer.Typer(
    no_args_is_help=True, help="Keep trained models: which answers, what the gate said, what came of it."
)


class State(StrEnum):
    """How a model stands."""

    CANDIDATE = "candidate"
    CANARY = "canary"
    LIVE = "live"
    RETIRED = "retired"


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help='"NAME@VERSION", the first 8 or more digits of a version, "live", or "live-embedder".',
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", show_default=False, help="Why, for the audit log: at most 500 characters.")
]


@models.command("list")
def list_models(
    *,
    target: Annotated[
        Target | None, typer.Option("--target", show_default=False, help="Only those of this target.")
    ] = None,
    state: Annotated[
        State | None, typer.Option("--state", show_default=False, help="Only those in this state.")
    ] = None,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the tenant's models, newest first.

    Example: headrace models list --state live
    """
    wanted = models_pb2.ModelState.Value(f"MODEL_STATE_{state.name}" if state else "MODEL_STATE_UNSPECIFIED")
    of = training_pb2.Target.Value(f"TARGET_{target.name}" if target else "TARGET_UNSPECIFIED")
    run(_list(of, wanted, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _list(
    target: training_pb2.Target.ValueType,
    state: models_pb2.ModelState.ValueType,
    *,
    tenant: str,
    person: str,
    stated: str,
    as_json: bool,
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.models(tenant=tenant, target=target, state=state)
    if as_json:
        for one in found:
            say_json(model_json(one))
    elif found:
        say_table(COLUMNS, [model_row(one) for one in found])
    else:
        say("There are none: the base answers. `headrace train start` makes one.")
    return DONE


@models.command()
def show(
    model: ModelArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a model's card: what it was made of, what the gate found rule by rule, and how its canary does.

    Example: headrace models show live
    """
    run(_show(model, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _show(model: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.model(model, tenant=tenant)
    if as_json:
        say_json({**model_json(found.model), "card": found.card, "serving": serving_json(found)})
    else:
        say(*found.card.splitlines(), *serving_lines(found))
    return DONE


@models.command()
def promote(
    model: ModelArgument,
    *,
    at_once: Annotated[bool, typer.Option("--at-once", help="Everything at once, without a canary.")] = False,
    reason: ReasonOption = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a model answer that the gate let through: a share as a canary first, or everything with --at-once.

    A canary that has proven itself and waits for you is promoted with --at-once too. An embedder has no share: it
    answers everything at once.

    Example: headrace models promote 0123456789ab --reason "the new product names"
    """
    request = service_pb2.PromoteModelRequest(tenant=tenant, model=model, at_once=at_once, reason=reason)
    run(_promote(request, person=person, stated=endpoints, as_json=as_json))


async def _promote(request: service_pb2.PromoteModelRequest, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        with waiting("Bringing it into service"):
            after = await client.promote_model(request)
    if as_json:
        say_json(model_json(after))
    else:
        say(*outcome_lines(after))
    return DONE


@models.command()
def rollback(
    model: ModelArgument,
    *,
    reason: ReasonOption = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take a canary out, or put the model before the live one back; "live-embedder" is the embedder that answers.

    Example: headrace models rollback live --reason "it forgets the units"
    """
    run(_rollback(model, reason, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _rollback(model: str, reason: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        with waiting("Putting back what was before"):
            after = await client.roll_back_model(model, tenant=tenant, reason=reason)
    if as_json:
        say_json({**model_json(after.model), "live": after.live})
    else:
        say(f"{after.model.model} answers no more; {after.live} does.")
    return DONE


@models.command()
def export(
    model: ModelArgument,
    *,
    mlflow: Annotated[
        str, typer.Option("--mlflow", show_default=False, metavar="URI", help="An MLflow tracking server or folder.")
    ],
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
) -> None:
    """Tell an MLflow registry of a model: its card, what the gate measured, and where its weights are.

    MLflow is not installed with Headrace: pip install mlflow-skinny. Weights stay where they are, and no rows go along.

    Example: headrace models export live --mlflow http://localhost:5000
    """
    library = load_mlflow()
    run(_export(model, mlflow, library, tenant=tenant, person=person, stated=endpoints))


async def _export(model: str, uri: str, library: Any, *, tenant: str, person: str, stated: str) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.model(model, tenant=tenant)
    with waiting("Telling MLflow"):
        version = export_model(found, library.tracking.MlflowClient(tracking_uri=uri, registry_uri=uri))
    say(f"{found.model.model} is version {version} in {uri}.")
    return DONE
