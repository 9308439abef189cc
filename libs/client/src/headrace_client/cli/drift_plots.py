"""Drift drawn over time: as a picture by matplotlib, or as one page that needs nothing besides itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.drift.v1.service_pb2 import GetReportResponse, Point

from headrace_client.cli.drift_words import alert_lines, figure, measure_word, report_head
from headrace_client.cli.plotting import is_picture, matplotlib_figure, text, whole_page

#: Inches, and dots to one.
_WIDTH, _ROW, _DOTS = 9.0, 1.5, 110
#: Of a line in a page, in units of its own.
_LINE_WIDTH, _LINE_HEIGHT, _MARGIN = 640.0, 90.0, 8.0


def write_plot(response: GetReportResponse, path: Path, *, title: str) -> None:
    """Draws each measure over time, as the file's ending says. Raises NoPlotting where matplotlib is missing."""
    if is_picture(path):
        draw(response, path, title=title)
    else:
        path.write_text(page(response, title=title), encoding="utf-8")


def by_measure(response: GetReportResponse) -> dict[str, list[Point]]:
    """The history of each measure, oldest first."""
    found: dict[str, list[Point]] = {}
    for point in response.history:
        found.setdefault(measure_word(point.reading), []).append(point)
    return found


def draw(response: GetReportResponse, path: Path, *, title: str) -> None:
    """Draws one line below the other: the window's value, the baseline's dashed, looks that drifted in red."""
    figure_of = matplotlib_figure()
    lines = by_measure(response)
    drawn = figure_of(figsize=(_WIDTH, 1 + _ROW * max(len(lines), 1)), dpi=_DOTS, layout="constrained")
    all_axes = drawn.subplots(max(len(lines), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, points) in zip(all_axes, lines.items(), strict=False):
        _draw_line(axes, name, points)
    drawn.suptitle(title, fontsize=10)
    drawn.savefig(path, format="png")


def _draw_line(axes: Any, name: str, points: Sequence[Point]) -> None:
    times = [_time(point) for point in points]
    axes.plot(times, [point.reading.window for point in points], color="#2166ac", linewidth=1.5)
    axes.plot(times, [point.reading.baseline for point in points], color="#777777", linewidth=1, linestyle="--")
    drifted = [point for point in points if point.reading.drifted]
    axes.plot([_time(point) for point in drifted], [point.reading.window for point in drifted], "o", color="#b2182b")
    axes.set_ylabel(name, rotation=0, ha="right", fontsize=8)
    axes.tick_params(labelsize=7)


def page(response: GetReportResponse, *, title: str) -> str:
    """One page with a line for each measure and the alerts that hold. It loads nothing, and runs nothing."""
    parts = (
        f"<h1>{text(title)}</h1>\n<pre>{text(chr(10).join(report_head(response)))}</pre>\n",
        *(_section(name, points) for name, points in by_measure(response).items()),
        *_alerts(response),
    )
    return whole_page(parts, title=title, style=_STYLE)


def _section(name: str, points: Sequence[Point]) -> str:
    last = points[-1].reading
    words = (
        f"{figure(last.baseline, last)} before, {figure(last.window, last)} now{', drifted' if last.drifted else ''}"
    )
    drifted = ' class="drifted"' if last.drifted else ""
    head = f"<section{drifted}>\n<h2>{text(name)}</h2>\n<p>{text(words)}</p>\n"
    return f"{head}{_line(points, words)}\n</section>\n"


def _line(points: Sequence[Point], words: str) -> str:
    scale = _Scale(points)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(scale.window, points))
    before = scale.height(points[-1].reading.baseline)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        for x, y in (scale.window(point) for point in points if point.reading.drifted)
    )
    return (
        f'<svg viewBox="0 0 {_LINE_WIDTH:g} {_LINE_HEIGHT:g}" role="img" aria-label="{text(words)}">'
        f'<line x1="0" y1="{before:.1f}" x2="{_LINE_WIDTH:g}" y2="{before:.1f}"/>'
        f'<polyline points="{path}"/>{dots}</svg>'
    )


class _Scale:
    """Where a point lies in a line's box."""

    def __init__(self, points: Sequence[Point]) -> None:
        values = [value for point in points for value in (point.reading.window, point.reading.baseline)]
        times = [_time(point).timestamp() for point in points]
        self._low, self._reach = min(values), (max(values) - min(values)) or 1.0
        self._first, self._seconds = times[0], (times[-1] - times[0]) or 1.0

    def height(self, value: float) -> float:
        """From the top."""
        return _LINE_HEIGHT - _MARGIN - (value - self._low) / self._reach * (_LINE_HEIGHT - 2 * _MARGIN)

    def window(self, point: Point) -> tuple[float, float]:
        """From the left, and from the top."""
        along = (_time(point).timestamp() - self._first) / self._seconds
        return _MARGIN + along * (_LINE_WIDTH - 2 * _MARGIN), self.height(point.reading.window)


def _alerts(response: GetReportResponse) -> Iterator[str]:
    if response.alerts:
        yield "<h2>Alerts that hold</h2>\n"
    for alert in response.alerts:
        yield f"<pre>{text(chr(10).join(alert_lines(alert)))}</pre>\n"


def _time(point: Point) -> datetime:
    return point.at.ToDatetime(UTC)


_STYLE = """
:root { color-scheme: light dark; --line: #2166ac; --drift: #b2182b; }
@media (prefers-color-scheme: dark) { :root { --line: #67a9cf; --drift: #ef8a62; } }
h2 { font-size: 1rem; margin: 1rem 0 0; }
p { margin: 0; } pre { overflow-x: auto; font-size: .85rem; }
svg { width: 100%; height: auto; }
polyline { fill: none; stroke: var(--line); stroke-width: 2; }
line { stroke: currentColor; stroke-width: 1; stroke-dasharray: 6 4; opacity: .5; }
circle, .drifted p { fill: var(--drift); color: var(--drift); }
"""
