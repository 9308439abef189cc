"""`headrace rubrics`: what experts hold an answer against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from google.protobuf.json_format import ParseDict, ParseError
from headrace.feedback.v1.rubrics_pb2 import Criterion, Rubric

from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.governance import connected, json_moment, moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.running import DONE, run

_ROLE = "reviewer"

rubrics = typer.Typer(no_args_is_help=True, help="Keep what answers are held against. A version never changes.")


@rubrics.command()
def put(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, show_default=False, help="YAML: name, instructions, criteria."),
    ],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store a version of a rubric. Word for word the same keeps its number.

    Each criterion has a name, a question and, worst first, its labels ("fail" and "pass" unless you say);
    `ordered: true` where a near miss counts as half right; `least_kappa` is how far a judge must agree with experts
    before it decides.

    Example: headrace rubrics put tone.yaml
    """
    run(_put(read_rubric(file), tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _put(rubric: Rubric, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        stored = await client.put_rubric(rubric, tenant=tenant)
    if as_json:
        say_json({**rubric_json(stored.rubric), "created": stored.created})
    else:
        is_new = "is new" if stored.created else "was there already, word for word"
        say(f"{stored.rubric.name} {stored.rubric.version} {is_new}.")
    return DONE


@rubrics.command("list")
def list_rubrics(
    name: Annotated[str, typer.Argument(show_default=False, help="All versions of this one.")] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the newest version of each rubric, or every version of one."""
    run(_list(name, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _list(name: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.rubrics(tenant=tenant, name=name)
    if as_json:
        for one in found:
            say_json(rubric_json(one))
        return DONE
    rows = [
        [
            one.name,
            str(one.version),
            ", ".join(criterion.name for criterion in one.criteria),
            "comes with Headrace" if one.built_in else f"{one.created_by}, {moment(one.created_at)}",
        ]
        for one in found
    ]
    say_table(["rubric", "version", "criteria", "by"], rows)
    return DONE


@rubrics.command()
def show(
    name: Annotated[str, typer.Argument(show_default=False, help="Which rubric.")],
    *,
    version: Annotated[int, typer.Option("--version", min=0, help="Which version; 0 is the newest.")] = 0,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a rubric as those who label see it."""
    run(_show(name, version=version, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _show(name: str, *, version: int, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.rubric(name, tenant=tenant, version=version)
    if as_json:
        say_json(rubric_json(found))
    else:
        say(*rubric_lines(found))
    return DONE


def rubric_lines(rubric: Rubric) -> list[str]:
    """A rubric for people."""
    lines = [f"{rubric.name} {rubric.version}", "", rubric.instructions, ""]
    for criterion in rubric.criteria:
        lines += [f"{criterion.name}: {criterion.question}", f"  {' | '.join(criterion.labels)}"]
    return lines


def rubric_json(rubric: Rubric) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "name": rubric.name,
        "version": rubric.version,
        "instructions": rubric.instructions,
        "criteria": [_criterion_json(criterion) for criterion in rubric.criteria],
        "created_by": rubric.created_by,
        "created_at": json_moment(rubric.created_at),
        "built_in": rubric.built_in,
    }


def _criterion_json(criterion: Criterion) -> dict[str, Any]:
    return {
        "name": criterion.name,
        "question": criterion.question,
        "labels": list(criterion.labels),
        "ordered": criterion.ordered,
        "least_kappa": criterion.least_kappa,
    }


def read_rubric(file: Path) -> Rubric:
    """Reads a rubric's YAML. Raises BadParameter, which names the field."""
    try:
        parsed = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{file} cannot be read as YAML ({type(error).__name__}).") from None
    known = {"name", "instructions", "criteria"}
    if not isinstance(parsed, dict) or not known - {"criteria"} <= parsed.keys() <= known | {"version"}:
        raise typer.BadParameter(f"{file}: a rubric has name, instructions and criteria, and nothing else.")
    parsed.pop("version", None)  # the server numbers it
    try:
        return ParseDict(parsed, Rubric())
    except ParseError as error:
        raise typer.BadParameter(f"{file}: {error}") from None
