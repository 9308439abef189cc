"""From evidence to lines, a verdict and what to bear in mind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from headrace_statistics import Comparison, TooFew, Winner, decide, decide_all, sentence
from headrace_statistics.judging import length_controlled_win_rate

from headrace_feedback.interaction import OTHER_KIND
from headrace_feedback.reporting.contrasts import contrast_of, estimate_of, is_clustered_thin, sides_of
from headrace_feedback.reporting.measures import Ground, Measure, is_wanted, measure_of, rank
from headrace_feedback.reporting.reports import (
    Better,
    Counts,
    Estimate,
    Evidence,
    LeftOut,
    Lengths,
    Line,
    Paired,
    Report,
    Request,
    Seen,
)

_WINNERS: Mapping[Winner, Better] = {
    Winner.A: "a",
    Winner.B: "b",
    Winner.SAME: "same",
    Winner.UNDECIDED: "unknown",
}
_GROUNDS = {
    Ground.KNOWN: "known answers",
    Ground.JUDGED: "a calibrated judge",
    Ground.FEEDBACK: "what users did and said",
    Ground.SOURCES: "the sources",
    Ground.SPENT: "what it takes",
}
#: Fewer answers of a kind than this are worth a note: few verdicts are to be had of them.
FEW = 30


class _Slices(NamedTuple):
    """One measure in every kind."""

    measure: Measure
    by_kind: Mapping[str, Seen]


def report(request: Request, evidence: Evidence, left_out: Sequence[LeftOut] = ()) -> Report:
    """Compares. Kinds are corrected for each other, measure by measure; all together stands by itself."""
    chosen = list(_newest(request, [one for one in evidence.seen if one.kind in _kinds(request, evidence)]))
    slices = sorted(_by_measure(chosen), key=lambda each: rank(each.measure))
    lines = [line for each in slices for line in _lines(each, request)]
    places = {each.measure.name: place for place, each in enumerate(slices)}
    lines.sort(key=lambda line: (line.kind, places[line.measure.name]))
    whole = evidence.counts.get(request.kind, Counts(request.kind, 0, 0))
    notes = list(_notes(request, evidence, chosen, lines, left_out))
    return Report(lines, whole, _verdict([line for line in lines if line.kind == request.kind], whole), notes)


def _kinds(request: Request, evidence: Evidence) -> set[str]:
    """Those that are reported: all together and each; not each where there are none but the rest that has no kind."""
    if request.kind:
        return {request.kind}
    kinds = set(evidence.counts) | {one.kind for one in evidence.seen}
    return {""} if kinds <= {"", OTHER_KIND} else kinds | {""}


def _newest(request: Request, seen: Sequence[Seen]) -> Iterator[Seen]:
    """What is wanted, each measure in its newest version that both sides have."""
    newest: dict[str, tuple[bool, tuple[int, str, int]]] = {}
    for one in seen:
        worth = _is_whole(one), one.key.age
        newest[one.key.name] = max(newest.get(one.key.name, worth), worth)
    for one in seen:
        if one.key.age == newest[one.key.name][1] and is_wanted(one.key, request.measures):
            yield one


def _is_whole(one: Seen) -> bool:
    return not isinstance(one.seen, tuple) or None not in one.seen


def _by_measure(seen: Sequence[Seen]) -> Iterator[_Slices]:
    found: dict[str, dict[str, Seen]] = {}
    for one in seen:
        found.setdefault(one.key.name, {})[one.kind] = one
    for by_kind in found.values():
        yield _Slices(measure_of(next(iter(by_kind.values())).key), by_kind)


def _lines(slices: _Slices, request: Request) -> Iterator[Line]:
    """One measure's lines: of all together, and of each kind where there are several."""
    measure = slices.measure
    contrasts = {kind: contrast_of(seen, measure, seed=request.seed) for kind, seen in slices.by_kind.items()}
    least = _least(slices, request)
    whole = {"": decide(contrasts.pop(""), least=least, better=measure.better)} if "" in contrasts else {}
    kinds = decide_all(contrasts, least=least, better=measure.better)
    for kind, comparison in (whole | kinds).items():
        yield _line(slices.by_kind[kind], measure, comparison, seed=request.seed)


def _least(slices: _Slices, request: Request) -> float:
    """The smallest difference worth having: of times and costs so great a share of A's."""
    if slices.measure.ground is Ground.SPENT:
        a, _ = sides_of(slices.by_kind.get(request.kind) or next(iter(slices.by_kind.values())), slices.measure)
        return request.least * max(estimate_of(a, slices.measure, seed=request.seed).value, 0.0)
    return request.least * slices.measure.span


def _line(seen: Seen, measure: Measure, comparison: Comparison, *, seed: int) -> Line:
    a, b = (estimate_of(side, measure, seed=seed) for side in sides_of(seen, measure))
    on = f"{seen.kind} questions" if seen.kind else ""
    return Line(
        kind=seen.kind,
        measure=measure,
        a=a,
        b=b,
        difference=_difference(comparison, a, b),
        better=_WINNERS[comparison.winner],
        more=comparison.more_per_side or 0,
        sentence=sentence(comparison, unit=measure.told_in, on=on),
        decides=seen.decides,
        method=comparison.method if comparison.difference else "",
        lost=_lost(seen, measure),
    )


def _lost(seen: Seen, measure: Measure) -> int:
    """Pairs in which B does worse."""
    if not isinstance(seen.seen, Paired):
        return 0
    return int((measure.better.value * (seen.seen.b - seen.seen.a) < 0).sum())


