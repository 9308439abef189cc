"""Finding personal data in a masked text: patterns over all of it, recognisers on the few places that they name.

What has a form is here; `inspection` adds names, addresses, code and dictionaries, and looks through disguises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice

from headrace_classifier.masking import Span, count, merge_by_rule
from headrace_classifier.own_recognisers import OWN_RECOGNISERS
from headrace_classifier.patterns import PatternSet, after, compile_pattern, scan
from headrace_classifier.personal_rules import PERSONAL_RULES, PersonalRule
from headrace_classifier.ports import Recogniser
from headrace_classifier.verdict import Finding, FindingKind

#: More places than this are not counted: the tier is decided by the first.
COUNTED = 100

#: How much of the text around a candidate its rule sees, in bytes.
_AROUND = 24

#: Typeset text has other hyphens and blanks than the recognisers know.
_PLAIN = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-") | {"\u00a0": " "})


class PersonalDataDetector:
    """The cascade. Keeps nothing of a text; what a recogniser raises goes up, since then nobody knows."""

    def __init__(self, recognisers: Mapping[str, Recogniser], rules: Sequence[PersonalRule] = PERSONAL_RULES) -> None:
        """Compiles the rules. Raises KeyError when a rule asks for a recogniser that is not there."""
        self._rules = tuple(rules)
        known = {**OWN_RECOGNISERS, **recognisers}
        self._recognisers = [known[rule.recogniser] for rule in self._rules]
        self._patterns = [compile_pattern(rule.pattern) for rule in self._rules]
        self._set = PatternSet([rule.pattern for rule in self._rules])

    def detect(self, text: str) -> tuple[Finding, ...]:
        """Returns how often each rule fires; of each pattern at most COUNTED places."""
        return count(self.spans(text.encode()), FindingKind.PERSONAL_DATA)

    def spans(self, data: bytes) -> list[Span]:
        """Returns where each rule fires in `data` (UTF-8); those of one rule never overlap."""
        return merge_by_rule([span for place in self._set.occurring(data) for span in self._spans(place, data)])

    def _spans(self, place: int, data: bytes) -> list[Span]:
        rule, recogniser = self._rules[place], self._recognisers[place]
        accept = partial(_accepts, rule, recogniser, data)
        found = scan(self._patterns[place], data, accept=accept, resume=after)
        return [Span(start, end, rule.name) for start, end in islice(found, COUNTED)]


def _accepts(rule: PersonalRule, recogniser: Recogniser, data: bytes, start: int, end: int) -> bool:
    start = max(start, end - rule.longest)
    candidate = data[start:end].decode(errors="ignore").translate(_PLAIN)
    before = data[max(0, start - _AROUND) : start].decode(errors="ignore")
    behind = data[end : end + _AROUND].decode(errors="ignore")
    if not rule.means(candidate, before, behind):
        return False
    return any(hit.score >= rule.score for hit in recogniser.find(candidate))
