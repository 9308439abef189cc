"""`headrace evaluate`, `headrace replay`, `headrace runs list|show|watch|cancel`, `headrace answers stale`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated

import typer
from headrace.feedback.v1 import runs_pb2
from headrace.feedback.v1.reports_pb2 import ReportLine, Side
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.query_pb2 import TRIAL_KIND_REPLAY

from headrace_client.cli.console import notice, say, say_json, say_table
from headrace_client.cli.governance import connected, parse_moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.progress import progress_bars
from headrace_client.cli.running import DONE, FAILED, run
from headrace_client.cli.runs_words import (
    RUN_COLUMNS,
    SETTINGS,
    STALE_COLUMNS,
    Measures,
    arm_word,
    exclusion_lines,
    measure_table,
    measures_json,
    run_json,
    run_lines,
    run_row,
    side_of,
    stale_json,
    stale_row,
    verdict_lines,
)
from headrace_client.client import Client
from headrace_client.errors import Conflict, Denied, Faulty, NotFound

runs = typer.Typer(no_args_is_help=True, help="Replays and evaluations: how they stand, and stopping them.")
answers = typer.Typer(no_args_is_help=True, help="Answers that were given.")

_VARIANT = re.compile(r"([a-z0-9_-]{1,64})(?:@([1-9][0-9]{0,8}))?", re.ASCII)
#: Who may start a run.
_ROLE = "developer"
#: So long the measuring of what is answered may stand still before the table is shown without the rest, in seconds.
_MEASURE_SECONDS = 30.0
_LOOK_SECONDS = 0.5
#: The answers of then, as an arm.
_THEN = "answered then"

VariantOption = Annotated[
    list[str],
    typer.Option("--variant", metavar="VARIANT[@VERSION]", show_default=False, help="Who answers; say again for more."),
]
SettingsOption = Annotated[
    str,
    typer.Option(
        "--settings",
        metavar="zero-shot,closed-book",
        show_default=False,
        help="Ask the variants without their prompts' examples too (zero-shot), or without passages (closed-book).",
    ),
]
LimitOption = Annotated[
    int, typer.Option("--limit", min=1, max=100_000, help="At most so many questions; more are sampled.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="For a sample that can be had again.")]
JudgeOption = Annotated[
    list[str] | None,
    typer.Option("--judge", metavar="NAME", show_default=False, help="A judge that compares the answers; say again."),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Start it, and don't wait for it.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)]


def evaluate(
    variants: VariantOption,
    *,
    dataset: Annotated[
        str,
        typer.Option("--dataset", show_default=False, help="Whose held-out rows: an id, or the name of a series."),
    ],
    against: Annotated[
        str,
        typer.Option("--against", metavar="VARIANT[@VERSION]", show_default=False, help="Who is compared against."),
    ] = "",
    settings: SettingsOption = "",
    judges: JudgeOption = None,
    limit: LimitOption = 1_000,
    seed: SeedOption = 0,
    detach: DetachOption = False,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask a dataset's held-out rows of variants, side by side, and measure the answers.

    It goes on in the background when you leave. With --settings you see what the prompt's examples, and what the
    passages, are worth: whether tuning is needed at all.

    Example: headrace evaluate --dataset questions --variant shorter --against default --settings zero-shot,closed-book
    """
    first = [_arm(against)] if against else []
    request = runs_pb2.StartRunRequest(
        tenant=tenant,
        dataset_id=dataset,
        arms=[*first, *_arms(variants, settings)],
        limit=limit,
        seed=seed,
        judges=judges or (),
    )
    run(_start(request, detach=detach, person=person, stated=endpoints, as_json=as_json))


