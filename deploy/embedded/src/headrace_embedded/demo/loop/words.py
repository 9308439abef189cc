"""What the tour says of what it sees. Pure: from messages to lines."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.drift.v1.drift_pb2 import Alert, Lever, Measure, MovedWord, Reading
from headrace.feedback.v1.reports_pb2 import ReportLine
from headrace.privacy.v1.erasure_pb2 import ReachedModel
from headrace.training.v1.models_pb2 import Evidence, GateReport, Memorisation, Rollout
from headrace.training.v1.training_pb2 import (
    RUN_STATE_GATING,
    RUN_STATE_TRAINING,
    RUN_STATE_WAITING,
    Cause,
    RunState,
    TrainingRun,
)
from headrace_inference.terms import content

from headrace_embedded.demo.corpus import Topic

#: So many words, readings and documents are shown; the rest is counted.
SHOWN = 8
#: Characters of a line, where a sentence is longer.
WIDTH = 118


def alert_lines(alert: Alert) -> Iterator[str]:
    """Why it was raised, what moved, and what to pull."""
    said = alert.explanation
    yield from textwrap.wrap(said.summary, WIDTH)
    yield from (f"  {reading_line(reading)}" for reading in alert.readings[:SHOWN])
    risen = [moved.word for moved in _risen(said.words)]
    if risen:
        yield f"Words that came: {_listed(risen, most=3 * SHOWN)}."
    for kind in said.kinds[:SHOWN]:
        grounded = f"answered in words of its own {kind.baseline_grounded:.0%} → {kind.window_grounded:.0%}"
        yield f"  {kind.kind}: {kind.baseline_share:.0%} → {kind.window_share:.0%} of the questions, {grounded}"
    yield f"Of the questions with new words, {said.without_close_passage:.0%} found nothing close."
    yield f"What to pull first: {_word(Lever.Name(said.lever), 'LEVER_')}. {said.because}"


def reading_line(reading: Reading) -> str:
    """One measure: from what to what, how large that is, and how likely by chance."""
    name = reading.evaluator or _word(Measure.Name(reading.measure), "MEASURE_")
    effect = f"{reading.effect_kind} {reading.effect:.2f}"
    return f"{name:<18} {reading.baseline:8.3f} → {reading.window:8.3f}   {effect}, p {_probability(reading.p_value)}"


def _probability(p: float) -> str:
    return "< .0001" if p < 0.0001 else f"{p:.4f}"


def _risen(words: Iterable[MovedWord]) -> Iterator[MovedWord]:
    """Those that may be shown, and that are said more often now."""
    return (moved for moved in words if moved.word and moved.window > moved.baseline)


def named_documents(questions: Iterable[str], shelf: Sequence[Topic]) -> list[tuple[Topic, int]]:
    """Which documents on a shelf the questions point at, and how many of them do, most first. Each points at the one
    that has most of its words, those weighing more that few documents have."""
    stems = {topic.name: frozenset(content(f"{topic.title} {topic.markdown}")) for topic in shelf}
    having = Counter(word for words in stems.values() for word in words)
    pointed: Counter[str] = Counter()
    for question in questions:
        asked = frozenset(content(question))
        weights = {name: sum(1 / having[word] for word in asked & stems[name]) for name in stems}
        best = max(weights, key=weights.__getitem__, default="")
        if best and weights[best] > 0:
            pointed[best] += 1
    by_name = {topic.name: topic for topic in shelf}
    return [(by_name[name], count) for name, count in pointed.most_common()]


def shelf_lines(named: Sequence[tuple[Topic, int]]) -> Iterator[str]:
    """The documents that are missing, each with how many of the questions ask for it."""
    for topic, count in named[:SHOWN]:
        yield f"  {topic.title:<28} {count} of the questions"
    if len(named) > SHOWN:
        yield f"  and {len(named) - SHOWN} more"


def run_lines(run: TrainingRun) -> Iterator[str]:
    """What started a run, what it learns from, and how it went."""
    causes = _listed([_word(Cause.Name(cause), "CAUSE_") for cause in run.causes], most=SHOWN)
    yield f"Run {run.run_id[:8]}: {state(run)}, started by {causes}, from {run.base.name} {run.base.version}"
    yield f"  dataset {run.dataset_id[:12]}, {run.tokens:,} tokens in {run.compute_seconds:,.0f} s of compute"
    if run.held_out_loss:
        yield f"  loss {run.loss:.2f} on training rows, {run.held_out_loss:.2f} on held-out ones"
    if run.without_grant:
        yield f"  {run.without_grant} rows were left out for want of a grant"


def progress_line(run: TrainingRun) -> str:
    """How far a run is, to be said whenever the line changes: at each quarter of the steps. Empty once it has ended."""
    if run.state == RUN_STATE_WAITING:
        return f"Run {run.run_id[:8]} waits for more causes, and for its turn."
    if run.state == RUN_STATE_GATING:
        return f"Run {run.run_id[:8]} is trained, and the gate looks at what it made."
    if run.state != RUN_STATE_TRAINING or not run.steps:
        return ""
    quarter = 4 * run.step // run.steps
    return f"Run {run.run_id[:8]} trains: {25 * quarter} % of {run.steps} steps."


def state(run: TrainingRun) -> str:
    """How a run stands, as a word."""
    return _word(RunState.Name(run.state), "RUN_STATE_")


def gate_lines(report: GateReport) -> Iterator[str]:
    """What the gate found, rule by rule."""
    yield f"The gate {'let it through' if report.passed else 'refused'}, against {report.champion or 'the base'}:"
    for line in report.lines:
        yield f"  {'✓' if line.passed else '✗'} {line.sentence or line.rule}"


def memorisation_line(found: Memorisation) -> str:
    """Whether secrets that were planted in the training rows can be got out again."""
    return (
        f"Of {found.planted} secrets planted in its rows, {found.extracted} can be got out of it. Their exposure is "
        f"{found.exposure:.1f} bits; of {found.controls} that it never saw, 95 % stay below {found.controls_limit:.1f}."
    )


def rollout_lines(rollout: Rollout) -> Iterator[str]:
    """How the canary did."""
    ended = rollout.ended.replace("_", " ") or "going on"
    yield f"{rollout.answers} answers of it, {rollout.champion_answers} of the champion: {ended}. {rollout.because}"
    yield from (f"  {_evidence(each)}" for each in rollout.evidence)


def _evidence(seen: Evidence) -> str:
    verdict = seen.verdict.replace("_", " ")
    shares = f"{seen.canary:.0%} against {seen.champion:.0%}"
    return f"{seen.measure:<9} {shares}, the difference lies in {seen.low:+.2f} to {seen.high:+.2f}: {verdict}"


def gain_line(line: ReportLine) -> str:
    """One measure of the old model (A) and the new (B), with the interval of the difference."""
    points = [round(100 * value) for value in (line.difference.value, line.difference.low, line.difference.high)]
    return (
        f"{line.measure}: {line.a.value:.0%} → {line.b.value:.0%}, {points[0]:+d} points "
        f"(95 % interval {points[1]:+d} to {points[2]:+d}, {line.difference.answers} questions)"
    )


def reached_lines(models: Iterable[ReachedModel]) -> Iterator[str]:
    """The models that an erasure reached, and what became of them."""
    for reached in models:
        is_retired = reached.HasField("retired_at")
        ended = f"retired at {_clock(reached.retired_at)}" if is_retired else f"to go by {_clock(reached.retire_by)}"
        instead = f", in its place: {reached.replaced_by}" if reached.replaced_by else ""
        yield f"  {reached.model} learned from it: {ended}{instead}"


def duration(seconds: float) -> str:
    """ "48 s", "6 min 05 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _clock(moment: Timestamp) -> str:
    return f"{moment.ToDatetime():%H:%M:%S} UTC"


def _listed(words: Sequence[str], *, most: int) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower().replace("_", " ")
