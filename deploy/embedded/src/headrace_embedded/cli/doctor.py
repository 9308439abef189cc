"""`headrace doctor`."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from headrace_client.cli.console import say, say_json
from headrace_client.cli.options import JsonOption

from headrace_embedded.checks import Check, Verdict, examine
from headrace_embedded.cli.running import DONE, FAILED, run

_SIGNS = {Verdict.OK: "✓", Verdict.WEAK: "!", Verdict.FAILS: "✗"}
_COLOURS = {Verdict.OK: "", Verdict.WEAK: "yellow", Verdict.FAILS: "red"}


def doctor(as_json: JsonOption = False) -> None:
    """Check what Headrace needs on this machine, and say how to mend what is missing.

    Leaves with 0 when it can run, else with 1.
    """
    run(lambda: _doctor(quiet=as_json))


def _doctor(*, quiet: bool) -> int:
    checks = examine(os.environ, Path.cwd())
    fails = [check for check in checks if check.verdict is Verdict.FAILS]
    if quiet:
        say_json({"ok": not fails, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            say(*lines(check), style=_COLOURS[check.verdict])
        say("", "This machine can run Headrace." if not fails else f"{len(fails)} to mend before Headrace can run.")
    return FAILED if fails else DONE


def lines(check: Check) -> list[str]:
    """Returns a check for people: what was found and, under it, the mend."""
    found = f"{_SIGNS[check.verdict]} {check.name:<14} {check.found}"
    return [found, f"  {'':<14} → {check.mend}"] if check.mend else [found]
