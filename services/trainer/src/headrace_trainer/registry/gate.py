"""The gate: from what was measured to a decision, rule by rule, each with a sentence that says by how much. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import NormalDist

from headrace_trainer.registry.models import GateLine, GateReport, Losses
from headrace_trainer.registry.rules import (
    CalibrationRule,
    GainRule,
    Gate,
    JudgeRule,
    LossRule,
    MemorisationRule,
    MustPassRule,
    RatioRule,
    Setting,
    ShareRule,
    SizeRule,
)
from headrace_trainer.running.runs import Memorisation

#: Of what a model says of another: they count only where they were found to agree with experts.
JUDGES = ("judge:", "wins:")
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of one kind, of a report: A is the champion, B the candidate, `low` and `high` the ends of the 95 %
    interval of B less A. lost: pairs in which B's value is below A's."""

    kind: str
    measure: str
    a: float
    b: float
    low: float
    high: float
    pairs: int
    decides: bool = True
    lost: int = 0

    @property
    def is_judged(self) -> bool:
        """Whether a model said it."""
        return self.measure.startswith(JUDGES)

    @property
    def difference(self) -> float:
        """B less A."""
        return self.b - self.a


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was measured.

    reports: the lines of champion against candidate, by setting. must_pass: the same over the must-pass rows; None
    where the tenant has none. failed, asked: answers of the candidate that did not come, of so many.
    """

    reports: Mapping[Setting, Sequence[Line]] = field(default_factory=dict)
    must_pass: Sequence[Line] | None = None
    losses: Losses = field(default_factory=Losses)
    bytes: int = 0
    memorisation: Memorisation | None = None
    failed: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True)
class SearchFindings:
    """Everything that was measured of an embedder: the lines of the live one against the candidate (see ranks.py), and
    the same over the must-pass rows; None where the tenant has none."""

    lines: Sequence[Line] = ()
    must_pass: Sequence[Line] | None = None
    losses: Losses = field(default_factory=Losses)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class KindsFindings:
    """Everything that was measured of what recognises kinds: the lines of the champion against the candidate, and the
    calibration errors of both over so many questions; see recognising.py."""

    lines: Sequence[Line] = ()
    error: float = 0.0
    champion_error: float = 0.0
    asked: int = 0


def lines_of(gate: Gate, found: Findings) -> tuple[GateLine, ...]:
    """What the rules for generators say of what was measured, line by line."""
    return tuple(_lines(gate, found))


def lines_of_search(gate: Gate, found: SearchFindings) -> tuple[GateLine, ...]:
    """What the rules for embedders say of what was measured, line by line."""
    rules = gate.rules.embedder
    lines = [_gain(rules.gain, found.lines), *_shares(rules.shares, lambda _: found.lines)]
    lines.append(loss_line("held_out_loss", rules.held_out_loss, found.losses))
    lines.append(_size(rules.size, found.bytes))
    if found.must_pass is not None:
        lines.append(_must_pass(rules.must_pass, found.must_pass))
    return tuple(lines)


def lines_of_kinds(gate: Gate, found: KindsFindings) -> tuple[GateLine, ...]:
    """What the rules for what recognises kinds say of what was measured, line by line."""
    rules = gate.rules.kinds
    lines = [_gain(rules.gain, found.lines), *_shares(rules.shares, lambda _: found.lines)]
    lines.append(_calibration(rules.calibration, found))
    return tuple(lines)


def report_of(lines: Sequence[GateLine], *, champion: str, version: str, now: datetime) -> GateReport:
    """Decides. It passes where every rule holds; of no rule at all nothing passes."""
    passed = bool(lines) and all(line.passed for line in lines)
    return GateReport(passed, tuple(lines), champion, version, now)


def refusal(report: GateReport) -> str:
    """The sentences of the rules that did not hold."""
    return " ".join(line.sentence for line in report.lines if not line.passed)


def _lines(gate: Gate, found: Findings) -> Iterator[GateLine]:
    rules = gate.rules
    yield _answered(found)
    yield from _shares(rules.shares, lambda rule: found.reports.get(rule.setting, ()))
    yield from _judges(rules.judges, [line for each in found.reports.values() for line in each])
    for name, ratio in rules.ratios.items():
        yield from _ratio(name, ratio, found)
    yield _size(rules.size, found.bytes)
    yield _memorisation(rules.memorisation, found.memorisation)
    if found.must_pass is not None:
        yield _must_pass(rules.must_pass, found.must_pass)


def _answered(found: Findings) -> GateLine:
    """Answers that never came are in no average: without this rule a model that mostly fails would look well."""
    share = found.failed / found.asked if found.asked else 0.0
    passed = found.asked > 0 and found.failed == 0
    words = (
        f"{found.failed} of {found.asked} questions were not answered; every one must be."
        if found.asked
        else "Nothing was asked: there are no held-out rows that may be measured."
    )
    return GateLine("answered", "", share, 0.0, 0.0, 0.0, 0.0, passed, words)


def _shares(rules: Mapping[str, ShareRule], lines_for: Callable[[ShareRule], Sequence[Line]]) -> Iterator[GateLine]:
    held = {name: _taken(rule, lines_for(rule)) for name, rule in rules.items()}
    among = sum(map(len, held.values()))
    for name, rule in rules.items():
        if not any(not line.kind for line in held[name]):
            yield _silent(name, rule)
        for line in held[name]:
            yield _held(name, rule, line, among=among)


def _taken(rule: ShareRule, lines: Sequence[Line]) -> list[Line]:
    """The lines that a rule is held against: over all, then by kind where it has a say on kinds."""
    taken = [line for line in lines if line.measure in rule.measures and line.pairs >= rule.least_pairs]
    whole, by_kind = ([line for line in taken if bool(line.kind) is kind] for kind in (False, True))
    return [*whole, *(by_kind if rule.by_kind is not None else ())]


def _silent(name: str, rule: ShareRule) -> GateLine:
    passed = rule.needed == "none"
    end = "the rule asks for nothing then" if passed else "the rule does not hold by silence"
    words = f"{_capital(rule.says)}: fewer than {rule.least_pairs} pairs were measured; {end}."
    return GateLine(name, "", 0.0, 0.0, 0.0, 0.0, rule.falls_by, passed, words)


def _held(name: str, rule: ShareRule, line: Line, *, among: int) -> GateLine:
    sign = 1 if rule.better == "higher" else -1
    allowed = rule.by_kind if line.kind and rule.by_kind is not None else rule.falls_by
    passed, words = _weighed(
        rule.says, line, sign, allowed=allowed, sure=rule.sure, proven_by=rule.proven_by, among=among
    )
    return GateLine(name, line.kind, line.b, line.a, line.low, line.high, allowed, passed, words)


def _weighed(
    says: str, line: Line, sign: int, *, allowed: float, sure: float, proven_by: float = 0.0, among: int = 1
) -> tuple[bool, str]:
    """Whether a line holds, and "Answers that …, by grounded, on how-to questions fell by 12.0 points (95 % interval
    −20.1 to −4.2, 88 pairs); 5.0 points down are allowed.". among: see _best."""
    likely, worse_by = _likely_worse(line, sign), -sign * line.difference
    is_proven = _best(line, sign, among=among) < -proven_by
    passed = not is_proven and (worse_by <= allowed + 1e-9 or likely < sure)
    change = line.difference
    verb = "did not change" if abs(change) < 5e-4 else f"{'rose' if change > 0 else 'fell'} by {_points(abs(change))}"
    on = f" on {line.kind} questions" if line.kind else ""
    shown = f"95 % interval {_signed(line.low)} to {_signed(line.high)}, {line.pairs} pairs"
    end = f"{_points(allowed)} {'down' if sign > 0 else 'up'} are allowed"
    if is_proven:
        end += "; that it is worse is proven"
    elif worse_by > allowed:
        end += f"; the chance that it is worse is {100 * likely:.0f} %, and {100 * sure:.0f} % refuse"
    return passed, f"{_capital(says)} ({line.measure}){on} {verb} ({shown}); {end}."


