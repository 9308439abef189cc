"""`headrace bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from headrace_client.cli.console import notice
from headrace_client.cli.running import FAILED


def bench(context: typer.Context) -> None:
    """Run the benchmarks of a checkout of Headrace's source, each beside a peer.

    What follows the verb goes to the benchmarks; `headrace bench -- --help` lists what they take.
    """
    checkout = find_checkout(Path.cwd())
    if checkout is None:
        notice("The benchmarks come with Headrace's source: run this inside a checkout of it.", style="red")
        raise typer.Exit(FAILED)
    done = subprocess.run([sys.executable, "-m", "bench", *context.args], cwd=checkout, check=False)  # noqa: S603
    raise typer.Exit(done.returncode)


def find_checkout(folder: Path) -> Path | None:
    """The checkout that a folder lies in."""
    for place in (folder, *folder.parents):
        if (place / "bench" / "__main__.py").is_file() and (place / "protos" / "topics").is_dir():
            return place
    return None
