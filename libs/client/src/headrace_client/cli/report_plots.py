"""Reports drawn: as a picture by matplotlib, or as one page that needs nothing besides itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.feedback.v1.reports_pb2 import CompareRequest, CompareResponse, Estimate, ReportLine

from headrace_client.cli.plotting import is_picture, matplotlib_figure, text, whole_page
from headrace_client.cli.report_words import answers, figure, kind_title, reaches_of, side_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches, and dots to one.
_WIDTH, _ROW, _HEAD, _DOTS = 10.0, 0.34, 1.3, 120
_COLOURS = {"a": "#b35806", "b": "#2166ac", "same": "#555555", "unknown": "#999999"}
#: Of a bar in a page, in units of its own.
_BAR_WIDTH, _BAR_HEIGHT = 200.0, 18.0


def write_plot(request: CompareRequest, response: CompareResponse, path: Path) -> None:
    """Draws a report, as the file's ending says. Raises NoPlotting."""
    if is_picture(path):
        draw(request, response, path)
    else:
        path.write_text(page(request, response), encoding="utf-8")


def draw(request: CompareRequest, response: CompareResponse, path: Path) -> None:
    """Draws each line's difference with its interval, around 0. Raises NoPlotting where matplotlib is missing."""
    figure_of = matplotlib_figure()
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
    parts = (*_head(request, response), *_sections(response), *_notes(response))
    return whole_page(parts, title=f"{side_word(request.a)} and {side_word(request.b)}", style=_STYLE)


def _head(request: CompareRequest, response: CompareResponse) -> Iterator[str]:
    where = f"run {request.run_id}" if request.run_id else "live traffic"
    kind = f", {request.kind} questions" if request.kind else ""
    yield f"<h1>{text(side_word(request.a))} and {text(side_word(request.b))}</h1>\n"
    yield f"<p>Tenant {text(request.tenant)}, {text(where)}{text(kind)}</p>\n<ul>\n"
    yield f"<li><b>A</b> {text(side_word(request.a))}, {answers(response.answers_a)}</li>\n"
    yield f"<li><b>B</b> {text(side_word(request.b))}, {answers(response.answers_b)}</li>\n"
    if response.pairs:
        yield f"<li>{response.pairs:,} questions that both answered, compared pair by pair</li>\n"
    yield f'</ul>\n<p class="verdict">{text(response.verdict)}</p>\n'


def _sections(response: CompareResponse) -> Iterator[str]:
    for kind, found in groupby(response.lines, key=lambda line: line.kind):
        lines = list(found)
        reaches = reaches_of(lines)
        yield f"<h2>{text(kind_title(kind))}</h2>\n"
        for line in lines:
            yield from _row(line, reaches[line.measure] or 1.0)


def _row(line: ReportLine, reach: float) -> Iterator[str]:
    shown = "" if line.decides else " <small>shown only</small>"
    yield f'<section class="{text(line.better)}">\n<h3>{text(line.measure)}{shown}</h3>\n'
    yield f"<p><b>A</b> {text(figure(line.a, line.unit))}</p>\n<p><b>B</b> {text(figure(line.b, line.unit))}</p>\n"
    yield f"{_bar(line.difference, reach, line.sentence)}\n<p>{text(line.sentence)}</p>\n</section>\n"


def _bar(of: Estimate, reach: float, words: str) -> str:
    low, value, high = (_place(each, reach) for each in (of.low, of.value, of.high))
    middle, half = _BAR_HEIGHT / 2, _BAR_WIDTH / 2
    return (
        f'<svg viewBox="0 0 {_BAR_WIDTH:g} {_BAR_HEIGHT:g}" role="img" aria-label="{text(words)}">'
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
        yield from (f"<li>{text(note)}</li>\n" for note in response.notes)
        yield "</ul>\n"


_STYLE = """
:root { color-scheme: light dark; --a: #b35806; --b: #2166ac; --edge: #8884; }
@media (prefers-color-scheme: dark) { :root { --a: #f1a340; --b: #67a9cf; } }
h2 { font-size: 1.1rem; margin-top: 2rem; }
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
