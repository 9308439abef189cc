"""`headrace loop show|rules|pause|resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from headrace.training.v1.service_pb2 import LoopRules

from headrace_client.cli.console import notice, say, say_json
from headrace_client.cli.governance import connected
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.running import DONE, run
from headrace_client.cli.train import Target, to_target
from headrace_client.cli.train_words import loop_json, loop_lines, rules_lines

#: Who sets the rules, and who stops everybody's, where Headrace makes its own tokens.
_ROLE, _STOPPER = "developer", "sre"

loop = typer.Typer(
    no_args_is_help=True, help="The loop from drift to a better model: what it does by itself, and the switch."
)

AllOption = Annotated[bool, typer.Option("--all", help="Everybody's, not one tenant's. For an SRE.")]


@loop.command()
def show(
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show whether the loop is on, what it may do by itself, and what of its budget is used."""
    run(_show(tenant, person=person, stated=endpoints, as_json=as_json))


async def _show(tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.get_loop(tenant=tenant)
    if as_json:
        say_json(loop_json(found))
    else:
        say(*loop_lines(found))
    return DONE


FILE = "FILE.yaml"


@loop.command()
def rules(
    given: Annotated[
        Path | None,
        typer.Argument(
            metavar=f"[{FILE}]", exists=True, dir_okay=False, show_default=False, help="The same as --file."
        ),
    ] = None,
    *,
    automatic: Annotated[
        bool | None,
        typer.Option("--automatic/--by-hand", show_default=False, help="Whether anything starts by itself."),
    ] = None,
    debounce: Annotated[
        int | None,
        typer.Option(
            "--debounce", min=1, metavar="SECONDS", show_default=False, help="So long a cause waits for more."
        ),
    ] = None,
    runs_a_day: Annotated[
        int | None, typer.Option("--runs-a-day", min=1, show_default=False, help="People's own are not counted.")
    ] = None,
    compute: Annotated[
        int | None,
        typer.Option(
            "--compute-a-day",
            min=1,
            metavar="SECONDS",
            show_default=False,
            help="Of compute, at most: what has begun goes on.",
        ),
    ] = None,
    schedule: Annotated[
        int | None,
        typer.Option("--schedule", min=0, metavar="SECONDS", show_default=False, help="A run so often; 0: never."),
    ] = None,
    targets: Annotated[
        list[Target] | None,
        typer.Option(
            "--train", show_default=False, help="What drift and the schedule have trained; say again for more."
        ),
    ] = None,
    approved: Annotated[
        bool | None,
        typer.Option("--approved/--all-answers", show_default=False, help="Learn from what people were content with."),
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", show_default=False, help="Passes over the rows.")] = None,
    canary_share: Annotated[
        float | None, typer.Option("--canary-share", show_default=False, help="Of queries, above 0 to .5.")
    ] = None,
    canary_answers: Annotated[
        int | None,
        typer.Option("--canary-answers", min=1, show_default=False, help="At least so many before it is promoted."),
    ] = None,
    canary_seconds: Annotated[
        int | None,
        typer.Option("--canary-seconds", min=1, show_default=False, help="Rolled back when nothing is proven by then."),
    ] = None,
    promote: Annotated[
        bool | None,
        typer.Option(
            "--promote-by-itself/--promote-by-hand", show_default=False, help="Who promotes what has proven itself."
        ),
    ] = None,
    must_pass: Annotated[
        str | None,
        typer.Option("--must-pass", metavar="DATASET", show_default=False, help="Rows that may not become worse."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            exists=True,
            dir_okay=False,
            metavar=FILE,
            show_default=False,
            help="All of the rules, as `headrace loop show --json` names them; what is not there has its default.",
        ),
    ] = None,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Change what the loop does by itself; what you don't name stays. Without an option, show it.

    Example: headrace loop rules --tenant demo --automatic --debounce 60 --promote-by-itself
    """
    changes: dict[str, Any] = {
        "automatic": automatic,
        "debounce_seconds": debounce,
        "runs_a_day": runs_a_day,
        "compute_seconds_a_day": compute,
        "schedule_seconds": schedule,
        "targets": [to_target(target) for target in targets] if targets else None,
        "query": {"approved_only": approved} if approved is not None else None,
        "recipe": {"epochs": epochs} if epochs is not None else None,
        "canary_share": canary_share,
        "canary_least_answers": canary_answers,
        "canary_most_seconds": canary_seconds,
        "promote_by_itself": promote,
        "must_pass": must_pass,
    }
    said = {name: value for name, value in changes.items() if value is not None}
    if given and file and given != file:
        raise typer.BadParameter("name one file of rules", param_hint="--file")
    named = given or file
    whole = _read(named) if named else None
    run(_rules(tenant, said, whole, person=person, stated=endpoints, as_json=as_json))


def _read(file: Path) -> LoopRules:
    try:
        content = yaml.safe_load(file.read_text())
        return ParseDict(content if isinstance(content, dict) else {"": content}, LoopRules())
    except (ParseError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read as rules: {error}", param_hint="--file") from error


async def _rules(
    tenant: str, said: dict[str, Any], whole: LoopRules | None, *, person: str, stated: str, as_json: bool
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        now = whole or (await client.get_loop(tenant=tenant)).rules
        if said or whole:
            now = await client.put_loop_rules(_changed(now, said), tenant=tenant)
    if as_json:
        say_json(MessageToDict(now, preserving_proto_field_name=True))
    else:
        say(*rules_lines(now))
    return DONE


def _changed(now: LoopRules, said: dict[str, Any]) -> LoopRules:
    """The rules with what was said; of query and recipe the rest stays."""
    changed = LoopRules()
    changed.CopyFrom(now)
    for name, value in said.items():
        if isinstance(value, dict):
            for inner, word in value.items():
                setattr(getattr(changed, name), inner, word)
        elif isinstance(value, list):
            del getattr(changed, name)[:]
            getattr(changed, name).extend(value)
        else:
            setattr(changed, name, value)
    return changed


@loop.command()
def pause(
    *,
    everybody: AllOption = False,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Stop what trains now too, and take canaries out.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", show_default=False, help="Why, for those who find it paused.")
    ] = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have nothing start, and no canary go further, until it is resumed.

    Example: headrace loop pause --all --at-once --reason "the machines are needed"
    """
    whose = "" if everybody else tenant
    run(_pause(whose, reason, at_once=at_once, person=person, stated=endpoints, as_json=as_json))


async def _pause(tenant: str, reason: str, *, at_once: bool, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_STOPPER) as client:
        response = await client.pause_loop(tenant=tenant, reason=reason, at_once=at_once)
    if as_json:
        say_json({"stopped_runs": list(response.stopped_runs), "taken_out": list(response.taken_out)})
        return DONE
    whose = f"--tenant {tenant}" if tenant else "--all"
    say(f"Paused for {tenant or 'everybody'}. headrace loop resume {whose} goes on.")
    say(*(f"stopped run {one}" for one in response.stopped_runs), *(f"took out {one}" for one in response.taken_out))
    if not at_once:
        notice("What trains now goes on; --at-once stops it too.")
    return DONE


@loop.command()
def resume(
    *,
    everybody: AllOption = False,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Go on. A pause of everybody's is taken away with --all."""
    run(_resume("" if everybody else tenant, person=person, stated=endpoints, as_json=as_json))


async def _resume(tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_STOPPER) as client:
        await client.resume_loop(tenant=tenant)
    if as_json:
        say_json({"resumed": tenant or "*"})
    else:
        say(f"Resumed for {tenant or 'everybody'}.")
    return DONE
