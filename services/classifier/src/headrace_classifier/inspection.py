"""All that is looked for in a masked text: forms, names, addresses, code and the tenant's identifiers.

Everything is looked for in the text as it stands. Forms and identifiers are looked for through disguises too, and in
what is written in base64, two levels deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headrace_classifier.addresses import RULE as ADDRESS
from headrace_classifier.addresses import address_places
from headrace_classifier.code_rules import code_places
from headrace_classifier.detection import COUNTED, PersonalDataDetector
from headrace_classifier.dictionary import EMPTY, Dictionary
from headrace_classifier.dictionary import RULE as IDENTIFIER
from headrace_classifier.masking import Span, count, merge_by_rule
from headrace_classifier.names import LONG, NameReader, windows
from headrace_classifier.names import RULE as NAME
from headrace_classifier.normalising import Offsets, pieces, views
from headrace_classifier.ports import PersonModel
from headrace_classifier.verdict import Finding, FindingKind

#: How deep base64 within base64 is opened.
DEPTH = 2

#: The model is shown at most so many characters of a text, and of a long one so large a part. What is open beyond that
#: is unsure.
MODEL_CHARACTERS, MODEL_PART = 16_384, 0.25

_UNREAD = Finding("names-unread", FindingKind.UNSURE, 1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule fired in the text as it stands, in characters, end exclusive."""

    start: int
    end: int
    rule: str
    kind: FindingKind


class TextDetector:
    """Finds everything. Keeps nothing of a text; what a part raises goes up, since then nobody knows."""

    def __init__(self, personal: PersonalDataDetector, names: NameReader, persons: PersonModel | None) -> None:
        """Takes the parts. Without a model, names are found by their surroundings and by known given names alone."""
        self._personal = personal
        self._names = names
        self._persons = persons

    def detect(self, text: str, dictionary: Dictionary = EMPTY) -> tuple[Finding, ...]:
        """Returns how often each rule fires. See ports.Detector."""
        places, unsure = self.look(text, dictionary)
        found = [
            finding
            for kind in sorted({place.kind for place in places})
            for finding in count(merge_by_rule([Span(p.start, p.end, p.rule) for p in places if p.kind is kind]), kind)
        ]
        return (*(Finding(f.rule, f.kind, min(f.count, COUNTED)) for f in found), *unsure)

    def look(self, text: str, dictionary: Dictionary = EMPTY) -> tuple[list[Place], tuple[Finding, ...]]:
        """Returns every place, and what is unsure. Places of one rule may overlap."""
        places = list(self._formed(text, dictionary))
        places += [Place(start, end, rule, FindingKind.CUSTOMER_CODE) for start, end, rule in code_places(text)]
        places += [_personal(start, end, ADDRESS) for start, end in address_places(text)]
        for view in views(text):
            for place in self._formed(view.text, dictionary):
                start, end = view.origin(place.start, place.end)
                places.append(Place(start, end, place.rule, place.kind))
        places += self._packed(text, dictionary, DEPTH)
        named, unsure = self._named(text)
        taken = [(p.start, p.end) for p in places if p.rule == ADDRESS]
        places += [_personal(start, end, NAME) for start, end in named if not _within((start, end), taken)]
        return places, unsure

    def _formed(self, text: str, dictionary: Dictionary) -> Iterator[Place]:
        offsets = Offsets(text)
        for span in self._personal.spans(text.encode()):
            yield _personal(*offsets.in_characters(span.start, span.end), span.rule)
        for start, end in dictionary.places(text):
            yield Place(start, end, IDENTIFIER, FindingKind.IDENTIFIER)

    def _packed(self, text: str, dictionary: Dictionary, depth: int) -> Iterator[Place]:
        for piece in pieces(text):
            inside = [*self._formed(piece.text, dictionary)]
            for view in views(piece.text):
                inside += self._formed(view.text, dictionary)
            if depth > 1:
                inside += self._packed(piece.text, dictionary, depth - 1)
            for rule, kind in sorted({(place.rule, place.kind) for place in inside}):
                yield Place(piece.start, piece.end, rule, kind)

    def _named(self, text: str) -> tuple[list[tuple[int, int]], tuple[Finding, ...]]:
        read = self._names.read(text)
        names = list(read.names)
        if self._persons is None or not read.open or len(text) < LONG:
            return names, ()
        shown, left = _affordable(windows(text, read.open), max(MODEL_CHARACTERS, int(MODEL_PART * len(text))))
        sentences = [text[start:end] for start, end in shown]
        for (start, _), found in zip(shown, self._persons.persons(sentences), strict=True):
            said = [(start + a, start + b) for a, b in found]
            names += [place for place in read.open if any(_overlap(place, one) for one in said)]
        return names, ((_UNREAD,) if left and not names else ())


def _affordable(places: Iterable[tuple[int, int]], characters: int) -> tuple[list[tuple[int, int]], bool]:
    """The first places that have so many characters together, and whether any were left out."""
    taken: list[tuple[int, int]] = []
    for start, end in places:
        characters -= end - start
        if characters < 0:
            return taken, True
        taken.append((start, end))
    return taken, False


def _personal(start: int, end: int, rule: str) -> Place:
    return Place(start, end, rule, FindingKind.PERSONAL_DATA)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _within(place: tuple[int, int], others: Iterable[tuple[int, int]]) -> bool:
    return any(start <= place[0] and place[1] <= end for start, end in others)
