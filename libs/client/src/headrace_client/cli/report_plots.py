"""Reports drawn: as a picture by matplotlib, or as one page that needs nothing besides itself."""

from __future__ import annotations

import html
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from headrace.feedback.v1.reports_pb2 import CompareRequest, CompareResponse, Estimate, ReportLine

from headrace_client.cli.report_words import answers, figure, kind_title, reaches_of, side_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches, and dots to one.
_WIDTH, _ROW, _HEAD, _DOTS = 10.0, 0.34, 1.3, 120
_COLOURS = {"a": "#b35806", "b": "#2166ac", "same": "#555555", "unknown": "#999999"}
#: Of a bar in a page, in units of its own.
_BAR_WIDTH, _BAR_HEIGHT = 200.0, 18.0


class NoPlotting(Exception):
    """A picture cannot be drawn here; the text says what is missing and what does without."""


def check_plot(path: Path) -> None:
    """Raises BadParameter for what is neither a picture nor a page."""
    if path.suffix.lower() not in {".png", ".html"}:
        raise typer.BadParameter(f"{path.name!r} is neither a .png nor a .html file.")


def write_plot(request: CompareRequest, response: CompareResponse, path: Path) -> None:
    """Draws a report, as the file's ending says. Raises NoPlotting."""
    if path.suffix.lower() == ".png":
        draw(request, response, path)
    else:
        path.write_text(page(request, response), encoding="utf-8")


def draw(request: CompareRequest, response: CompareResponse, path: Path) -> None:
    """Draws each line's difference with its interval, around 0. Raises NoPlotting where matplotlib is missing."""
    figure_of = _matplotlib()
    lines = list(response.lines)
    drawn = figure_of(figsize=(_WIDTH, _HEAD + _ROW * max(len(lines), 1)), dpi=_DOTS, layout="constrained")
    axes = drawn.subplots()
    reaches = {kind: reaches_of(list(found)) for kind, found in groupby(lines, key=lambda line: line.kind)}
    for place, line in enumerate(lines):
        _draw_line(axes, line, len(lines) - 1 - place, reaches[line.kind][line.measure] or 1.0)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [_label(line) for line in reversed(lines)])
    axes.set_xlim(-1.05, 1.05)
    axes.set_xticks([-0.6, 0.6], ["B has less", "B has more"])
    axes.set_title(_title(request, response), loc="left", fontsize=10)
    drawn.savefig(path, format="png")


def _matplotlib() -> Any:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - a second that only a picture is worth
    except ImportError:
        raise NoPlotting(
            "A picture needs matplotlib, which is not installed here: pip install matplotlib, or say --plot FILE.html"
        ) from None
    return Figure


def _draw_line(axes: Axes, line: ReportLine, place: int, reach: float) -> None:
    of, colour = line.difference, _COLOURS[line.better]
    alpha = 1.0 if line.decides else 0.45
    axes.plot([of.low / reach, of.high / reach], [place, place], color=colour, linewidth=2.5, alpha=alpha)
    axes.plot([of.value / reach], [place], "o", color=colour, markersize=6, alpha=alpha)


def _label(line: ReportLine) -> str:
    kind = f"{line.kind}: " if line.kind else ""
    return f"{kind}{line.measure}{'' if line.decides else ' *'}"


def _title(request: CompareRequest, response: CompareResponse) -> str:
    where = f"run {request.run_id}" if request.run_id else "live traffic"
    sides = f"A {side_word(request.a)} ({answers(response.answers_a)}), B {side_word(request.b)} "
    return f"{sides}({answers(response.answers_b)}), {where}\nB less A with 95 % intervals, by measure"


def page(request: CompareRequest, response: CompareResponse) -> str:
    """One page, with the table, the sentences and a bar for each line. It loads nothing, and runs nothing."""
    title = f"{side_word(request.a)} and {side_word(request.b)}"
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n",
            *_head(request, response),
            *_sections(response),
            *_notes(response),
            "</main>\n</body>\n</html>\n",
        )
    )


