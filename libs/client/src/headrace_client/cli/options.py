"""The options that several verbs share."""

from __future__ import annotations

from os import environ
from pathlib import Path
from typing import Annotated

import typer

from headrace_client.endpoints import VARIABLE, Endpoints, find_endpoints, parse_endpoints
from headrace_client.tiers import parse_tier

EndpointsOption = Annotated[
    str,
    typer.Option(
        "--endpoints",
        envvar=VARIABLE,
        show_default=False,
        help="Where Headrace is: an endpoints file, or kafka=HOST:PORT,ingest=HOST:PORT,… "
        "Without it, the .headrace/endpoints.json that `headrace up` writes is looked for from this folder upwards.",
    ),
]
TenantOption = Annotated[str, typer.Option("--tenant", envvar="HEADRACE_TENANT", help="Whose documents and queries.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, and nothing else there.")]
AsOption = Annotated[
    str,
    typer.Option(
        "--as",
        show_default=False,
        metavar="NAME",
        help="Which person you are, where Headrace runs on this machine and makes its own tokens: your user name, "
        "unless you say. A token in HEADRACE_TOKEN says it itself.",
    ),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait before giving up.")]


def checked_tier(word: str) -> str:
    """The word, where it is a tier. Raises BadParameter."""
    try:
        parse_tier(word)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return word


TierOption = Annotated[
    str,
    typer.Option(
        "--tier",
        callback=checked_tier,
        show_default=False,
        metavar="public|tier-1|tier-2",
        help="The privacy tier as you know it. Headrace may raise it, never lower it; not stated counts as tier-2 "
        "unless the policy knows better.",
    ),
]
MaxDocumentTierOption = Annotated[
    str,
    typer.Option(
        "--max-document-tier",
        callback=checked_tier,
        show_default=False,
        metavar="public|tier-1|tier-2",
        help="Use no documents stricter than this.",
    ),
]


def endpoints_from(stated: str) -> Endpoints:
    """The endpoints that the option or its variable states, else those that are found."""
    return parse_endpoints(stated, origin="--endpoints") if stated else find_endpoints(environ, Path.cwd())
