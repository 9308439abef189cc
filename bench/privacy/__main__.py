"""Runs both finders over the hold-out, prints the table, and says which goals are met."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from headrace_classifier.name_words import GivenNames, load_given_names
from rich.console import Console
from rich.table import Table

from bench.__main__ import describe_machine
from bench.privacy import holdout, tuning
from bench.privacy.finders import Found, Ours, Presidio
from bench.privacy.labelled import Label, Sample, digest
from bench.privacy.scoring import NAMED, STRUCTURED, Score, by, score

T = TypeVar("T")

TUNING_SEED = 11
#: How often the progress is shown, in texts.
_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Processor time of one finder: milliseconds for a KB of text, and texts a second of one core."""

    p50: float
    p95: float
    texts_per_second: float


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of what was promised."""

    name: str
    value: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it holds."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    samples = tuning.make(options.texts or 3_000, TUNING_SEED) if options.tuning else holdout.make()
    if not options.tuning and digest(samples) != holdout.SHA256:
        console.print("The hold-out is not the frozen one: its SHA-256 differs. Was Faker or a template changed?")
        return 2
    samples = samples[: options.texts or len(samples)]
    which = "the tuning set" if options.tuning else f"the hold-out, seed {holdout.SEED}, SHA-256 {holdout.SHA256[:16]}"
    console.print(f"{len(samples)} texts of {which}")
    report = measure(samples, console)
    _show(report, console)
    if options.json:
        options.json.write_text(json.dumps(_as_json(report), indent=1, ensure_ascii=False) + "\n")
    return int(options.strict and not all(goal.met for goal in report.goals))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.privacy", description="Measures detection on texts that it was never tuned on."
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything there")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a goal is missed")
    parser.add_argument("--tuning", action="store_true", help="the tuning set instead of the hold-out")
    parser.add_argument("--texts", type=int, metavar="N", help="only the first N texts")
    return parser.parse_args(arguments)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured."""

    plain: tuple[Score, Score]
    timings: tuple[Timing, Timing]
    disguises: tuple[dict[str, Any], dict[str, Any]]
    names: tuple[dict[str, Any], dict[str, Any]]
    goals: tuple[Goal, ...]


def measure(samples: Sequence[Sample], console: Console) -> Report:
    """Runs both over all texts. What is disguised counts in a table of its own."""
    finders = Ours(), Presidio()
    for finder in finders:
        for sample in samples[:40]:
            finder.run(sample.text)  # what loads at first use
    found: list[list[Found]] = [[], []]
    ours, peer = finders
    timing, _ = _timed(ours.run, samples, "headrace", console)
    found[0] = [ours.find(sample.text) for sample in samples]
    timed, found[1] = _timed(peer.find, samples, "presidio", console)
    timings = timing, timed
    given = load_given_names()
    plain = [number for number, sample in enumerate(samples) if not sample.disguise]
    scores = [score([samples[n] for n in plain], [one[n] for n in plain]) for one in found]
    return Report(
        plain=(scores[0], scores[1]),
        timings=timings,
        disguises=tuple(by(samples, one, _disguise) for one in found),  # type: ignore[arg-type]
        names=tuple(by(samples, one, lambda s, label: _known(s, label, given)) for one in found),  # type: ignore[arg-type]
        goals=_goals(scores[0], timings[0], timings[1]),
    )


def _disguise(sample: Sample, label: Label) -> str:
    return sample.disguise if label.kind in (*STRUCTURED, "secret") else ""


def _known(sample: Sample, label: Label, given: GivenNames) -> str:
    if label.kind != "person" or sample.disguise:
        return ""
    first = sample.text[label.start : label.end].split(" ")[0]
    return "given name in our list" if given.knows(first) else "given name not in our list"


