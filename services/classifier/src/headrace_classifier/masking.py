"""Replacing spans of a text by placeholders. Pure; works on UTF-8 bytes, where the patterns match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace_classifier.verdict import Finding, FindingKind, Masked

#: No secret rule may match a placeholder, so that masking a masked text changes nothing.
PLACEHOLDER = "[secret:{rule}]"


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text's UTF-8 bytes, end exclusive, and the rule that fired there.

    rank: the rule's place in its table; where spans overlap, the lowest names the placeholder.
    """

    start: int
    end: int
    rule: str
    rank: int = 0


def merge(spans: Iterable[Span]) -> list[Span]:
    """Joins spans that overlap into one that covers them all, in reading order. Spans that only touch stay apart."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end, s.rank)):
        if merged and span.start < merged[-1].end:
            merged[-1] = _join(merged[-1], span)
        else:
            merged.append(span)
    return merged


def merge_by_rule(spans: Sequence[Span]) -> list[Span]:
    """Joins the overlapping spans of one rule name: two ways to write a kind may fire on one place."""
    names = sorted({span.rule for span in spans})
    return [merged for name in names for merged in merge(span for span in spans if span.rule == name)]


def _join(first: Span, second: Span) -> Span:
    named = min(first, second, key=lambda s: s.rank)
    return Span(first.start, max(first.end, second.end), named.rule, named.rank)


def mask(data: bytes, spans: Iterable[Span]) -> Masked:
    """Replaces every span of `data` (UTF-8) by its placeholder.

    Raises UnicodeDecodeError when a span cuts a character in two: the caller must not pass such a text on.
    """
    merged = merge(spans)
    pieces: list[bytes] = []
    end = 0
    for span in merged:
        pieces += (data[end : span.start], PLACEHOLDER.format(rule=span.rule).encode())
        end = span.end
    pieces.append(data[end:])
    return Masked(b"".join(pieces).decode(), count(merged, FindingKind.SECRET))


def count(spans: Iterable[Span], kind: FindingKind) -> tuple[Finding, ...]:
    """Counts spans by rule, in the rules' alphabetical order."""
    return tuple(Finding(rule, kind, n) for rule, n in sorted(Counter(span.rule for span in spans).items()))
