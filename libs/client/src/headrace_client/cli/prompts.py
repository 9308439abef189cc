"""`headrace prompts put|list|show|diff|label`."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path
from typing import Annotated, Any

import typer
from headrace.feedback.v1.reports_pb2 import PromptFigures
from headrace.inference.v1.prompts_pb2 import Prompt

from headrace_client.cli.console import notice, say, say_json, say_table
from headrace_client.cli.governance import connected, json_moment, moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.prompt_figures import figure_cells, figures_json
from headrace_client.cli.prompt_files import prompt_text, read_prompt
from headrace_client.cli.running import DONE, run
from headrace_client.client import Client
from headrace_client.errors import Denied, NotConfigured, TimedOut, Unavailable, Unreachable

prompts = typer.Typer(
    no_args_is_help=True,
    help="Say what a model is shown before the passages and the question. A version never changes; a label names one "
    "of them, and whoever follows it follows at once.",
)

#: Who may change prompts.
_ROLE = "developer"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The prompt.")]


@prompts.command()
def put(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False, help="YAML; see the how-to."),
    ],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store a prompt under its next version. What is stored already, word for word, keeps its version.

    The file: `name`, `system`, `question` with {passages} and {question} once each, and as you like `examples` (each
    `asked` and `answered`) and a `note`. Whoever follows a label sees it when the label is moved.
    """
    run(_put(read_prompt(file), tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@prompts.command("list")
def list_(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", show_default=False, help="Every version of this prompt.")
    ] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the newest version of each prompt, or every version of one, with what it came to in live traffic.

    The figures are of answers that you may evaluate without a grant; headrace report compares variants.
    """
    run(_list(name, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@prompts.command()
def show(
    name: NameArgument,
    which: Annotated[
        str, typer.Argument(metavar="[VERSION|LABEL]", show_default=False, help="Which version: the newest, else.")
    ] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a prompt as the file that it can be put from.

    Example: headrace prompts show greeting production > greeting.yaml
    """
    run(_show(name, which, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@prompts.command()
def diff(
    name: NameArgument,
    before: Annotated[
        str,
        typer.Argument(
            metavar="[FROM]", show_default=False, help="A version or a label: production, or the one before."
        ),
    ] = "",
    after: Annotated[
        str, typer.Argument(metavar="[TO]", show_default=False, help="A version or a label: the newest, else.")
    ] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
) -> None:
    """Show what changed from one version to another, line by line.

    Example: headrace prompts diff greeting production 4
    """
    run(_diff(name, before, after, tenant=tenant, person=person, stated=endpoints))


@prompts.command()
def label(
    name: NameArgument,
    label: Annotated[str, typer.Argument(metavar="LABEL", show_default=False, help="For example production.")],
    version: Annotated[
        int, typer.Argument(metavar="[VERSION]", min=0, show_default=False, help="What it names from now on.")
    ] = 0,
    *,
    take_away: Annotated[bool, typer.Option("--take-away", help="It names nothing from now on.")] = False,
    reason: Annotated[str, typer.Option("--reason", show_default=False, help="Why, for whoever reads it later.")] = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Move a label to a version. Every instance follows at once, and it is on the audit log.

    Example: headrace prompts label greeting production 4 --reason "Shorter answers, as asked"
    """
    if bool(version) == take_away:
        raise typer.BadParameter("Say a version, or --take-away.")
    run(_label(name, label, version, reason, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


# --- what they do -----------------------------------------------------------------------------------------------------


async def _put(prompt: Prompt, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        stored = await client.put_prompt(prompt, tenant=tenant)
    if as_json:
        say_json({**prompt_json(stored.prompt), "created": stored.created})
        return DONE
    made = stored.prompt
    say(f"Prompt {made.name} is version {made.version}{'' if stored.created else ', as it was'}.")
    if not made.labels:
        notice(f"No label names it: headrace prompts label {made.name} production {made.version}")
    return DONE


async def _list(name: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.prompts(tenant=tenant, name=name)
        figures = await _figures(client, tenant=tenant, name=name) if found else {}
    if as_json:
        for prompt in found:
            say_json({**prompt_json(prompt), "figures": figures_json(figures.get(_which(prompt)))})
    elif found:
        say_table(_COLUMNS, [[*_row(prompt), *figure_cells(figures.get(_which(prompt)))] for prompt in found])
    else:
        say(f"{tenant} has no prompt {name}.")
    return DONE


async def _show(name: str, which: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await _find(client, name, which, tenant=tenant)
    if as_json:
        say_json(prompt_json(found))
        return DONE
    notice(_title(found))
    say(prompt_text(found).rstrip("\n"))
    return DONE


async def _diff(name: str, before: str, after: str, *, tenant: str, person: str, stated: str) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        new = await _find(client, name, after, tenant=tenant)
        old = await _find(client, name, before or await _before(client, new, tenant=tenant), tenant=tenant)
    lines = list(difference(old, new))
    for line in lines:
        say(line, style={"+": "green", "-": "red"}.get(line[:1], ""))
    if not lines:
        say(f"Versions {old.version} and {new.version} show a model the same.")
    return DONE


async def _label(
    name: str, label: str, version: int, reason: str, *, tenant: str, person: str, stated: str, as_json: bool
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        previous = await client.label_prompt(name, label, version, tenant=tenant, reason=reason)
    if as_json:
        say_json({"name": name, "label": label, "version": version, "previous": previous})
        return DONE
    was = f", before it version {previous}" if previous and previous != version else ""
    say(f"Label {label} of {name} names {f'version {version}' if version else 'nothing'}{was}.")
    return DONE


async def _find(client: Client, name: str, which: str, *, tenant: str) -> Prompt:
    if which.isdigit():
        return await client.prompt(name, tenant=tenant, version=int(which))
    return await client.prompt(name, tenant=tenant, label=which)


async def _before(client: Client, new: Prompt, *, tenant: str) -> str:
    """What one would compare with: what is in production, or else the version before. Raises BadParameter."""
    versions = await client.prompts(tenant=tenant, name=new.name)
    live = [p.version for p in versions if "production" in p.labels and p.version != new.version]
    before = [p.version for p in versions if p.version < new.version]
    if not live and not before:
        raise typer.BadParameter(f"{new.name} has no other version to compare with.")
    return str((live or before)[0])


# --- words ------------------------------------------------------------------------------------------------------------


def difference(old: Prompt, new: Prompt) -> list[str]:
    """The lines of a unified diff between the files of two versions; none where a model is shown the same."""
    return list(
        unified_diff(
            prompt_text(old).splitlines(), prompt_text(new).splitlines(), _title(old), _title(new), lineterm="", n=2
        )
    )


_COLUMNS = [
    *("Prompt", "Version", "Labels", "Stored (UTC)", "By", "Note"),
    *("Answers", "Grounded", "Refused", "Thumbs up"),
]


async def _figures(client: Client, *, tenant: str, name: str) -> dict[tuple[str, str], PromptFigures]:
    """What each version came to; where nobody can say, the list is worth having without it."""
    try:
        found = await client.prompt_figures(tenant=tenant, name=name)
    except (NotConfigured, Unreachable, Unavailable, TimedOut, Denied) as missing:
        notice(f"What they came to is not to be had: {missing}", style="yellow")
        return {}
    return {(one.prompt.name, one.prompt.version): one for one in found}


def _which(prompt: Prompt) -> tuple[str, str]:
    return prompt.name, str(prompt.version)


def _title(prompt: Prompt) -> str:
    labels = f" ({', '.join(prompt.labels)})" if prompt.labels else ""
    return f"{prompt.name} version {prompt.version}{labels}"


def _row(prompt: Prompt) -> list[str]:
    by = "comes with Headrace" if prompt.built_in else prompt.created_by
    labels = ", ".join(prompt.labels)
    return [prompt.name, str(prompt.version), labels, moment(prompt.created_at), by, prompt.note]


def prompt_json(prompt: Prompt) -> dict[str, Any]:
    """A prompt as one object."""
    return {
        "name": prompt.name,
        "version": prompt.version,
        "system": prompt.system,
        "examples": [{"asked": example.asked, "answered": example.answered} for example in prompt.examples],
        "question": prompt.question,
        "note": prompt.note,
        "labels": list(prompt.labels),
        "sha256": prompt.sha256,
        "built_in": prompt.built_in,
        "created_by": prompt.created_by,
        "created_at": json_moment(prompt.created_at),
    }
