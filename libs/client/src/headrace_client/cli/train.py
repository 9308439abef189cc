"""`headrace train start|watch|show|list|cancel`."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.training.v1 import service_pb2, training_pb2

from headrace_client.cli.console import notice, notices, say, say_json, say_table
from headrace_client.cli.governance import connected
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.progress import progress_bars
from headrace_client.cli.running import DONE, FAILED, run
from headrace_client.cli.train_words import COLUMNS, ENDED, progress_line, run_json, run_lines, run_row, state_word
from headrace_client.client import Client

#: Who may train, where Headrace makes its own tokens.
_ROLE = "developer"

train = typer.Typer(no_args_is_help=True, help="Train a model on what was asked and answered, and see how it goes.")


class Target(StrEnum):
    """What is trained."""

    GENERATOR = "generator"
    EMBEDDER = "embedder"
    KINDS = "kinds"


class Method(StrEnum):
    """How is trained."""

    LORA = "lora"
    FULL = "full"
    CONTINUED_PRETRAINING = "continued-pretraining"


RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)]


@train.command()
def start(
    *,
    target: Annotated[
        Target,
        typer.Option(
            "--target", help="What writes answers, what finds passages, or what recognises kinds of questions."
        ),
    ] = Target.GENERATOR,
    dataset: Annotated[
        str,
        typer.Option("--dataset", show_default=False, help="Learn from this snapshot; else one is built by the rules."),
    ] = "",
    kind: Annotated[
        list[str] | None, typer.Option("--kind", show_default=False, help="Learn from this kind alone; say again.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", show_default=False, help="And from this source alone; say again.")
    ] = None,
    approved: Annotated[bool, typer.Option("--approved", help="And from what people were content with.")] = False,
    documents: Annotated[
        list[str] | None,
        typer.Option("--documents", show_default=False, help="Learn from this source's documents too; say again."),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", show_default=False, help="Begin from this model, one of the trainer's bases.")
    ] = "",
    method: Annotated[
        Method | None, typer.Option("--method", show_default=False, help="A generator's: adapters, or all weights.")
    ] = None,
    epochs: Annotated[float, typer.Option("--epochs", min=0.0, show_default=False, help="Passes over the rows.")] = 0.0,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=0.0, show_default=False, help="The peak learning rate.")
    ] = 0.0,
    rank: Annotated[int, typer.Option("--rank", min=0, show_default=False, help="The rank of LoRA's matrices.")] = 0,
    most_seconds: Annotated[
        int,
        typer.Option("--most-seconds", min=0, show_default=False, help="A run that trains longer has failed."),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For a run that can be had again.")] = 0,
    detach: Annotated[bool, typer.Option("--detach", help="Start it, and don't wait for it.")] = False,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Train a model now, and follow it to the gate. It goes on in the background when you leave.

    Always from the base, on a snapshot that policy and grants allow row by row. What you don't say is as the loop's
    rules have it. Where a run waits already, yours is folded into it, and your word holds.

    Example: headrace train start --tenant demo --approved
    """
    request = service_pb2.StartTrainingRequest(
        tenant=tenant, target=to_target(target), dataset=dataset, base=base, seed=seed
    )
    if kind or source or approved or documents:
        request.query.CopyFrom(
            DatasetQuery(
                kinds=kind or (),
                sources=source or (),
                approved_only=approved,
                document_sources=documents or (),
                documents_only=method is Method.CONTINUED_PRETRAINING,
            )
        )
    if method or epochs or learning_rate or rank or most_seconds:
        request.recipe.CopyFrom(
            training_pb2.Recipe(
                method=_method(method), epochs=epochs, learning_rate=learning_rate, rank=rank, most_seconds=most_seconds
            )
        )
    run(_start(request, detach=detach, person=person, stated=endpoints, as_json=as_json))


def to_target(target: Target) -> training_pb2.Target.ValueType:
    """What is trained, as the contract has it."""
    return training_pb2.Target.Value(f"TARGET_{target.name}")


def _method(method: Method | None) -> training_pb2.Method.ValueType:
    return training_pb2.Method.Value(f"METHOD_{method.name}" if method else "METHOD_UNSPECIFIED")


async def _start(
    request: service_pb2.StartTrainingRequest, *, detach: bool, person: str, stated: str, as_json: bool
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        response = await client.start_training(request)
        if not response.created:
            notice("A run was waiting already: yours is folded into it.")
        if detach:
            _say_how_to_watch(response.run)
            return _shown(response.run, as_json=as_json)
        return await _seen_through(client, response.run, as_json=as_json)


def _say_how_to_watch(one: training_pb2.TrainingRun) -> None:
    tenant = f" --tenant {one.tenant}"
    notice(f"The run goes on. headrace train watch {one.run_id}{tenant} shows it; headrace train cancel stops it.")


async def _seen_through(client: Client, begun: training_pb2.TrainingRun, *, as_json: bool) -> int:
    """Follows a run to its end. Whoever leaves lets it go on."""
    try:
        return _shown(await _followed(client, begun), as_json=as_json)
    except asyncio.CancelledError:
        _say_how_to_watch(begun)
        raise


async def _followed(client: Client, begun: training_pb2.TrainingRun) -> training_pb2.TrainingRun:
    now, said = begun, ""
    with progress_bars() as bar:
        task = bar.add_task(state_word(begun), total=None)
        async for now in client.follow_training(begun.run_id, tenant=begun.tenant):
            bar.update(task, description=_line(now), completed=now.step, total=now.steps or None)
            if not notices().is_terminal and state_word(now) != said:
                said = state_word(now)
                notice(f"{said} …")
    return now


def _line(now: training_pb2.TrainingRun) -> str:
    is_training = now.state == training_pb2.RUN_STATE_TRAINING and now.step
    return progress_line(now) if is_training else state_word(now)


def _shown(one: training_pb2.TrainingRun, *, as_json: bool) -> int:
    if as_json:
        say_json(run_json(one))
    else:
        say(*run_lines(one))
    return DONE if one.state not in ENDED or one.state == training_pb2.RUN_STATE_DONE else FAILED


@train.command()
def watch(
    run_id: RunArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Follow a run to its end. Leaving stops nothing."""
    run(_watch(run_id, tenant, person=person, stated=endpoints, as_json=as_json))


async def _watch(run_id: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        return await _seen_through(client, await client.get_training(run_id, tenant=tenant), as_json=as_json)


@train.command()
def show(
    run_id: RunArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how a run stands; with --json its loss curve too."""
    run(_show(run_id, tenant, person=person, stated=endpoints, as_json=as_json))


async def _show(run_id: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        _shown(await client.get_training(run_id, tenant=tenant), as_json=as_json)
    return DONE


@train.command("list")
def list_(
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the runs, newest first."""
    run(_list(tenant, person=person, stated=endpoints, as_json=as_json))


async def _list(tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.trainings(tenant=tenant)
    if as_json:
        for one in found:
            say_json(run_json(one))
    elif found:
        say_table(COLUMNS, [run_row(one) for one in found])
    else:
        notice("Nothing was trained yet.")
    return DONE


@train.command()
def cancel(
    run_id: RunArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop a run. Its checkpoints are deleted."""
    run(_cancel(run_id, tenant, person=person, stated=endpoints, as_json=as_json))


async def _cancel(run_id: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        _shown(await client.cancel_training(run_id, tenant=tenant), as_json=as_json)
    return DONE