def _timed(run: Callable[[str], T], samples: Sequence[Sample], name: str, console: Console) -> tuple[Timing, list[T]]:
    """Processor time, so that what else runs on the machine counts as little as it can."""
    per_kilobyte: list[float] = []
    results: list[T] = []
    total = 0.0
    for number, sample in enumerate(samples):
        if number % _EVERY == 0:
            console.print(f"  {name}: {number} of {len(samples)} texts, {total:.0f} s", style="dim")
        began = time.process_time()
        results.append(run(sample.text))
        took = time.process_time() - began
        total += took
        per_kilobyte.append(1_000 * took / (len(sample.text.encode()) / 1_024))
    per_kilobyte.sort()
    count = len(per_kilobyte)
    return Timing(per_kilobyte[count // 2], per_kilobyte[int(count * 0.95)], count / total), results


def _goals(ours: Score, timing: Timing, peer: Timing) -> tuple[Goal, ...]:
    numbers = ours.as_json()
    return (
        Goal("structured kinds, recall", numbers["structured"]["recall"], 0.99, at_least=True),
        Goal("structured kinds, precision", numbers["structured"]["precision"], 0.95, at_least=True),
        Goal("names and addresses, recall", numbers["names_and_addresses"]["recall"], 0.84, at_least=True),
        Goal("secrets of known formats, recall", ours.kinds["secret"].recall(), 0.95, at_least=True),
        Goal("texts with something that passed as harmless", numbers["tier_2_misses"], 0.01, at_least=False),
        Goal("harmless texts taken for TIER_2", numbers["false_tier_2"], 0.10, at_least=False),
        Goal("p95, ms per KB", timing.p95, 10.0, at_least=False),
        Goal("texts/s, times stock presidio's", timing.texts_per_second / peer.texts_per_second, 5.0, at_least=True),
    )


def _show(report: Report, console: Console) -> None:
    table = Table("kind", "labels", "recall", "same kind", "precision", "presidio recall", "precision", box=None)
    for kind in (*STRUCTURED, *NAMED, "secret"):
        ours, peer = (one.kinds[kind] for one in report.plain)
        table.add_row(
            kind,
            f"{ours.labels}",
            *(
                f"{n:.3f}"
                for n in (ours.recall(), ours.recall_same(), ours.precision(), peer.recall(), peer.precision())
            ),
        )
    console.print(table)
    for heading, groups in (("disguised, recall", report.disguises), ("names, recall", report.names)):
        table = Table(heading, "labels", "headrace", "presidio", box=None)
        for name, ours in groups[0].items():
            table.add_row(name, f"{ours.labels}", f"{ours.recall():.3f}", f"{groups[1][name].recall():.3f}")
        console.print(table)
    table = Table("texts", "headrace", "presidio", box=None)
    numbers = [one.as_json() for one in report.plain]
    for name in ("tier_2_misses", "false_tier_2", "code_recall", "code_false"):
        table.add_row(name.replace("_", " "), *(f"{one[name]:.4f}" for one in numbers))
    for name in ("p50", "p95", "texts_per_second"):
        table.add_row(name.replace("_", " "), *(f"{getattr(one, name):.2f}" for one in report.timings))
    console.print(table)
    table = Table("goal", "limit", "measured", "met", box=None)
    for goal in report.goals:
        table.add_row(
            goal.name,
            f"{'≥' if goal.at_least else '≤'} {goal.limit:g}",
            f"{goal.value:.4f}",
            "yes" if goal.met else "NO",
        )
    console.print(table)


def _as_json(report: Report) -> dict[str, Any]:
    def side(which: int) -> dict[str, Any]:
        groups = {"disguised": report.disguises[which], "names": report.names[which]}
        timing = report.timings[which]
        return {
            **report.plain[which].as_json(),
            **{name: {group: tally.recall() for group, tally in found.items()} for name, found in groups.items()},
            "p50_ms_per_kb": timing.p50,
            "p95_ms_per_kb": timing.p95,
            "texts_per_second": timing.texts_per_second,
        }

    goals = [{"goal": g.name, "limit": g.limit, "measured": g.value, "met": g.met} for g in report.goals]
    return {
        "machine": describe_machine(),
        "holdout": {"seed": holdout.SEED, "sha256": holdout.SHA256, "texts": holdout.COUNT},
        "headrace": side(0),
        "presidio": side(1),
        "goals": goals,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