def _best(line: Line, sign: int, *, among: int) -> float:
    """The good end of the interval, widened as far as that all of so many hold at once with 95 % (Bonferroni): of a
    dozen shares that did not change, one lies outside of its own 95 % in every fourth gate."""
    reach = (line.high - line.difference) if sign > 0 else (line.difference - line.low)
    return sign * line.difference + reach * _NORMAL.inv_cdf(1 - 0.025 / among) / _NORMAL.inv_cdf(0.975)


def _likely_worse(line: Line, sign: int) -> float:
    """How likely the difference is on the wrong side, going by the interval as a normal one's."""
    error = (line.high - line.low) / (2 * 1.96)
    if error <= 0:
        return float(sign * line.difference < 0)
    return 0.5 * (1 + math.erf(-sign * line.difference / error / math.sqrt(2)))


def _gain(rule: GainRule, lines: Sequence[Line]) -> GateLine:
    taken = [one for one in lines if one.measure == rule.measure and not one.kind and one.pairs >= rule.least_pairs]
    if not taken:
        words = f"{_capital(rule.says)}: fewer than {rule.least_pairs} pairs were measured; nothing speaks for it."
        return GateLine("gain", "", 0.0, 0.0, 0.0, 0.0, rule.sure, False, words)
    (line,) = taken
    likely = _likely_worse(line, -1)
    words = (
        f"{_capital(rule.says)} ({line.measure}) went from {line.a:.3f} to {line.b:.3f} (95 % interval"
        f" {_thousandths(line.low)} to {_thousandths(line.high)} of the difference, {line.pairs} pairs); the chance"
        f" that it is better is {100 * likely:.0f} %, and {100 * rule.sure:.0f} % are asked for."
    )
    return GateLine("gain", "", line.b, line.a, line.low, line.high, rule.sure, likely >= rule.sure, words)


