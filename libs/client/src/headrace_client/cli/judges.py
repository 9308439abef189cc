"""`headrace judges`: models that answer a rubric's questions, and how far they agree with experts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from google.protobuf.json_format import ParseDict, ParseError
from headrace.feedback.v1.evaluation_pb2 import CalibrateJudgeResponse, Calibration, Judge
from headrace.feedback.v1.reviews_pb2 import Agreement
from rich.progress import Progress

from headrace_client.cli.console import notices, say, say_json, say_table
from headrace_client.cli.governance import connected, json_moment, moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.running import DONE, run

_ROLE = "developer"
_FIELDS = {"name", "backend", "rubric", "rubric_version", "mode", "votes", "max_output_tokens"}
_STATES = {
    "calibrated": "calibrated: it may decide",
    "below": "below the rubric's threshold: it decides nothing",
    "too_few": "too few labels: it decides nothing",
    "": "never calibrated: it decides nothing",
}

judges = typer.Typer(no_args_is_help=True, help="Keep judges, and measure how far they agree with experts.")


@judges.command()
def put(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, show_default=False, help="YAML: name, rubric, mode, votes …")
    ],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store a version of a judge. Just as the newest keeps its number. It decides nothing until it is calibrated.

    The file has `name`, `rubric` and `mode` (single or pairwise), and as you like `rubric_version` (the newest),
    `backend` (the default one), `votes` (1; odd) and `max_output_tokens` (16).

    Example: headrace judges put strict.yaml
    """
    run(_put(read_judge(file), tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _put(judge: Judge, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        stored = await client.put_judge(judge, tenant=tenant)
    if as_json:
        say_json({**judge_json(stored.judge), "created": stored.created})
    else:
        is_new = "is new" if stored.created else "was there already"
        say(f"{stored.judge.name} {stored.judge.version} {is_new}; {_STATES[stored.judge.calibration.state]}.")
    return DONE


@judges.command("list")
def list_judges(
    name: Annotated[str, typer.Argument(show_default=False, help="All versions of this one.")] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the newest version of each judge, or every version of one, with what its calibration came to."""
    run(_list(name, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _list(name: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.judges(tenant=tenant, name=name)
    if as_json:
        for one in found:
            say_json(judge_json(one))
        return DONE
    columns = ["judge", "version", "rubric", "mode", "votes", "backend", "state", "calibrated"]
    say_table(columns, [_row(one) for one in found])
    return DONE


def _row(judge: Judge) -> list[str]:
    rubric = f"{judge.rubric.name} {judge.rubric.version}"
    how = [judge.mode, str(judge.votes), judge.backend or "(default)"]
    calibration = judge.calibration
    return [judge.name, str(judge.version), rubric, *how, _STATES[calibration.state], moment(calibration.calibrated_at)]


@judges.command()
def calibrate(
    name: Annotated[str, typer.Argument(show_default=False, help="Which judge.")],
    *,
    version: Annotated[int, typer.Option("--version", min=0, help="Which version; 0 is the newest.")] = 0,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have a judge label what experts labelled, on the half that is held out, and measure how far they agree.

    Example: headrace judges calibrate strict
    """
    run(_calibrate(name, version, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _calibrate(name: str, version: int, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    last = CalibrateJudgeResponse()
    async with connected(stated, person=person, role=_ROLE) as client:
        with Progress(console=notices(), transient=True) as progress:
            task = progress.add_task("judging", total=None)
            async for last in client.calibrate_judge(name, tenant=tenant, version=version):
                progress.update(task, completed=last.done, total=last.total)
    if as_json:
        say_json(judge_json(last.judge))
    else:
        say(*calibration_lines(last.judge))
    return DONE


def calibration_lines(judge: Judge) -> list[str]:
    """A calibration for people."""
    calibration = judge.calibration
    lines = [f"{judge.name} {judge.version} is {_STATES[calibration.state]}.", ""]
    lines += [agreement_line(agreement) for agreement in calibration.agreement]
    if judge.mode == "pairwise":
        lines += [
            f"the answer shown first won {calibration.first_position_rate:.0%} of the votes (50 % is without bias)",
            f"a doubled length gains {calibration.length_effect:+.2f} in log odds (0 is without bias)",
        ]
    model = calibration.model
    return [*lines, "", f"judged by {model.name} {model.version}".rstrip()]


def agreement_line(agreement: Agreement) -> str:
    """ "correct: kappa 0.71 (95 % interval 0.62 to 0.80), 88 % the same, 120 answers"."""
    same = f"{agreement.raw:.0%} the same, {agreement.answers} answers"
    if not agreement.defined:
        return f"{agreement.criterion}: kappa has no meaning here, all labels are alike; {same}"
    interval = f"95 % interval {agreement.low:.2f} to {agreement.high:.2f}"
    return f"{agreement.criterion}: kappa {agreement.coefficient:.2f} ({interval}), {same}"


def judge_json(judge: Judge) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "name": judge.name,
        "version": judge.version,
        "backend": judge.backend,
        "rubric": f"{judge.rubric.name}@{judge.rubric.version}",
        "mode": judge.mode,
        "votes": judge.votes,
        "max_output_tokens": judge.max_output_tokens,
        "created_by": judge.created_by,
        "created_at": json_moment(judge.created_at),
        "calibration": _calibration_json(judge.calibration) if judge.HasField("calibration") else None,
    }


def _calibration_json(calibration: Calibration) -> dict[str, Any]:
    return {
        "state": calibration.state,
        "agreement": [_agreement_json(agreement) for agreement in calibration.agreement],
        "first_position_rate": calibration.first_position_rate,
        "length_effect": calibration.length_effect,
        "model": f"{calibration.model.name}@{calibration.model.version}",
        "calibrated_at": json_moment(calibration.calibrated_at),
        "took_seconds": calibration.took.ToTimedelta().total_seconds(),
    }


def _agreement_json(agreement: Agreement) -> dict[str, Any]:
    defined = agreement.defined
    return {
        "criterion": agreement.criterion,
        "method": agreement.method,
        "answers": agreement.answers,
        "raw": agreement.raw,
        "coefficient": agreement.coefficient if defined else None,
        "low": agreement.low if defined else None,
        "high": agreement.high if defined else None,
    }


def read_judge(file: Path) -> Judge:
    """Reads a judge's YAML. Raises BadParameter, which names the field."""
    try:
        parsed = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{file} cannot be read as YAML ({type(error).__name__}).") from None
    if not isinstance(parsed, dict) or not {"name", "rubric", "mode"} <= parsed.keys() <= _FIELDS:
        raise typer.BadParameter(
            f"{file}: a judge has name, rubric and mode, and at most {', '.join(sorted(_FIELDS))}."
        )
    version = str(parsed.pop("rubric_version", ""))
    parsed["rubric"] = {"name": str(parsed["rubric"]), "version": version}
    try:
        return ParseDict(parsed, Judge())
    except ParseError as error:
        raise typer.BadParameter(f"{file}: {error}") from None
