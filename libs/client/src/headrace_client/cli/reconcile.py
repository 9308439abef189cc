"""`headrace reconcile`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from headrace_client.bookkeeping import gather_facts
from headrace_client.bus import open_reader
from headrace_client.cli.console import say, say_json, say_table, waiting
from headrace_client.cli.options import EndpointsOption, JsonOption, endpoints_from
from headrace_client.cli.running import DONE, FAILED, run
from headrace_client.client import Client
from headrace_client.reconciling import MEANINGS, Report, reconcile


def reconcile_command(
    tenant: Annotated[
        str, typer.Option("--tenant", show_default=False, help="Only this tenant's queries; all without it.")
    ] = "",
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds that a query may be on its way before it counts as lost.")
    ] = 60.0,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Prove that every query that was accepted ended exactly once: answered, refused, dead-lettered or erased.

    Reads the bus from its beginning to where it ends now, and the books of ingest and of the feedback logger, and
    compares them. Leaves with 0 when they agree, and with 1 and the queries' ids when they don't.
    """
    run(_reconcile(tenant, timedelta(seconds=grace), stated=endpoints, as_json=as_json))


async def _reconcile(tenant: str, grace: timedelta, *, stated: str, as_json: bool) -> int:
    endpoints = endpoints_from(stated)
    now = datetime.now(UTC)
    with waiting("Reading the bus and the books"):
        async with open_reader(endpoints.bus()) as reader, Client.connect(endpoints) as client:
            facts = await gather_facts(reader, client, tenant=tenant)
    report = reconcile(facts, grace=grace, now=now)
    if as_json:
        say_json(report_json(report))
    else:
        _say(report)
    return DONE if report.agrees else FAILED


def report_json(report: Report) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "agrees": report.agrees,
        "counts": dict(report.counts),
        "on_the_way": [{"tenant": key.tenant, "query_id": key.query_id} for key in report.on_the_way],
        "violations": [
            {"kind": v.kind.value, "tenant": v.key.tenant, "query_id": v.key.query_id, "detail": v.detail}
            for v in report.violations
        ],
    }


def _say(report: Report) -> None:
    say_table(["Queries", "Number"], [[name, f"{count:,}"] for name, count in report.counts.items()])
    for key in report.on_the_way:
        say(f"on its way: {key.query_id} of {key.tenant}")
    if report.agrees:
        say("The books agree: every query that was accepted ended once, or is on its way.", style="green")
        return
    rows = [[v.kind.value, v.key.tenant, v.key.query_id, v.detail] for v in report.violations]
    say_table(["What is wrong", "Tenant", "Query", "Detail"], rows)
    for kind in dict.fromkeys(violation.kind for violation in report.violations):
        say(f"{kind.value}: {MEANINGS[kind]}", style="dim")
    wrong = len({violation.key for violation in report.violations})
    say(f"The books do not agree about {wrong} quer{'y' if wrong == 1 else 'ies'}.", style="red")
