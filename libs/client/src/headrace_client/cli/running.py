"""From a verb's coroutine to its exit code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer

from headrace_client.cli.console import notice
from headrace_client.errors import Denied, HeadraceError, Refused

DONE, FAILED, USED_WRONGLY, REFUSED_BY_POLICY, INTERRUPTED = 0, 1, 2, 3, 130


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Runs a verb and leaves with the code that it returns; an error of ours becomes a line on standard error."""
    _quiet_libraries()
    try:
        code = asyncio.run(work)
    except HeadraceError as error:
        code = fail(error)
    except KeyboardInterrupt:
        notice("Stopped.")
        code = INTERRUPTED
    raise typer.Exit(code)


def fail(error: HeadraceError) -> int:
    """Says what went wrong, and gives the exit code that it stands for."""
    notice(str(error), style="red")
    if isinstance(error, Denied):
        return REFUSED_BY_POLICY
    return USED_WRONGLY if isinstance(error, Refused) else FAILED


def _quiet_libraries() -> None:
    """Kafka's client reports each failed attempt to connect; the verb says it once, in words."""
    for library in ("aiokafka", "asyncio", "opentelemetry", "grpc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