def _head(request: CompareRequest, response: CompareResponse) -> Iterator[str]:
    where = f"run {request.run_id}" if request.run_id else "live traffic"
    kind = f", {request.kind} questions" if request.kind else ""
    yield f"<h1>{_text(side_word(request.a))} and {_text(side_word(request.b))}</h1>\n"
    yield f"<p>Tenant {_text(request.tenant)}, {_text(where)}{_text(kind)}</p>\n<ul>\n"
    yield f"<li><b>A</b> {_text(side_word(request.a))}, {answers(response.answers_a)}</li>\n"
    yield f"<li><b>B</b> {_text(side_word(request.b))}, {answers(response.answers_b)}</li>\n"
    if response.pairs:
        yield f"<li>{response.pairs:,} questions that both answered, compared pair by pair</li>\n"
    yield f'</ul>\n<p class="verdict">{_text(response.verdict)}</p>\n'


def _sections(response: CompareResponse) -> Iterator[str]:
    for kind, found in groupby(response.lines, key=lambda line: line.kind):
        lines = list(found)
        reaches = reaches_of(lines)
        yield f"<h2>{_text(kind_title(kind))}</h2>\n"
        for line in lines:
            yield from _row(line, reaches[line.measure] or 1.0)


def _row(line: ReportLine, reach: float) -> Iterator[str]:
    shown = "" if line.decides else " <small>shown only</small>"
    yield f'<section class="{_text(line.better)}">\n<h3>{_text(line.measure)}{shown}</h3>\n'
    yield f"<p><b>A</b> {_text(figure(line.a, line.unit))}</p>\n<p><b>B</b> {_text(figure(line.b, line.unit))}</p>\n"
    yield f"{_bar(line.difference, reach, line.sentence)}\n<p>{_text(line.sentence)}</p>\n</section>\n"


def _bar(of: Estimate, reach: float, words: str) -> str:
    low, value, high = (_place(each, reach) for each in (of.low, of.value, of.high))
    middle, half = _BAR_HEIGHT / 2, _BAR_WIDTH / 2
    return (
        f'<svg viewBox="0 0 {_BAR_WIDTH:g} {_BAR_HEIGHT:g}" role="img" aria-label="{_text(words)}">'
        f'<line class="zero" x1="{half:g}" y1="0" x2="{half:g}" y2="{_BAR_HEIGHT:g}"/>'
        f'<line class="interval" x1="{low:.1f}" y1="{middle:g}" x2="{high:.1f}" y2="{middle:g}"/>'
        f'<circle cx="{value:.1f}" cy="{middle:g}" r="4.5"/></svg>'
    )


def _place(value: float, reach: float) -> float:
    margin = 6.0
    return margin + (value / reach + 1) / 2 * (_BAR_WIDTH - 2 * margin)


def _notes(response: CompareResponse) -> Iterator[str]:
    if response.notes:
        yield "<h2>To bear in mind</h2>\n<ul>\n"
        yield from (f"<li>{_text(note)}</li>\n" for note in response.notes)
        yield "</ul>\n"


def _text(words: str) -> str:
    return html.escape(words, quote=True)


_STYLE = """
:root { color-scheme: light dark; --a: #b35806; --b: #2166ac; --edge: #8884; }
@media (prefers-color-scheme: dark) { :root { --a: #f1a340; --b: #67a9cf; } }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
h3 { font-size: 1rem; margin: 0; grid-column: 1 / -1; overflow-wrap: anywhere; }
ul { padding-left: 1.2rem; } p { margin: .15rem 0; }
.verdict { border-left: .25rem solid currentColor; padding-left: .75rem; margin: 1rem 0; font-weight: 600; }
section { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem 1rem; padding: .6rem 0;
  border-top: 1px solid var(--edge); color: inherit; }
section svg, section svg + p { grid-column: 1 / -1; } svg { width: 100%; max-width: 30rem; height: auto; }
.zero { stroke: currentColor; stroke-width: 1; opacity: .5; }
.interval { stroke: currentColor; stroke-width: 3; } circle { fill: currentColor; }
.a svg { color: var(--a); } .b svg { color: var(--b); } .unknown svg, .same svg { opacity: .6; }
"""