def replay(
    variants: VariantOption,
    *,
    queries: Annotated[
        list[str] | None, typer.Option("--query", metavar="ID", show_default=False, help="Only this one; say again.")
    ] = None,
    kind: Annotated[str, typer.Option("--kind", show_default=False, help="Only this kind of query.")] = "",
    product: Annotated[str, typer.Option("--product", show_default=False, help="Only what this product asked.")] = "",
    answered_by: Annotated[
        str, typer.Option("--answered-by", metavar="VARIANT", show_default=False, help="Only what this one answered.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="MOMENT", show_default=False, help="Only answers from then on.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="MOMENT", show_default=False, help="Only answers before.")
    ] = "",
    stale: Annotated[bool, typer.Option("--stale", help="Only those whose answer is stale.")] = False,
    settings: SettingsOption = "",
    judges: JudgeOption = None,
    limit: LimitOption = 1_000,
    seed: SeedOption = 0,
    detach: DetachOption = False,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask logged questions again of other variants, and compare with the answers of then. Users see nothing of it.

    Example: headrace replay --kind how-to --since 2026-11-01 --variant shorter
    """
    wanted = runs_pb2.QueryFilter(
        query_ids=queries or (), kind=kind, product=product, variant=answered_by, stale_only=stale
    )
    for name, moment in (("since", since), ("until", until)):
        if moment:
            getattr(wanted, name).FromDatetime(parse_moment(moment))
    request = runs_pb2.StartRunRequest(
        tenant=tenant, queries=wanted, arms=_arms(variants, settings), limit=limit, seed=seed, judges=judges or ()
    )
    run(_start(request, detach=detach, person=person, stated=endpoints, as_json=as_json))


def _arms(variants: Sequence[str], settings: str) -> list[runs_pb2.RunArm]:
    words = [word.strip() for word in settings.split(",") if word.strip()]
    for word in words:
        if word not in SETTINGS:
            raise typer.BadParameter(f"{word!r} is not a setting; say {', '.join(SETTINGS)}.", param_hint="--settings")
    return [_arm(variant, setting) for variant in variants for setting in ("", *words)]


def _arm(word: str, setting: str = "") -> runs_pb2.RunArm:
    found = _VARIANT.fullmatch(word)
    if found is None:
        raise typer.BadParameter(f"{word!r} is no variant; say its name, or NAME@VERSION.", param_hint="--variant")
    name, version = found.groups()
    arm = runs_pb2.RunArm(variant=Versioned(name=name, version=version or ""))
    if setting:
        arm.setting = SETTINGS[setting]
    return arm


async def _start(request: runs_pb2.StartRunRequest, *, detach: bool, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        begun = await client.start_run(request)
        notice(f"Run {begun.run_id}: {begun.cases} cases, {begun.total} answers to be had.", *exclusion_lines(begun))
        if detach:
            _say_how_to_watch(begun)
            return _shown(begun, {}, as_json=as_json)
        return await _seen_through(client, begun, as_json=as_json)


async def _seen_through(client: Client, begun: runs_pb2.Run, *, as_json: bool) -> int:
    """Follows a run to its end, and shows what came of it. Whoever leaves lets it go on."""
    try:
        ended = await _followed(client, begun)
    except asyncio.CancelledError:
        _say_how_to_watch(begun)
        raise
    return _shown(ended, await _measures(client, ended), as_json=as_json)


def _say_how_to_watch(begun: runs_pb2.Run) -> None:
    tenant = f" --tenant {begun.tenant}"
    notice(f"The run goes on. headrace runs watch {begun.run_id}{tenant} shows it; headrace runs cancel stops it.")


async def _followed(client: Client, begun: runs_pb2.Run) -> runs_pb2.Run:
    now = begun
    with progress_bars() as bars:
        answering = bars.add_task("answered", total=begun.total)
        measuring = bars.add_task("measured", total=begun.total)
        async for now in client.follow_run(begun.run_id, tenant=begun.tenant):
            bars.update(answering, completed=now.answered + now.failed)
            bars.update(measuring, completed=now.evaluated, total=now.total - now.failed)
        left = _MEASURE_SECONDS
        while now.evaluated < now.answered and left > 0:
            await asyncio.sleep(_LOOK_SECONDS)
            before, now = now.evaluated, await client.get_run(begun.run_id, tenant=begun.tenant)
            left = _MEASURE_SECONDS if now.evaluated > before else left - _LOOK_SECONDS
            bars.update(measuring, completed=now.evaluated, total=now.answered)
    return now


async def _measures(client: Client, ended: runs_pb2.Run) -> Measures:
    """Each arm compared with the first; nothing where there is nothing to compare, or no figures yet."""
    is_replay = ended.kind == TRIAL_KIND_REPLAY
    base, others = (Side(), ended.arms) if is_replay else (side_of(ended.arms[0]), ended.arms[1:])
    if not others:
        notice("One arm alone has nothing to be compared with: name another with --against, or --settings.")
    found: dict[str, Sequence[ReportLine]] = {}
    for arm in others if ended.answered else ():
        try:
            found[arm_word(arm)] = await client.compare_run(ended, base, side_of(arm))
        except (NotFound, Conflict, Denied, Faulty) as error:
            notice(f"There is no comparison with {arm_word(arm)}: {error}", style="yellow")
    return found


def _shown(ended: runs_pb2.Run, measures: Measures, *, as_json: bool) -> int:
    if as_json:
        say_json({"run": run_json(ended), "measures": measures_json(measures)})
    else:
        say(*run_lines(ended))
        if any(measures.values()):
            base = _THEN if ended.kind == TRIAL_KIND_REPLAY else arm_word(ended.arms[0])
            say_table(*measure_table(base, measures))
            say(*verdict_lines(measures))
    return FAILED if ended.state == runs_pb2.RUN_STATE_FAILED else DONE


@runs.command("list")
def list_(
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List replays and evaluations, newest first."""
    run(_list(tenant, person=person, stated=endpoints, as_json=as_json))


async def _list(tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.runs(tenant=tenant)
    if as_json:
        say_json({"runs": [run_json(one) for one in found]})
    elif found:
        say_table(RUN_COLUMNS, [run_row(one) for one in found])
    else:
        notice("There are no runs.")
    return DONE


@runs.command()
def show(
    run_id: RunArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show how a run stands, and what came of it so far."""
    run(_show(run_id, tenant, person=person, stated=endpoints, as_json=as_json))


async def _show(run_id: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.get_run(run_id, tenant=tenant)
        _shown(found, await _measures(client, found), as_json=as_json)
    return DONE


@runs.command()
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
        return await _seen_through(client, await client.get_run(run_id, tenant=tenant), as_json=as_json)


@runs.command()
def cancel(
    run_id: RunArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop a run. What it measured stays."""
    run(_cancel(run_id, tenant, person=person, stated=endpoints, as_json=as_json))


async def _cancel(run_id: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        return _shown(await client.cancel_run(run_id, tenant=tenant), {}, as_json=as_json)


@answers.command()
def stale(
    *,
    source: Annotated[str, typer.Option("--source", show_default=False, help="Only those made of this source.")] = "",
    document: Annotated[
        str, typer.Option("--document", show_default=False, help="With --source: only those made of this document.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 100,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List answers that were made of what has been deleted or changed since, newest first.

    Example: headrace answers stale --source handbook
    """
    run(_stale(tenant, source, document, limit, person=person, stated=endpoints, as_json=as_json))


async def _stale(
    tenant: str, source: str, document: str, limit: int, *, person: str, stated: str, as_json: bool
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.stale_answers(tenant=tenant, source=source, document_id=document, limit=limit)
    if as_json:
        say_json({"total": found.total, "answers": [stale_json(one) for one in found.answers]})
    elif found.answers:
        say_table(STALE_COLUMNS, [stale_row(one) for one in found.answers])
        notice(f"{len(found.answers)} of {found.total} stale answers. headrace replay --stale asks them again.")
    else:
        notice("No answer is stale.")
    return DONE