def _calibration(rule: CalibrationRule, found: KindsFindings) -> GateLine:
    limit = found.champion_error + rule.rises_by
    if found.asked < rule.least_pairs:
        words = f"{_capital(rule.says)}: fewer than {rule.least_pairs} questions; the rule does not hold by silence."
        return GateLine("calibration", "", found.error, found.champion_error, 0.0, 0.0, limit, False, words)
    words = (
        f"{_capital(rule.says)}: {_points(found.error)} over {found.asked} questions, {_points(found.champion_error)}"
        f" for the champion; {_points(rule.rises_by)} more are allowed."
    )
    held = found.error <= limit + 1e-9
    return GateLine("calibration", "", found.error, found.champion_error, 0.0, 0.0, limit, held, words)


def loss_line(name: str, rule: LossRule, losses: Losses) -> GateLine:
    """Holds where the loss on held-out rows is at most so many times the base's. What is no number is above all."""
    if not (losses.model > 0 and losses.base > 0):
        words = f"{_capital(rule.says)} was not measured; the rule does not hold by silence."
        return GateLine(name, "", 0.0, 0.0, 0.0, 0.0, rule.times, False, words)
    times = losses.model / losses.base
    words = (
        f"{_capital(rule.says)} is {times:.2f} times the base's ({_number(losses.model)} against"
        f" {_number(losses.base)}); {rule.times:g} times is allowed."
    )
    held = times <= rule.times + 1e-9
    return GateLine(name, "", losses.model, losses.base, 0.0, 0.0, rule.times, held, words)


def _judges(rule: JudgeRule, lines: Sequence[Line]) -> Iterator[GateLine]:
    for line in lines:
        if line.is_judged and not line.kind:
            yield _judged(rule, line) if line.decides else _uncalibrated(line)


def _judged(rule: JudgeRule, line: Line) -> GateLine:
    """`wins:` are shares of wins of B over A: half is a draw, and A's value is the other half."""
    if line.pairs < rule.least_pairs:
        words = f"{line.measure}: {line.pairs} pairs are too few; {rule.least_pairs} are asked for."
        return GateLine(line.measure, "", line.b, line.a, line.low, line.high, rule.falls_by, False, words)
    passed, words = _weighed("a calibrated judge's labels", line, 1, allowed=rule.falls_by, sure=rule.sure)
    return GateLine(line.measure, "", line.b, line.a, line.low, line.high, rule.falls_by, passed, words)


