"""Names of people: what is certain by its surroundings or a known given name, and what a language model must judge.

A cascade, since a model costs a thousand times what a pattern does. Runs of words with a capital are cut at words that
are part of no name. What is left is a name when a title, a greeting, a label or a signature says so, or when it begins
with a given name that we know. Runs that could be names and are not certain are open: the model is shown their
sentences, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace_classifier.name_words import (
    ALSO_SURNAMES,
    GREETINGS,
    HONORIFICS,
    NOT_NAMES,
    PARTICLES,
    GivenNames,
    folded,
)

RULE = "person-name"

#: How much of the text before and behind a run is looked at, in characters.
_BEFORE, _BEHIND = 64, 32

#: A name has at most so many words, titles and particles not counted.
LONGEST = 5

#: The sentence around an open run that the model sees: at most so many characters on each side.
AROUND = 90

_CAPITAL = r"A-ZÀ-ÖØ-ÞĀ-ŽƁ-ɏΑ-ΩЀ-Яİ"
_WORD = rf"[{_CAPITAL}][^\W\d_]*(?:['’.-][^\W\d_]+)*"
_RUN = re.compile(
    rf"(?<![\w@/\\$#%&*=<>-])(?<!\w[.])(?:{_WORD}\.?)(?:[ ]{{1,2}}(?:(?:{PARTICLES})["
    rf" ]){{0,3}}(?:{_WORD}\.?))*(?![\w(@\\/])"
)
_PART = re.compile(rf"{_WORD}\.?")

#: What says that a name follows, to the end of what stands before it. After these two words or one are a name.
_SAYS_NAME = re.compile(
    r"(?i)(?:\b(?:my|his|her|the|their|customer'?s?|full|real|birth|maiden|last|first|given|family) names? (?:is|was|:)"
    r"|\bi am|\bi['’]m|\bit['’]?s me,?|\bthis is|\bspeak(?:ing)? (?:with|to)|\b(?:called|named)|\bon behalf of"
    r"|\bname'?s|\bspoke (?:with|to)"
    r"|\bich bin|\bich heiße|\bmein name ist|\bje m['’]appelle|\bje suis|\bme llamo|\bsoy|\bmi chiamo|\bsono"
    r"|\bik ben|\bmijn naam is"
    r"|\bnazywam się|\bjag heter|\bmeu nome é|\bme chamo|\bsigned(?: by)?[:,]?|\bgruß[,]?|\bgrüßen[,]?)\s{1,3}\Z"
)
_SAYS_SIGNATURE = re.compile(
    r"(?i)(?:regards|wishes|thanks|thank you|cheers|sincerely|yours|best|greetings|grüßen|grüße|gruß|cordialement"
    r"|salutations|saludos"
    r"|atentamente|saluti|groet|groeten|pozdrawiam|poważaniem|hälsningar|mvh|atenciosamente|abraços|obrigad[oa]"
    r"|(?<!-)--)[,!.]?\s{0,3}(?:\n|\\n)\s{0,8}\Z"
)
#: A key whose value is a person: "customer_name": "...", patient=..., Contact: ...
_PERSON_KEY = re.compile(
    r"(?i)(?<![a-z])(?:(?:[a-z]{1,20}[_ .-])?(?:full|first|last|given|family|sur|middle|maiden|customer|client"
    r"|patient|contact|employee|person"
    r"|holder|recipient|passenger|guest|member|owner|sender|user|display|billing|shipping|card_?holder"
    r"|account_?holder|legal|beneficiary|insured|tenant)"
    r"[_ .-]?(?:full[_ .-]?)?name|surname|firstname|lastname|forename|vorname|nachname|prénom|nom|nombre|apellidos?"
    r"|cognome|achternaam|voornaam|imię|nazwisko|namn|sobrenome"
    r"|customer|client|patient|contact(?: person)?|employee|recipient|passenger|guest|assignee|assigned[_ ]to"
    r"|reporter|reported[_ ]by|author|created[_ ]by|approved[_ ]by|signed[_ ]by"
    r"|manager|cardholder|account ?holder|beneficiary|caller|applicant|attendee|requester|requested[_ ]by|owner"
    r"|kunde|ansprechpartner|kontakt|cliente|klant|klient|kund|from|to|cc|attn|von|de|à)"
    r"[\"']?\s{0,2}(?:[:=]|=>|->)\s{0,2}[\"']?\Z"
)
#: A key that holds names of things as well: only a given name that we know, or the model, makes it a person.
_ROLE_BEFORE = re.compile(
    r"(?i)\b(?:customer|client|patient|colleague|employee|manager|engineer|user|doctor|nurse|lawyer|agent|officer"
    r"|teacher|professor|driver|tenant|guest|passenger|accountant"
    r"|wife|husband|mother|father|sister|brother|daughter|son|friend|boss|neighbou?r|representative|assistant"
    r"|director|ceo|cto|cfo|founder|author|applicant|candidate|member)[,:]?\s{1,2}\Z"
)
#: What stands before people more often than before things; "with", "for" and "in" do not.
_PEOPLE_BEFORE = re.compile(
    r"(?i)(?:\b(?:to|from|by|about|between|met|meet|ask(?:ed)?|tell|told|thank|remind|invite|inform|notify|between"
    r"|contact(?:ed)?|call(?:ed)?|email(?:ed)?|phoned|greet|visit(?:ed)?|and|whom?|names?:?)\s)\Z"
)
_MAIL_BEHIND = re.compile(r"[\"']?\s{0,2}[<(\[]\s?[\w.+-]{1,64}@")
_PERSON_BEHIND = re.compile(
    r"(?i),? (?:said|says|wrote|writes|asked|asks|called|phoned|replied|told|complained|reported|mentioned"
    r"|confirmed|requested|works|lives|lived|was born|born|signed|emailed|paid|ordered"
    r"|tried|wants|wanted|needs|forgot|moved|died|left|joined|is (?:a|the|my|our|his|her|very|still|not)|aged"
    r"|\(\d\d\)|and (?:his|her)|has (?:asked|been|not|reported|called|moved))\b|['’]s? (?:wife|husband|account"
    r"|phone|email|address|contract|order|son|daughter|salary|diagnosis)"
)
_THING_BEHIND = re.compile(r"[ -]{0,1}(?:v?\d+(?:\.\d+)+|[({\[]\)|::|=|\()|\.[a-z]{2,4}\b|-\d")
_REVERSED = re.compile(rf"\A,[ ]({_WORD})")

_LOWER_NAME = re.compile(
    r"(?i)\b(?:my name is|my name's|me llamo|mi chiamo|je m['’]appelle|ich heiße|nazywam się|jag heter"
    r"|mijn naam is)[ ]{1,2}([^\W\d_]{2,20}(?:[ '-][^\W\d_]{2,20}){1,2})"
)
#: A login made of a name: zofia.kowalska, after a key that says whose it is.
_LOGIN = re.compile(
    r"(?i)\b(?:user|username|login|uid|account|owner|actor|principal"
    r"|by)[\"']?\s?[:=]\s?[\"']?([a-z]{2,20})[._-]([a-z]{2,24})\b(?!@)"
)


@dataclass(frozen=True, slots=True)
class Read:
    """What the rules say of a text: names that are certain, and runs that only a model can judge. In characters."""

    names: tuple[tuple[int, int], ...]
    open: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    """Words in a row that could be a name, and whether a title or a greeting stands directly before them."""

    start: int
    end: int
    words: tuple[str, ...]
    addressed: bool


class NameReader:
    """Reads names by rules. Linear in the text."""

    def __init__(self, given: GivenNames) -> None:
        """Takes the given names that are known."""
        self._given = given

    def read(self, text: str) -> Read:
        """Returns the names and the open runs, in reading order."""
        names, unsure = list(self._said(text)), []
        for run in _RUN.finditer(text):
            for segment in _segments(run, self._given):
                place = segment.start, segment.end
                if self._is_name(segment, text):
                    names.append(self._whole(segment, text))
                elif _is_open(segment, text) and self._is_worth_asking(segment, text):
                    unsure.append((*place, segment.words))
        return Read(tuple(sorted(names)), _without_words(unsure, text))

    def _is_name(self, segment: _Segment, text: str) -> bool:
        before = text[max(0, segment.start - _BEFORE) : segment.start]
        behind = text[segment.end : segment.end + _BEHIND]
        if _THING_BEHIND.match(behind) or all(len(word) < 3 for word in segment.words):
            return False
        return (
            segment.addressed
            or self._by_given_name(segment, before, behind)
            or _by_surroundings(segment, before, behind)
        )

    def _is_worth_asking(self, segment: _Segment, text: str) -> bool:
        """The model takes milliseconds, and takes many a product for a person: something must point to one."""
        if any(self._given.knows(word) for word in segment.words):
            return True
        before = text[max(0, segment.start - _BEFORE) : segment.start]
        behind = text[segment.end : segment.end + _BEHIND]
        return any((_PEOPLE_BEFORE.search(before), _ROLE_BEFORE.search(before), _PERSON_BEHIND.match(behind)))

    def _by_given_name(self, segment: _Segment, before: str, behind: str) -> bool:
        first = segment.words[0]
        if len(segment.words) == 1:
            reverse = _REVERSED.match(behind)
            return bool(reverse and self._given.is_clear(reverse.group(1)) and not self._given.knows(first))
        if any(_is_acronym(word) for word in segment.words) and not all(word.isupper() for word in segment.words):
            return False
        if self._given.is_clear(first):
            return True
        likely = _PERSON_BEHIND.match(behind) or _ROLE_BEFORE.search(before)
        return bool(likely) and any(self._given.knows(word) for word in segment.words)

    def _whole(self, segment: _Segment, text: str) -> tuple[int, int]:
        """With the given name behind the comma, where the family name comes first."""
        reverse = _REVERSED.match(text[segment.end : segment.end + _BEHIND])
        if reverse and len(segment.words) == 1 and self._given.is_clear(reverse.group(1)):
            return segment.start, segment.end + reverse.end()
        return segment.start, segment.end

    def _said(self, text: str) -> Iterator[tuple[int, int]]:
        for match in _LOWER_NAME.finditer(text):
            words = match.group(1).split()
            if folded(words[0]) not in NOT_NAMES:
                yield match.span(1)
        for match in _LOGIN.finditer(text):
            if self._given.is_clear(match.group(1)):
                yield match.start(1), match.end(2)


def _segments(run: re.Match[str], given: GivenNames) -> Iterator[_Segment]:
    """Cuts a run at words that are part of no name; what is longer than a name is none."""
    words: list[re.Match[str]] = []
    addressed = False
    for part in _PART.finditer(run.string, run.start(), run.end()):
        bare = part.group().rstrip(".").lower()
        initial = len(bare) == 1 and part.group().endswith(".") and bool(words)
        title = not initial and bare in HONORIFICS and (len(bare) > 1 or part.group().endswith("."))
        surname = bare in ALSO_SURNAMES and len(words) in {1, 2} and given.is_clear(words[0].group())
        if (
            initial
            or surname
            or not (
                title
                or bare in GREETINGS
                or bare in NOT_NAMES
                or bare.removesuffix("'s").removesuffix("’s") in NOT_NAMES
            )
        ):
            words.append(part)
            continue
        yield from _segment(words, addressed=addressed)
        addressed = title or (bare in GREETINGS and bare != "good")
        words = []
    yield from _segment(words, addressed=addressed)


def _segment(parts: Sequence[re.Match[str]], *, addressed: bool) -> Iterator[_Segment]:
    if not 1 <= len(parts) <= LONGEST:
        return
    last = parts[-1].group()
    end = parts[-1].end()
    if last.endswith(".") and len(last) > 2:
        end -= 1
    words = tuple(part.group().rstrip(".") for part in parts)
    if words[-1].endswith(("'s", "’s")):
        end -= 2
    yield _Segment(parts[0].start(), end, words, addressed)


def _is_acronym(word: str) -> bool:
    """HTTP is; the J. of a middle name is not; neither is a name in CamelCase such as McDonald."""
    return len(word) > 1 and word.isupper()


def _by_surroundings(segment: _Segment, before: str, behind: str) -> bool:
    if any(_is_acronym(word) for word in segment.words) and not all(
        word.isupper() and len(word) > 2 for word in segment.words
    ):
        return False
    if _SAYS_NAME.search(before) or _SAYS_SIGNATURE.search(before) or _MAIL_BEHIND.match(behind):
        return _is_like_name(segment)
    alone_in_capitals = len(segment.words) == 1 and segment.words[0].isupper()
    return not alone_in_capitals and _PERSON_KEY.search(before) is not None and _is_like_name(segment)


def _is_like_name(segment: _Segment) -> bool:
    """Letters as a name has them: `getUserName` and `SyncJob` have a capital inside."""
    return not any(
        re.search(r"[a-zß-ÿ][A-Z]", word) and not re.match(r"(?:Mc|Mac|De|Di|La|Le|Van|O['’])", word)
        for word in segment.words
    )


def _is_open(segment: _Segment, text: str) -> bool:
    """Two to four words that could be a name, in a sentence; headings and constants are none."""
    if not 2 <= len(segment.words) <= 4 or not _is_like_name(segment):
        return False
    if any(_is_acronym(word) or len(word) < 2 for word in segment.words[:1] + segment.words[-1:]):
        return False
    return not _THING_BEHIND.match(text[segment.end : segment.end + _BEHIND])


_SMALL = re.compile(r"(?<![^\W\d_])[a-zß-ÿ]{3,}")


def _without_words(runs: Sequence[tuple[int, int, tuple[str, ...]]], text: str) -> tuple[tuple[int, int], ...]:
    """Leaves out what the text writes small elsewhere, and what stands in no sentence: a heading says nothing."""
    if not runs:
        return ()
    small = set(_SMALL.findall(text))
    kept = [(start, end) for start, end, words in runs if not any(word.lower() in small for word in words)]
    return tuple(place for place in kept if len(_SMALL.findall(text, *_sentence(text, *place))) >= 2)


def windows(text: str, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the sentences around the places, joined where they overlap."""
    found: list[tuple[int, int]] = []
    for start, end in places:
        opening, closing = _sentence(text, start, end)
        if found and opening <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], closing)
        else:
            found.append((opening, closing))
    return found


_STOP = re.compile(r"[.!?][ \n]|\n|\\n")


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    low, high = max(0, start - AROUND), min(len(text), end + AROUND)
    opening = max((match.end() for match in _STOP.finditer(text, low, start)), default=low)
    closing = _STOP.search(text, end, high)
    return opening, closing.start() + 1 if closing else high
