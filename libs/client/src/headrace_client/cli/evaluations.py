"""`headrace evaluations`: how answers were measured, and which are."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from headrace.feedback.v1.evaluation_pb2 import Evaluator, GetEvaluationResponse, Score

from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.governance import connected, json_moment, moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.running import DONE, run

_ROLE = "developer"
_UNITS = {"latency": " s", "cost": " µ$"}

evaluations = typer.Typer(no_args_is_help=True, help="See how answers were measured, and say which are.")


@evaluations.command()
def show(
    query_id: Annotated[str, typer.Argument(help="Which query.", show_default=False)],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the scores of one answer: numbers only, not a word of it.

    A judge that is not calibrated well enough "does not decide": it is shown, and nothing goes by it.

    Example: headrace evaluations show 0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10
    """
    run(_show(query_id, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _show(query_id: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        scores = await client.scores(query_id, tenant=tenant)
    if as_json:
        say_json({"query_id": query_id, "scores": [score_json(score) for score in scores]})
    elif scores:
        say_table(["evaluator", "value", "", "version", "run", "scored"], [_row(score) for score in scores])
    else:
        say("It is not measured yet.")
    return DONE


def _row(score: Score) -> list[str]:
    words = [score.label, "" if score.decides else "does not decide"]
    version = f"{score.version}, {score.rubric.name} {score.rubric.version}" if score.rubric.name else score.version
    told = ", ".join(word for word in words if word)
    return [name_of(score), value_of(score), told, version, score.run_id, moment(score.scored_at)]


def name_of(score: Score) -> str:
    """ "groundedness", or "judge:strict correct"."""
    return f"{score.evaluator} {score.criterion}" if score.criterion else score.evaluator


def value_of(score: Score) -> str:
    """ "0.92", "1.50 s", "7 µ$"."""
    unit = _UNITS.get(score.evaluator, "")
    return f"{score.value:.0f}{unit}" if score.evaluator == "cost" else f"{score.value:.2f}{unit}"


def score_json(score: Score) -> dict[str, Any]:
    """The object that `--json` prints for a score."""
    return {
        "evaluator": score.evaluator,
        "version": score.version,
        "criterion": score.criterion,
        "rubric": f"{score.rubric.name}@{score.rubric.version}" if score.rubric.name else "",
        "value": score.value,
        "label": score.label,
        "decides": score.decides,
        "run_id": score.run_id,
        "scored_at": json_moment(score.scored_at),
    }


@evaluations.command("set")
def set_(
    *,
    share: Annotated[
        float, typer.Option("--share", min=0, max=1, show_default=False, help="The share of live answers, 0 to 1.")
    ],
    judge: Annotated[
        list[str] | None, typer.Option("--judge", show_default=False, help="A judge that looks too; may be repeated.")
    ] = None,
    judged_share: Annotated[
        float, typer.Option("--judged-share", min=0, max=1, help="Of those, the share that the judges see.")
    ] = 1.0,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
) -> None:
    """Say which share of live answers is measured by its words, and by whom. Replaces what was said before.

    Latency, cost, format and whether citations resolve are always measured: they need no words.

    Example: headrace evaluations set --share 0.2 --judge strict --judged-share 0.5
    """
    run(_set(share, judge or [], judged_share, tenant=tenant, person=person, stated=endpoints))


async def _set(share: float, judges: list[str], judged_share: float, *, tenant: str, person: str, stated: str) -> int:
    judged = judged_share if judges else 0.0
    async with connected(stated, person=person, role=_ROLE) as client:
        await client.put_evaluation(tenant=tenant, share=share, judges=judges, judged_share=judged)
    say(settings_sentence(share, judges, judged))
    return DONE


def settings_sentence(share: float, judges: list[str], judged_share: float) -> str:
    """What is measured, in words."""
    whole = (
        f"{share:.0%} of live answers are measured by their words" if share else "No answer is measured by its words"
    )
    by = f", {judged_share:.0%} of these by {', '.join(judges)} too" if share and judges and judged_share else ""
    return f"{whole}{by}."


@evaluations.command()
def status(
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what is measured, by which evaluators, and how many answers wait."""
    run(_status(tenant=tenant, person=person, stated=endpoints, as_json=as_json))


async def _status(*, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.evaluation(tenant=tenant)
    if as_json:
        say_json(_status_json(found))
        return DONE
    waiting = "1 answer waits" if found.waiting == 1 else f"{found.waiting} answers wait"
    say(settings_sentence(found.share, list(found.judges), found.judged_share), f"{waiting}.", "")
    say_table(["evaluator", "version", "unit", ""], [_evaluator_row(evaluator) for evaluator in found.evaluators])
    return DONE


def _evaluator_row(evaluator: Evaluator) -> list[str]:
    needs = " Needs a row with a known answer." if evaluator.needs_reference else ""
    return [evaluator.name, evaluator.version, evaluator.unit, f"{evaluator.description}{needs}"]


def _status_json(found: GetEvaluationResponse) -> dict[str, Any]:
    return {
        "share": found.share,
        "judges": list(found.judges),
        "judged_share": found.judged_share,
        "waiting": found.waiting,
        "evaluators": [
            {
                "name": evaluator.name,
                "version": evaluator.version,
                "unit": evaluator.unit,
                "needs_reference": evaluator.needs_reference,
                "description": evaluator.description,
            }
            for evaluator in found.evaluators
        ],
    }
