"""How far work is that is followed for minutes."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace_client.cli.console import notices


def progress_bars() -> Progress:
    """Bars for work that is followed, gone when it is done; without a terminal they show nothing."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=notices(),
        transient=True,
    )
