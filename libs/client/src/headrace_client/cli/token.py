"""`headrace token`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from headrace.access import ROLES
from headrace_identity import EVERYBODY
from headrace_identity.principal import is_role, may_speak_for_all

from headrace_client.cli.console import say
from headrace_client.cli.options import EndpointsOption, endpoints_from
from headrace_client.cli.running import DONE, run
from headrace_client.credentials import open_maker, who_is_here
from headrace_client.endpoints import Endpoints
from headrace_client.errors import NotConfigured

_ROLES = ", ".join(role for role in ROLES if role != "service")

#: A day: who needs more often than that asks again.
LONGEST_HOURS = 24.0


def _role(word: str) -> str:
    if not is_role(word):
        raise typer.BadParameter(f"one of {_ROLES}, or service:NAME")
    return word


def token(
    role: Annotated[str, typer.Option("--role", callback=_role, help=f"One of {_ROLES}, or service:NAME.")],
    tenant: Annotated[
        str,
        typer.Option("--tenant", envvar="HEADRACE_TENANT", help="Whose data it is for; * is for privacy and sre only."),
    ],
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject",
            show_default=False,
            help="The end user that a product asks for, or the colleague. Without it: you, or nobody for a product.",
        ),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, max=LONGEST_HOURS, help="How long it holds.")] = 1.0,
    endpoints: EndpointsOption = "",
) -> None:
    """Print a token for a program or a person, made with the issuer's key that `headrace up` keeps.

    Example: HEADRACE_TOKEN=$(headrace token --role reviewer --tenant demo --subject rita) headrace review show …
    """
    if tenant == EVERYBODY and not may_speak_for_all(role):
        raise typer.BadParameter(f"A {role} speaks for one tenant.", param_hint="--tenant")
    given = subject if subject is not None else ("" if role == "product" else who_is_here())
    run(_print(endpoints, role=role, tenant=tenant, subject=given, hours=hours))


async def _print(stated: str, *, role: str, tenant: str, subject: str, hours: float) -> int:
    maker = open_maker(_keys_of(endpoints_from(stated)))
    say(maker.make(role=role, tenant=tenant, subject=subject, now=time.time(), seconds=hours * 3600))
    return DONE


def _keys_of(endpoints: Endpoints) -> Path:
    if not endpoints.keys:
        raise NotConfigured(
            f"No token can be made: {endpoints.origin} names no folder of keys. Ask whoever has the key."
        )
    return Path(endpoints.keys)
