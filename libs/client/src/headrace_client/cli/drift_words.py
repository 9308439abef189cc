"""Drift in words and JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from headrace.drift.v1 import drift_pb2
from headrace.drift.v1.drift_pb2 import Alert, Baseline, Measure, Reading, Slice
from headrace.drift.v1.service_pb2 import GetReportResponse

from headrace_client.cli.governance import json_moment, moment
from headrace_client.tiers import tier_word

#: What a terminal has at least, where drift is to be read.
WIDTH = 100
_MOST_WORDS = 12
_SHARES = {Measure.MEASURE_VOCABULARY, Measure.MEASURE_GROUNDED, Measure.MEASURE_REFUSED, Measure.MEASURE_THUMBS}
_DISTANCES = {
    Measure.MEASURE_NGRAMS,
    Measure.MEASURE_EMBEDDINGS,
    Measure.MEASURE_KINDS,
    Measure.MEASURE_TIERS,
}
_LEVERS = {
    drift_pb2.LEVER_UNSPECIFIED: "nothing",
    drift_pb2.LEVER_DOCUMENTS: "documents",
    drift_pb2.LEVER_PROMPT: "the prompt",
    drift_pb2.LEVER_TUNING: "tuning",
}


def measure_word(reading: Reading) -> str:
    """ "vocabulary", "nearest passage", "scores of groundedness"."""
    word = Measure.Name(reading.measure).removeprefix("MEASURE_").lower().replace("_", " ")
    return f"{word} of {reading.evaluator}" if reading.evaluator else word


def slice_word(of: Slice) -> str:
    """ "docs-search, how-to questions"; "everything"."""
    parts = [of.product, f"{of.kind} questions" if of.kind else ""]
    return ", ".join(part for part in parts if part) or "everything"


def state_word(alert: Alert) -> str:
    """ "open"."""
    return drift_pb2.AlertState.Name(alert.state).removeprefix("ALERT_STATE_").lower()


def lever_word(alert: Alert) -> str:
    """ "documents"."""
    return _LEVERS.get(alert.explanation.lever, "nothing")


def figure(value: float, of: Reading) -> str:
    """A share as percent, a distance with two places, anything else with three digits."""
    if of.measure in _SHARES:
        return f"{100 * value:.0f} %" if value >= 0.0995 else f"{100 * value:.1f} %"
    if of.measure in _DISTANCES:
        return f"{value:.2f}"
    return f"{value:.3g}"


def baseline_lines(baseline: Baseline) -> Iterator[str]:
    """What windows are measured against."""
    since, until = moment(getattr(baseline, "from")), moment(baseline.until)
    of = f"dataset {baseline.dataset_id[:12]}, " if baseline.dataset_id else ""
    yield f"Baseline   {of}{since} to {until} UTC, {baseline.samples:,} questions"
    yield f"           set {moment(baseline.set_at)}, by {baseline.set_by.removeprefix('by ') or 'nobody'}"


def report_head(response: GetReportResponse) -> Iterator[str]:
    """The baseline, the window and what came late."""
    yield from baseline_lines(response.baseline)
    if not response.readings:
        yield "Window     nothing was measured against this baseline yet: too few questions since, or no look"
        return
    yield f"Window     {moment(response.window_from)} to {moment(response.window_until)} UTC"
    if response.late:
        yield f"Late       {response.late:,} events came too late to be counted"


def reading_rows(readings: Sequence[Reading]) -> list[list[str]]:
    """One row for each measure, the slices in their order."""
    return [
        [
            slice_word(one.slice),
            measure_word(one),
            "" if one.measure in _DISTANCES else figure(one.baseline, one),
            figure(one.window, one),
            f"{one.effect:+.2f} {one.effect_kind}",
            f"{one.p_value:.1g}",
            f"{one.window_samples:,}",
            "drifted" if one.drifted else "",
        ]
        for one in readings
    ]


READING_COLUMNS = ["of", "measure", "before", "now", "effect", "p", "samples", ""]


def alert_rows(alerts: Sequence[Alert]) -> list[list[str]]:
    """One row for each alert."""
    return [
        [
            alert.alert_id,
            state_word(alert),
            slice_word(alert.slice),
            ", ".join(measure_word(one) for one in alert.readings[:3]),
            lever_word(alert),
            moment(alert.opened_at),
            moment(alert.closed_at),
        ]
        for alert in alerts
    ]


ALERT_COLUMNS = ["alert", "", "of", "what drifted", "pull", "opened", "closed"]


def alert_lines(alert: Alert) -> Iterator[str]:
    """One alert, with its explanation."""
    told = alert.explanation
    closed = f", closed {moment(alert.closed_at)}" if alert.HasField("closed_at") else ""
    yield f"Alert      {alert.alert_id}, {state_word(alert)}"
    yield f"Of         {slice_word(alert.slice)}, at most {tier_word(alert.tier)}"
    yield f"Window     {moment(alert.window_from)} to {moment(alert.window_until)} UTC{closed}"
    if alert.HasField("model"):
        yield f"Answered   mostly by {alert.model.name}@{alert.model.version}"
    yield ""
    yield from textwrap.wrap(told.summary, WIDTH)
    yield from textwrap.wrap(f"Pull {lever_word(alert)}. {told.because}", WIDTH)
    yield from _words(told.words)
    yield from _kinds(told.kinds)
    if told.query_ids:
        yield from ("", "To look at (headrace trace, headrace evaluations show):")
        yield from (f"  {query_id}" for query_id in told.query_ids)


def _words(words: Sequence[drift_pb2.MovedWord]) -> Iterator[str]:
    if not words:
        return
    yield from ("", "Words that moved, by their share of all words:")
    for word in words[:_MOST_WORDS]:
        shown = word.word or f"({word.hash[:8]}: only {tier_word(word.tier)}, or of few)"
        yield f"  {shown:40} {1000 * word.baseline:6.1f} → {1000 * word.window:6.1f} ‰"


def _kinds(kinds: Sequence[drift_pb2.MovedKind]) -> Iterator[str]:
    if len(kinds) < 2:
        return
    yield from ("", "Kinds of question, and the share of grounded answers:")
    for kind in kinds:
        shares = f"{100 * kind.baseline_share:3.0f} → {100 * kind.window_share:3.0f} %"
        yield f"  {kind.kind:20} {shares}   {100 * kind.baseline_grounded:3.0f} → {100 * kind.window_grounded:3.0f} %"


def baseline_json(baseline: Baseline) -> dict[str, Any]:
    """A baseline for programs."""
    return {
        "baseline_id": baseline.baseline_id,
        "dataset_id": baseline.dataset_id,
        "from": json_moment(getattr(baseline, "from")),
        "until": json_moment(baseline.until),
        "samples": baseline.samples,
        "set_by": baseline.set_by,
        "set_at": json_moment(baseline.set_at),
    }


def reading_json(reading: Reading) -> dict[str, Any]:
    """A reading for programs."""
    return {
        "product": reading.slice.product,
        "kind": reading.slice.kind,
        "measure": Measure.Name(reading.measure).removeprefix("MEASURE_").lower(),
        "evaluator": reading.evaluator,
        "baseline": reading.baseline,
        "window": reading.window,
        "effect": reading.effect,
        "effect_kind": reading.effect_kind,
        "p_value": reading.p_value,
        "baseline_samples": reading.baseline_samples,
        "window_samples": reading.window_samples,
        "drifted": reading.drifted,
    }


def alert_json(alert: Alert) -> dict[str, Any]:
    """An alert for programs."""
    told = alert.explanation
    return {
        "alert_id": alert.alert_id,
        "state": state_word(alert),
        "product": alert.slice.product,
        "kind": alert.slice.kind,
        "tier": tier_word(alert.tier),
        "window_from": json_moment(alert.window_from),
        "window_until": json_moment(alert.window_until),
        "opened_at": json_moment(alert.opened_at),
        "closed_at": json_moment(alert.closed_at),
        "baseline_id": alert.baseline_id,
        "model": f"{alert.model.name}@{alert.model.version}" if alert.model.name else "",
        "readings": [reading_json(one) for one in alert.readings],
        "summary": told.summary,
        "lever": drift_pb2.Lever.Name(told.lever).removeprefix("LEVER_").lower(),
        "because": told.because,
        "without_close_passage": told.without_close_passage,
        "query_ids": list(told.query_ids),
        "words": [
            {"word": word.word, "hash": word.hash, "baseline": word.baseline, "window": word.window}
            for word in told.words
        ],
        "kinds": [
            {
                "kind": kind.kind,
                "baseline_share": kind.baseline_share,
                "window_share": kind.window_share,
                "baseline_grounded": kind.baseline_grounded,
                "window_grounded": kind.window_grounded,
            }
            for kind in told.kinds
        ],
    }


def report_json(response: GetReportResponse) -> dict[str, Any]:
    """A report for programs."""
    return {
        "baseline": baseline_json(response.baseline),
        "window_from": json_moment(response.window_from),
        "window_until": json_moment(response.window_until),
        "late": response.late,
        "readings": [reading_json(one) for one in response.readings],
        "alerts": [alert_json(one) for one in response.alerts],
        "history": [{"at": json_moment(point.at), **reading_json(point.reading)} for point in response.history],
    }