def _uncalibrated(line: Line) -> GateLine:
    words = f"{line.measure} is not calibrated well enough: what it says is listed, and decides nothing."
    return GateLine(line.measure, "", line.b, line.a, line.low, line.high, 0.0, True, words)


def _ratio(name: str, rule: RatioRule, found: Findings) -> Iterator[GateLine]:
    pair = _numbers(rule, found)
    if pair is None:
        words = f"{_capital(rule.says)} was not measured; the rule does not hold by silence."
        yield GateLine(name, "", 0.0, 0.0, 0.0, 0.0, rule.times, False, words)
        return
    ours, theirs, is_chance = pair
    times = ours / theirs
    words = (
        f"{_capital(rule.says)} is {times:.2f} times {'the base' if rule.measure != 'latency' else 'the champion'}'s"
        f" ({_number(ours)} against {_number(theirs)}); {rule.times:g} times is allowed."
    )
    yield GateLine(name, "", ours, theirs, 0.0, 0.0, rule.times, times <= rule.times + 1e-9 or is_chance, words)


def _numbers(rule: RatioRule, found: Findings) -> tuple[float, float, bool] | None:
    """The candidate's number, what it is held against, and whether chance alone may have made the difference; None
    where either was not measured."""
    ours, theirs, is_chance = found.losses.model, found.losses.base, False
    if rule.measure == "latency":
        ours, theirs = 0.0, 0.0
        for line in found.reports.get("as_served", ()):
            if line.measure == "latency" and not line.kind and line.pairs >= rule.least_pairs:
                ours, theirs, is_chance = line.b, line.a, line.low <= 0
    # What is no number passes no comparison, and is never taken for a small one.
    return (ours, theirs, is_chance) if ours > 0 and theirs > 0 else None


def _size(rule: SizeRule, size: int) -> GateLine:
    gib = size / 2**30
    words = f"The weights take {gib:.2f} GiB; {rule.most_gib:g} are allowed."
    return GateLine("size", "", gib, 0.0, 0.0, 0.0, rule.most_gib, 0 < gib <= rule.most_gib, words)


def _memorisation(rule: MemorisationRule, found: Memorisation | None) -> GateLine:
    if found is None or found.planted < rule.least_planted or not found.controls:
        planted = found.planted if found else 0
        words = f"{planted} secrets were planted; at least {rule.least_planted}, and controls, tell anything."
        return GateLine("memorisation", "", 0.0, 0.0, 0.0, 0.0, rule.margin_bits, False, words)
    limit = found.controls_limit + rule.margin_bits
    passed = found.exposure <= limit + 1e-9 and found.extracted <= rule.extracted
    words = (
        f"Planted secrets have a median exposure of {found.exposure:.1f} bits; secrets that it never saw reach"
        f" {found.controls_limit:.1f}. Greedy writing gave away {found.extracted} of {found.planted};"
        f" {rule.extracted} are allowed."
    )
    return GateLine("memorisation", "", found.exposure, found.controls_limit, 0.0, 0.0, limit, passed, words)


def _must_pass(rule: MustPassRule, lines: Sequence[Line]) -> GateLine:
    taken = [line for line in lines if line.measure in rule.measures and not line.kind]
    if not taken:
        words = "None of the must-pass rows could be measured; the rule does not hold by silence."
        return GateLine("must_pass", "", 0.0, 0.0, 0.0, 0.0, float(rule.lost), False, words)
    worst = max(taken, key=lambda line: line.lost)
    words = (
        f"Of {worst.pairs} must-pass rows {worst.lost} are lost that the champion passes ({worst.measure});"
        f" {rule.lost} are allowed."
    )
    lost = float(worst.lost)
    return GateLine("must_pass", "", lost, 0.0, 0.0, 0.0, float(rule.lost), worst.lost <= rule.lost, words)


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")


def _thousandths(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
