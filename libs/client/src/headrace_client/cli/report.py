"""`headrace report`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from headrace.feedback.v1.reports_pb2 import CompareRequest, Side
from headrace.query.v1.answer_pb2 import Versioned

from headrace_client.cli.console import say, say_json
from headrace_client.cli.governance import connected, parse_moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.plotting import drawn, plot_option
from headrace_client.cli.report_plots import write_plot
from headrace_client.cli.report_words import SIDE_SETTINGS, report_json, report_lines
from headrace_client.cli.running import DONE, run

_SIDE = re.compile(r"([a-z0-9_-]{1,64})(?:@([1-9][0-9]{0,8}))?(?::([a-z-]+))?", re.ASCII)
#: Who may compare, where Headrace makes its own tokens.
_ROLE = "developer"


def report(
    *,
    b: Annotated[
        str,
        typer.Option(
            "--b", metavar="VARIANT[@VERSION][:SETTING]", show_default=False, help="The variant that might be better."
        ),
    ],
    a: Annotated[
        str,
        typer.Option(
            "--a",
            metavar="VARIANT[@VERSION][:SETTING]",
            show_default=False,
            help="The variant that it is compared with. With --run of a replay, left out: the answers of then.",
        ),
    ] = "",
    run_id: Annotated[
        str,
        typer.Option(
            "--run",
            metavar="ID",
            show_default=False,
            help="Pair by pair over this run, or over a shadow's answers (shadow:KIND); otherwise over live traffic.",
        ),
    ] = "",
    kind: Annotated[str, typer.Option("--kind", show_default=False, help="Only this kind of question.")] = "",
    product: Annotated[str, typer.Option("--product", show_default=False, help="Only what this product asked.")] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="MOMENT", show_default=False, help="Only answers from then on.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="MOMENT", show_default=False, help="Only answers before.")
    ] = "",
    measures: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="NAME", show_default=False, help="Only this measure; say again for more."),
    ] = None,
    least: Annotated[
        float,
        typer.Option("--least", min=0.001, max=1.0, help="The smallest difference worth having; 0.02 is two points."),
    ] = 0.02,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For intervals that can be had again.")] = 0,
    plot: Annotated[
        Path | None,
        plot_option("Also draw it: a picture, or a page by itself with the table and the sentences."),
    ] = None,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say which of two variants is better, on which evidence, kind by kind.

    Each difference comes with its 95 % interval and a sentence: who is better, or about how many more answers would
    tell. The first line that may decide gives the verdict: known answers and calibrated judges before what users said,
    and that before what the sources bear out.

    Example: headrace report --a default --b shorter@2 --since 2026-11-01 --plot shorter.html
    """
    request = CompareRequest(
        tenant=tenant,
        a=parse_side(a, "--a"),
        b=parse_side(b, "--b"),
        run_id=run_id,
        kind=kind,
        product=product,
        measures=measures or (),
        least_difference=least,
        seed=seed,
    )
    for name, moment in (("since", since), ("until", until)):
        if moment:
            getattr(request, name).FromDatetime(parse_moment(moment))
    run(_report(request, plot=plot, person=person, stated=endpoints, as_json=as_json))


def parse_side(word: str, option: str) -> Side:
    """Reads "shorter", "shorter@2" or "shorter@2:zero-shot"; nothing is whoever answered then. Raises BadParameter."""
    if not word:
        return Side()
    found = _SIDE.fullmatch(word)
    if found is None or (found[3] and found[3] not in SIDE_SETTINGS):
        settings = ", ".join(f":{setting}" for setting in SIDE_SETTINGS)
        raise typer.BadParameter(
            f"{word!r} is no variant; say its name, or NAME@VERSION; of a run's settings one of {settings}.",
            param_hint=option,
        )
    name, version, setting = found.groups()
    side = Side(variant=Versioned(name=name, version=version or ""))
    if setting:
        side.setting = SIDE_SETTINGS[setting]
    return side


async def _report(request: CompareRequest, *, plot: Path | None, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        response = await client.compare(request)
    if as_json:
        say_json(report_json(request, response))
    else:
        say(*report_lines(request, response))
    return DONE if plot is None else drawn(lambda: write_plot(request, response, plot), plot)
