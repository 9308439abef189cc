"""What drawn reports share: which files, matplotlib where it is installed, and a page by itself."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

from headrace_client.cli.console import notice
from headrace_client.cli.running import DONE, USED_WRONGLY


class NoPlotting(Exception):
    """A picture cannot be drawn here; the text says what is missing and what does without."""


def plot_option(what: str) -> Any:
    """The option --plot, for a picture or a page."""
    return typer.Option(
        "--plot", metavar="FILE.png|FILE.html", dir_okay=False, callback=_checked, show_default=False, help=what
    )


def _checked(path: Path | None) -> Path | None:
    if path is not None and not (is_picture(path) or path.suffix.lower() == ".html"):
        raise typer.BadParameter(f"{path.name!r} is neither a .png nor a .html file.")
    return path


def is_picture(path: Path) -> bool:
    """Whether a picture is drawn, by the file's ending; a page is written otherwise."""
    return path.suffix.lower() == ".png"


def drawn(write: Callable[[], None], path: Path) -> int:
    """Draws, and says so; or says what is missing. The verb's exit code."""
    try:
        write()
    except NoPlotting as missing:
        notice(str(missing), style="red")
        return USED_WRONGLY
    notice(f"{path} is drawn.")
    return DONE


def matplotlib_figure() -> Any:
    """matplotlib's Figure. Raises NoPlotting where it is missing."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - a second that only a picture is worth
    except ImportError:
        raise NoPlotting(
            "A picture needs matplotlib, which is not installed here: pip install matplotlib, or say --plot FILE.html"
        ) from None
    return Figure


def whole_page(parts: Iterable[str], *, title: str, style: str) -> str:
    """One page around what it shows. It loads nothing, and runs nothing."""
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<main>\n",
            *parts,
            "</main>\n</body>\n</html>\n",
        )
    )


def text(words: str) -> str:
    """Words as they stand in a page."""
    return html.escape(words, quote=True)


_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
"""
