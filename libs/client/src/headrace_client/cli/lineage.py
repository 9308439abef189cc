"""`headrace lineage WHAT NAME`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from headrace.training.v1.service_pb2 import TraceLineageRequest

from headrace_client.cli.console import say, say_json, say_table
from headrace_client.cli.governance import connected
from headrace_client.cli.models_words import LINEAGE_COLUMNS, lineage_json, lineage_rows
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.running import DONE, run

_ROLE = "developer"


class What(StrEnum):
    """Where a lineage begins."""

    MODEL = "model"
    DATASET = "dataset"
    SOURCE = "source"
    DOCUMENT = "document"
    SUBJECT = "subject"
    QUERY = "query"


def lineage(
    what: Annotated[What, typer.Argument(show_default=False, help="What it is.")],
    name: Annotated[
        str,
        typer.Argument(
            show_default=False,
            help='A model ("live" too), a dataset, a source, a document as SOURCE/ID, an end user, a query\'s id.',
        ),
    ],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Follow what something was made of, and what was made of it: documents, rows, datasets, runs, models, answers.

    Example: headrace lineage subject u-17
    """
    request = TraceLineageRequest(tenant=tenant)
    setattr(request, "query_id" if what is What.QUERY else what.value, name)
    run(_lineage(request, person=person, stated=endpoints, as_json=as_json))


async def _lineage(request: TraceLineageRequest, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.lineage(request)
    if as_json:
        say_json(lineage_json(found))
    elif found.nodes:
        say_table(LINEAGE_COLUMNS, list(lineage_rows(found)))
    else:
        say("Nothing was made of it.")
    return DONE
