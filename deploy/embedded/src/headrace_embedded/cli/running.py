"""From a verb to its exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import typer
from headrace_client.cli.console import notice
from headrace_client.errors import HeadraceError

from headrace_embedded.errors import EmbeddedError, UsedWrongly

DONE, FAILED, USED_WRONGLY, INTERRUPTED = 0, 1, 2, 130


def run(verb: Callable[[], int]) -> NoReturn:
    """Runs a verb and leaves with its code; an expected error becomes a few lines on standard error."""
    try:
        code = verb()
    except UsedWrongly as error:
        notice(str(error), style="red")
        code = USED_WRONGLY
    except (EmbeddedError, HeadraceError) as error:
        notice(str(error), style="red")
        code = FAILED
    except KeyboardInterrupt:
        notice("Stopped.")
        code = INTERRUPTED
    raise typer.Exit(code)
