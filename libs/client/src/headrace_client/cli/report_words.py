"""Reports in words, bars and JSON. A report has numbers and names; no text of anybody's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from headrace.feedback.v1.reports_pb2 import CompareRequest, CompareResponse, Estimate, ReportLine, Side
from headrace.query.v1.query_pb2 import TRIAL_SETTING_UNCHECKED

from headrace_client.cli.runs_words import SETTINGS

#: What a terminal has at least, where a report is to be read.
WIDTH = 100
#: Cells of a bar; odd, so that 0 has the middle one.
BAR = 29
_NAME, _FIGURE = 24, 20
#: What a side of a run may be: also the model's own words on the passages, which nobody checked.
SIDE_SETTINGS = {**SETTINGS, "unchecked": TRIAL_SETTING_UNCHECKED}
_SETTING_WORDS = {number: word for word, number in SIDE_SETTINGS.items()}
_BETTER = {"a": "A", "b": "B", "same": "=", "unknown": "?"}


def side_word(side: Side) -> str:
    """ "shorter@2", "default@1:zero-shot"; of a side without a name "answered then"."""
    version = f"@{side.variant.version}" if side.variant.version else ""
    setting = f":{_SETTING_WORDS[side.setting]}" if side.setting in _SETTING_WORDS else ""
    return f"{side.variant.name}{version}{setting}" if side.variant.name else "answered then"


def report_lines(request: CompareRequest, response: CompareResponse) -> list[str]:
    """A report as text, at most WIDTH columns wide unless a name is longer than any column."""
    return [
        *_head(request, response),
        "",
        *_wrapped(response.verdict),
        *(line for kind, lines in _by_kind(response.lines) for line in _section(kind, lines)),
        *_notes(response.notes),
    ]


def _head(request: CompareRequest, response: CompareResponse) -> Iterator[str]:
    where = f"run {request.run_id}" if request.run_id else "live traffic"
    kind = f", {request.kind} questions" if request.kind else ""
    yield f"Tenant {request.tenant}, {where}{kind}"
    yield f"  A  {side_word(request.a)}, {answers(response.answers_a)}"
    yield f"  B  {side_word(request.b)}, {answers(response.answers_b)}"
    if response.pairs:
        yield f"  {response.pairs:,} questions that both answered, compared pair by pair"


def answers(count: int) -> str:
    """ "1 answer", "1,200 answers"."""
    return f"{count:,} answer{'' if count == 1 else 's'}"


def _by_kind(lines: Sequence[ReportLine]) -> Iterator[tuple[str, list[ReportLine]]]:
    for kind, found in groupby(lines, key=lambda line: line.kind):
        yield kind, list(found)


def kind_title(kind: str) -> str:
    """What a section is headed by."""
    return f"{kind} questions" if kind else "All questions"


def _section(kind: str, lines: Sequence[ReportLine]) -> Iterator[str]:
    reaches = reaches_of(lines)
    yield ""
    yield f"{kind_title(kind):{_NAME + 2}}{'A':{_FIGURE}}{'B':{_FIGURE}}{'B less A, around 0':^{BAR}}".rstrip()
    for line in lines:
        figures = f"{figure(line.a, line.unit):{_FIGURE}}{figure(line.b, line.unit):{_FIGURE}}"
        name = line.measure if line.decides else f"{line.measure} *"
        yield f"  {name:{_NAME}}{figures}{bar(line.difference, reaches[line.measure])} {_BETTER.get(line.better, '')}"
        yield from _wrapped(line.sentence, indent="    ")
    if not all(line.decides for line in lines):
        yield "  * shown only: this judge is not calibrated well enough to decide"


def reaches_of(lines: Sequence[ReportLine]) -> Mapping[str, float]:
    """How far each measure's bar reaches to each side of 0: shares have one scale, so that their bars compare; of what
    has other units each has its own."""
    shares = max((_reach(line.difference) for line in lines if line.unit == "share"), default=0.0)
    return {line.measure: shares if line.unit == "share" else _reach(line.difference) for line in lines}


def _reach(difference: Estimate) -> float:
    return max(abs(difference.low), abs(difference.high))


def bar(difference: Estimate, reach: float) -> str:
    """ "······│··━━●━━·····": the interval, the estimate in it, and 0."""
    cells = ["·"] * BAR
    low, high = _cell(difference.low, reach), _cell(difference.high, reach)
    cells[low : high + 1] = ["━"] * (high - low + 1)
    cells[BAR // 2] = "┿" if low <= BAR // 2 <= high else "│"
    cells[_cell(difference.value, reach)] = "●"
    return "".join(cells)


def _cell(value: float, reach: float) -> int:
    share = (value / reach + 1) / 2 if reach else 0.5
    return min(max(round(share * (BAR - 1)), 0), BAR - 1)


def figure(estimate: Estimate, unit: str) -> str:
    """ "52 % (48–56)"; "-" where there is nothing."""
    if not estimate.answers:
        return "-"
    low, high = (plain(end, unit) for end in (estimate.low, estimate.high))
    return f"{plain(estimate.value, unit)}{_SUFFIXES.get(unit, '')} ({low}–{high})"


_SUFFIXES = {"share": " %", "seconds": " s", "micro_usd": " µ$"}


def plain(value: float, unit: str) -> str:
    """A number without its unit: of shares the percentage, of costs millionths of a dollar."""
    match unit:
        case "share":
            return f"{100 * value:.0f}"
        case "micro_usd":
            return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
        case _:
            return f"{value:.2f}"


def _notes(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        yield ""
        yield "To bear in mind"
    for note in notes:
        yield from _wrapped(note, indent="  - ", after="    ")


def _wrapped(text: str, *, indent: str = "", after: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if after is None else after,
        break_long_words=False,
        break_on_hyphens=False,
    )


def report_json(request: CompareRequest, response: CompareResponse) -> dict[str, Any]:
    """A report for programs."""
    return {
        "tenant": request.tenant,
        "run_id": request.run_id,
        "kind": request.kind,
        "a": side_json(request.a),
        "b": side_json(request.b),
        "answers_a": response.answers_a,
        "answers_b": response.answers_b,
        "pairs": response.pairs,
        "verdict": response.verdict,
        "lines": [_line_json(line) for line in response.lines],
        "notes": list(response.notes),
    }


def side_json(side: Side) -> dict[str, str]:
    """A side for programs."""
    setting = _SETTING_WORDS.get(side.setting, "")
    return {"variant": side.variant.name, "version": side.variant.version, "setting": setting}


def _line_json(line: ReportLine) -> dict[str, Any]:
    return {
        "kind": line.kind,
        "measure": line.measure,
        "unit": line.unit,
        "a": _estimate_json(line.a),
        "b": _estimate_json(line.b),
        "difference": _estimate_json(line.difference),
        "better": line.better,
        "more_needed": line.more_needed,
        "sentence": line.sentence,
        "decides": line.decides,
        "method": line.method,
    }


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "answers": estimate.answers}
