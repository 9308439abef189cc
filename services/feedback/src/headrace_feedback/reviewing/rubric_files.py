"""The rubrics that come with the package, one file a version."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources

import yaml

from headrace_feedback.reviewing.criteria import LEAST_KAPPA, PASS_OR_FAIL, Criterion, Rubric


@cache
def built_in() -> Sequence[Rubric]:
    """The rubrics of all tenants."""
    folder = resources.files("headrace_feedback.reviewing") / "rubrics"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(_rubric(yaml.safe_load(file.read_text())) for file in files)


def _rubric(parsed: dict[str, object]) -> Rubric:
    criteria: list[dict[str, object]] = parsed["criteria"]  # type: ignore[assignment]
    return Rubric(
        name=str(parsed["name"]),
        version=int(str(parsed["version"])),
        instructions=str(parsed["instructions"]),
        criteria=tuple(_criterion(one) for one in criteria),
        built_in=True,
    )


def _criterion(parsed: dict[str, object]) -> Criterion:
    labels: list[str] = parsed.get("labels", PASS_OR_FAIL)  # type: ignore[assignment]
    return Criterion(
        name=str(parsed["name"]),
        question=str(parsed["question"]),
        labels=tuple(labels),
        ordered=bool(parsed.get("ordered", False)),
        least_kappa=float(str(parsed.get("least_kappa", LEAST_KAPPA))),
    )
