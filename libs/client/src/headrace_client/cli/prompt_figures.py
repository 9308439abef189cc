"""What a version of a prompt came to, in a table's cells and for programs."""

from __future__ import annotations

from typing import Any

from headrace.feedback.v1.reports_pb2 import PromptFigures


def figure_cells(figures: PromptFigures | None) -> list[str]:
    """Answers; of those that say something the share in the model's own words that the sources bear out; of all the
    share refused; of the thumbs those that are up."""
    if figures is None or not figures.answers:
        return ["", "", "", ""]
    spoken = figures.grounded + figures.extracted
    thumbs = figures.thumbs_up + figures.thumbs_down
    return [
        f"{figures.answers:,}",
        _share(figures.grounded, spoken),
        _share(figures.refused, figures.answers),
        f"{figures.thumbs_up:,} of {thumbs:,}" if thumbs else "",
    ]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else ""


def figures_json(figures: PromptFigures | None) -> dict[str, Any] | None:
    """The counts; None where there are none."""
    if figures is None:
        return None
    names = ("answers", "grounded", "extracted", "refused", "thumbs_up", "thumbs_down")
    return {name: getattr(figures, name) for name in names}
