"""Finds the secrets in a text and masks them. Needs nothing but the text: when all detection fails, this still runs."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from headrace_classifier.masking import Span, mask, merge
from headrace_classifier.normalising import Offsets, View, pieces, views
from headrace_classifier.patterns import PatternSet, compile_pattern, scan
from headrace_classifier.private_keys import RULE, private_keys
from headrace_classifier.secret_rules import SECRET_RULES, SecretRule
from headrace_classifier.verdict import Finding, FindingKind, Masked

#: How much of the text around a match its rule sees, in bytes: an IBAN, written in groups.
_AROUND = 48


#: Masking goes on until nothing more is found; more rounds than two have not been seen.
ROUNDS = 4
#: How deep base64 within base64 is opened.
DEPTH = 2


class SecretMasker:
    """Masks every place where a rule fires. Linear in the text's length; keeps nothing of a text."""

    def __init__(self, rules: Sequence[SecretRule] = SECRET_RULES) -> None:
        """Compiles the rules."""
        self._rules = tuple(rules)
        self._patterns = [compile_pattern(rule.pattern) for rule in self._rules]
        self._set = PatternSet([rule.pattern for rule in self._rules])
        names = "|".join(sorted({RULE, *(rule.name for rule in self._rules)}))
        self._placeholder = compile_pattern(r"\[secret:(?:" + names + r")\]")

    def mask(self, text: str) -> Masked:
        """Returns the text with each secret replaced by its placeholder. Raises rather than return it unmasked.

        What is masked can bring two halves of another secret together, so it is looked at again until nothing is found.
        """
        found: list[Finding] = []
        for _ in range(ROUNDS):
            masked = self._mask_once(text)
            found += masked.findings
            text = masked.text
            if not masked.findings:
                break
        return Masked(text, _added(found))

    def places(self, text: str) -> list[Span]:
        """Returns what would be masked, in the text's UTF-8 bytes."""
        data = text.encode()
        masked_before = [match.span() for match in self._placeholder.finditer(data)]
        spans = [*self._spans(data), *self._disguised(text)]
        return merge(span for span in spans if not _lies_in(span, masked_before))

    def _mask_once(self, text: str) -> Masked:
        return mask(text.encode(), self.places(text))

    def _disguised(self, text: str) -> Iterator[Span]:
        """What shows when the text is read through its disguises, at its place in the text as it stands."""
        offsets = Offsets(text)
        for view in views(text):
            yield from self._seen(view, offsets)
        for start, end, rule in self._packed(text, DEPTH):
            yield Span(*offsets.in_bytes(start, end), rule, rank=len(self._rules) + 1)

    def _seen(self, view: View, offsets: Offsets) -> Iterator[Span]:
        data = view.text.encode()
        masked_before = [match.span() for match in self._placeholder.finditer(data)]
        read = Offsets(view.text)
        for span in self._spans(data):
            if not _lies_in(span, masked_before):
                origin = view.origin(*read.in_characters(span.start, span.end))
                yield Span(*offsets.in_bytes(*origin), span.rule, span.rank)

    def _packed(self, text: str, depth: int) -> Iterator[tuple[int, int, str]]:
        for piece in pieces(text):
            inside = sorted(self._spans(piece.text.encode()), key=lambda span: span.rank)
            deeper = self._packed(piece.text, depth - 1) if depth > 1 else iter(())
            rule = next((span.rule for span in inside), None) or next((rule for _, _, rule in deeper), None)
            if rule is not None:
                yield piece.start, piece.end, rule

    def _spans(self, data: bytes) -> Iterator[Span]:
        yield from private_keys(data)
        for place in self._set.occurring(data):
            rule = self._rules[place]
            accept = partial(_accepts, rule, data)
            for start, end in scan(self._patterns[place], data, accept=accept, resume=rule.resume):
                yield Span(start, end, rule.name, rank=place + 1)  # a private key, rank 0, is the most specific


def _added(found: Sequence[Finding]) -> tuple[Finding, ...]:
    counts = Counter[str]()
    for finding in found:
        counts[finding.rule] += finding.count
    return tuple(Finding(rule, FindingKind.SECRET, count) for rule, count in sorted(counts.items()))


def _accepts(rule: SecretRule, data: bytes, start: int, end: int) -> bool:
    before = data[max(0, start - _AROUND) : start].decode(errors="ignore")
    behind = data[end : end + _AROUND].decode(errors="ignore")
    return rule.accept(data[start:end].decode(), before, behind)


def _lies_in(span: Span, places: Sequence[tuple[int, int]]) -> bool:
    """A placeholder names a secret in words that look like one: `[secret:aws-access-key]` assigns to `secret`."""
    place = bisect_right(places, (span.start, span.end)) - 1
    return any(start <= span.start and span.end <= end for start, end in places[max(0, place) : place + 2])