def _difference(comparison: Comparison, a: Estimate, b: Estimate) -> Estimate:
    """B less A; where nothing can be told of it, all that it could be."""
    if comparison.difference is not None:
        of = comparison.difference
        return Estimate(of.estimate, of.low, of.high, comparison.n)
    return Estimate(b.value - a.value, b.low - a.high, b.high - a.low, comparison.n)


def _verdict(lines: Sequence[Line], counts: Counts) -> str:
    """The first line that may decide, what speaks against it, and what it costs."""
    if not counts.a or not counts.b:
        missing = " and ".join(name for name, n in (("A", counts.a), ("B", counts.b)) if not n)
        return f"can't tell yet: there are no answers of {missing}"
    telling = [line for line in lines if line.decides and line.a.answers and line.b.answers]
    quality = [line for line in telling if line.measure.ground is not Ground.SPENT]
    if not quality:
        return " ".join(["can't tell yet: nothing measures quality so far.", *_spent(telling)])
    first, *others = quality
    ground = f"By {first.measure.words} ({_GROUNDS[first.measure.ground]}), {first.sentence}."
    return " ".join([ground, *_against(first, others), *_spent(telling)])


def _against(first: Line, others: Sequence[Line]) -> Iterator[str]:
    """Measures that say the other one is better."""
    other = {"a": "b", "b": "a"}.get(first.better)
    for line in others:
        if line.better == other:
            yield f"But by {line.measure.words}, {line.sentence}."


def _spent(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        if line.measure.ground is Ground.SPENT and line.better in {"a", "b"}:
            yield f"By {line.measure.words}, {line.sentence}."


def _notes(
    request: Request, evidence: Evidence, chosen: Sequence[Seen], lines: Sequence[Line], left_out: Sequence[LeftOut]
) -> Iterator[str]:
    yield from _uncalibrated(lines)
    yield from (_at_equal_length(one) for one in evidence.lengths if one.key in {each.key for each in chosen})
    yield from _older(evidence, chosen)
    yield from _thin(chosen)
    yield from _few(request, evidence)
    yield from _unpaired(request, evidence)
    yield from (_left_out(one, request) for one in left_out)
    yield from _stale(request, evidence)


def _uncalibrated(lines: Sequence[Line]) -> Iterator[str]:
    names = dict.fromkeys(line.measure.name for line in lines if not line.decides)
    for name in names:
        yield f"{name}: this judge is not calibrated well enough; it is shown, and decides nothing."


def _at_equal_length(one: Lengths) -> str:
    """Judges like what is longer: what would be left of the wins without it."""
    try:
        held = length_controlled_win_rate(one.preferences, one.extra)  # type: ignore[arg-type]
    except TooFew:
        return f"{one.key.name}: what length does to it cannot be told of so few."
    longer = float(np.mean(one.extra))
    share, low, high = (round(100 * each) for each in (held.estimate, held.low, held.high))
    return (
        f"{one.key.name}: B's answers are {abs(longer):,.0f} characters {'longer' if longer > 0 else 'shorter'} on "
        f"average; at equal length B would win {share} %, 95 % interval {low} to {high}, ties as half."
    )


def _older(evidence: Evidence, chosen: Sequence[Seen]) -> Iterator[str]:
    used = {one.key for one in chosen}
    names = {one.key.name for one in chosen}
    for name in sorted({one.key.name for one in evidence.seen if one.key.name in names and one.key not in used}):
        yield f"{name}: scores of other versions of it are left out; versions are never averaged."


def _thin(chosen: Sequence[Seen]) -> Iterator[str]:
    thin = sorted({one.kind for one in chosen if is_clustered_thin(one, measure_of(one.key))})
    for kind in thin:
        where = f"{kind} questions" if kind else "all kinds together"
        yield f"{where}: the answers hang together in fewer than 10 conversations, too few to tell anything."


def _few(request: Request, evidence: Evidence) -> Iterator[str]:
    for kind, counts in sorted(evidence.counts.items()):
        least = min(counts.a, counts.b)
        if kind and kind != request.kind and least < FEW:
            yield f"{kind} questions: only {counts.a:,} answers of A and {counts.b:,} of B."


def _unpaired(request: Request, evidence: Evidence) -> Iterator[str]:
    counts = evidence.counts.get(request.kind)
    if counts is None or not request.run_id:
        return
    for name, n in (("A", counts.a), ("B", counts.b)):
        if n > counts.pairs:
            yield f"{n - counts.pairs:,} answers of {name} have no counterpart, and are left out."


def _left_out(one: LeftOut, request: Request) -> str:
    what = "questions" if request.run_id else "answers"
    if one.reason == "denied_by_policy":
        return f"{one.number:,} {what} of {one.tier.label} are left out: the policy does not let you evaluate them."
    mend = f"headrace approvals request --tenant {request.tenant} --purpose evaluate --reason …"
    return f"{one.number:,} {what} of {one.tier.label} are left out: no live grant lets you evaluate them ({mend})."


def _stale(request: Request, evidence: Evidence) -> Iterator[str]:
    counts = evidence.counts.get(request.kind)
    if counts is None or not counts.stale_a + counts.stale_b:
        return
    yield (
        f"{counts.stale_a:,} answers of A and {counts.stale_b:,} of B are stale: what they were made of has changed "
        "or gone since (headrace answers stale)."
    )
