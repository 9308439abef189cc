"""`headrace drift`: how questions and answers move away from a baseline."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from headrace.drift.v1 import drift_pb2

from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.drift_plots import write_plot
from headrace_client.cli.drift_words import (
    ALERT_COLUMNS,
    READING_COLUMNS,
    alert_json,
    alert_lines,
    alert_rows,
    baseline_json,
    baseline_lines,
    reading_rows,
    report_head,
    report_json,
)
from headrace_client.cli.governance import connected, parse_moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.plotting import drawn, plot_option
from headrace_client.cli.running import DONE, run
from headrace_client.client import Client

#: Who may look and set, where Headrace makes its own tokens.
_ROLE = "developer"

drift = typer.Typer(
    no_args_is_help=True, help="See how questions and answers move away from a baseline, why, and what to pull."
)


PlotOption = Annotated[Path | None, plot_option("Also draw each measure over time: a picture, or a page by itself.")]


@drift.command()
def report(
    *,
    product: Annotated[str, typer.Option("--product", show_default=False, help="Only what this product asks.")] = "",
    kind: Annotated[str, typer.Option("--kind", show_default=False, help="Only this kind of question.")] = "",
    at: Annotated[
        str, typer.Option("--at", metavar="MOMENT", show_default=False, help="As it stood then, not as it stands now.")
    ] = "",
    plot: PlotOption = None,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the newest window against the baseline, measure by measure, and the alerts that hold.

    A measure has drifted when the change is beyond chance, corrected for all that was looked at, and large enough to
    matter. docs/explanation/drift.md has the formulas.

    Example: headrace drift report --kind how-to --plot drift.html
    """
    moment = parse_moment(at) if at else None
    run(
        _report(
            tenant,
            product=product,
            kind=kind,
            at=moment,
            plot=plot,
            person=person,
            stated=endpoints,
            as_json=as_json,
        )
    )


async def _report(
    tenant: str,
    *,
    product: str,
    kind: str,
    at: datetime | None,
    plot: Path | None,
    person: str,
    stated: str,
    as_json: bool,
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        response = await client.drift_report(tenant=tenant, product=product, kind=kind, at=at)
    if as_json:
        say_json(report_json(response))
    else:
        say(*report_head(response))
        if response.readings:
            say("")
            say_table(READING_COLUMNS, reading_rows(response.readings))
        for alert in response.alerts:
            say("", *alert_lines(alert))
    title = f"Drift of {tenant}{f', {product}' if product else ''}{f', {kind} questions' if kind else ''}"
    return DONE if plot is None else drawn(lambda: write_plot(response, plot, title=title), plot)


@drift.command()
def alerts(
    alert_id: Annotated[str, typer.Argument(help="One alert, with its explanation.", show_default=False)] = "",
    *,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that hold.")] = False,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the alerts, newest first; or explain one: words and kinds that moved, queries to look at, what to pull.

    Words are shown where many said them in questions of at most tier-1; the others go by a keyed hash.

    Example: headrace drift alerts --open
    """
    run(_alerts(alert_id, tenant=tenant, is_open=is_open, person=person, stated=endpoints, as_json=as_json))


async def _alerts(alert_id: str, *, tenant: str, is_open: bool, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        if alert_id:
            return await _one_alert(client, alert_id, tenant=tenant, as_json=as_json)
        state = drift_pb2.ALERT_STATE_OPEN if is_open else drift_pb2.ALERT_STATE_UNSPECIFIED
        found = await client.drift_alerts(tenant=tenant, state=state)
    if as_json:
        for one in found:
            say_json(alert_json(one))
    elif found:
        say_table(ALERT_COLUMNS, alert_rows(found))
    else:
        say("There are no alerts.")
    return DONE


async def _one_alert(client: Client, alert_id: str, *, tenant: str, as_json: bool) -> int:
    found = await client.drift_alert(alert_id, tenant=tenant)
    if as_json:
        say_json(alert_json(found))
    else:
        say(*alert_lines(found))
    return DONE


@drift.command()
def baseline(
    *,
    dataset: Annotated[
        str, typer.Option("--dataset", show_default=False, help="Take the period of the answers in this dataset.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="MOMENT", show_default=False, help="Take the period from then …")
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="MOMENT", show_default=False, help="… until then.")] = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what windows are measured against; or set it, which closes the alerts that stood against the old.

    Example: headrace drift baseline --since 2026-11-01 --until 2026-11-08
    """
    if dataset and (since or until):
        raise typer.BadParameter("a baseline is a dataset or a period, not both", param_hint="--dataset")
    if bool(since) != bool(until):
        raise typer.BadParameter("a period has both, a beginning and an end", param_hint="--since, --until")
    period = (parse_moment(since), parse_moment(until)) if since else None
    run(_baseline(tenant, dataset, period, person=person, stated=endpoints, as_json=as_json))


async def _baseline(
    tenant: str, dataset: str, period: tuple[datetime, datetime] | None, *, person: str, stated: str, as_json: bool
) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        if dataset:
            found = await client.set_drift_baseline(tenant=tenant, dataset=dataset)
        elif period is not None:
            found = await client.set_drift_baseline(tenant=tenant, since=period[0], until=period[1])
        else:
            found = await client.drift_baseline(tenant=tenant)
    if as_json:
        say_json(baseline_json(found))
    else:
        say(*baseline_lines(found))
    return DONE
