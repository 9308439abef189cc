"""Finds the secrets in a text and masks them. Needs nothing but the text: when all detection fails, this still runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial

from headrace_classifier.masking import Span, mask
from headrace_classifier.patterns import PatternSet, compile_pattern, scan
from headrace_classifier.private_keys import RULE, private_keys
from headrace_classifier.secret_rules import SECRET_RULES, SecretRule
from headrace_classifier.verdict import Masked

#: How much of the text around a match its rule sees, in bytes: an IBAN, written in groups.
_AROUND = 48


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
        """Returns the text with each secret replaced by its placeholder. Raises rather than return it unmasked."""
        data = text.encode()
        masked_before = [match.span() for match in self._placeholder.finditer(data)]
        return mask(data, (span for span in self._spans(data) if not _lies_in(span, masked_before)))

    def _spans(self, data: bytes) -> Iterator[Span]:
        yield from private_keys(data)
        for place in self._set.occurring(data):
            rule = self._rules[place]
            accept = partial(_accepts, rule, data)
            for start, end in scan(self._patterns[place], data, accept=accept, resume=rule.resume):
                yield Span(start, end, rule.name, rank=place + 1)  # a private key, rank 0, is the most specific


def _accepts(rule: SecretRule, data: bytes, start: int, end: int) -> bool:
    before = data[max(0, start - _AROUND) : start].decode(errors="ignore")
    behind = data[end : end + _AROUND].decode(errors="ignore")
    return rule.accept(data[start:end].decode(), before, behind)


def _lies_in(span: Span, places: Sequence[tuple[int, int]]) -> bool:
    """A placeholder names a secret in words that look like one: `[secret:aws-access-key]` assigns to `secret`."""
    place = bisect_right(places, (span.start, span.end)) - 1
    return any(start <= span.start and span.end <= end for start, end in places[max(0, place) : place + 2])
