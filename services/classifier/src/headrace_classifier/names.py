"""Names of people: what is certain by its surroundings or a known given name, and what a language model must judge.

A cascade, since a model costs a thousand times what a pattern does. Runs of words with a capital are cut at words that
are part of no name. What is left is a name when a title, a greeting, a label or a signature says so, or when it begins
with a given name that we know. Runs that could be names and are not certain are open: the model is shown their
sentences, and nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace_classifier.name_shapes import NameShapes
from headrace_classifier.name_words import (
    ALSO_SURNAMES,
    GREETINGS,
    HEADS,
    HONORIFICS,
    NOT_NAMES,
    PARTICLES,
    THINGS,
    GivenNames,
    folded,
)

RULE = "person-name"

#: How much of the text before and behind a run is looked at, in characters.
_BEFORE, _BEHIND = 48, 32

#: A name has at most so many words, titles and particles not counted.
LONGEST = 5

#: The sentence around an open run that the model sees: at most so many characters on each side.
AROUND = 90

#: What each piece of evidence weighs: the words' mean and least log odds, a known given name, an initial; then, around
#: them, somebody who is spoken of, what a person does, a place, a thing, a thing behind, a word that is no name behind.
#: From a logistic regression on the tuning set; what depends on its templates is brought towards zero by hand.
_WEIGHTS = (1.0, 0.1, 2.2, 4.0, 0.8, 1.2, -3.0, -4.0, -3.5, -3.0)
_CONTEXT_AT_MOST = 2.0

#: In a text of so many characters the model is asked about what is open; in a shorter one, where its milliseconds would
#: be most of the cost, the rules decide alone.
LONG = 1_000

#: Log odds from which it is a name in a short text, from which it is one in a long text, and from which a long one's is
#: open. In a long text a mistake is likelier, since there are more words to make one with.
NAME, SURE, OPEN = -1.0, 1.5, -1.5

#: What words must weigh on average where a key, a signature or a phrase says that a name is likely.
LIKE, ALONE = 0.0, 2.0

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
#: Nothing but a name follows.
_SAYS_MY_NAME = re.compile(
    r"(?i)(?:\b(?:my|his|her|their|customer'?s?|client'?s?|full|real|birth|maiden|last|first"
    r"|family) names? (?:is|was|:)"
    r"|\bich heiße|\bmein name ist|\bje m['’]appelle|\bme llamo|\bmi chiamo|\bmijn naam is|\bnazywam się|\bjag heter"
    r"|\bmeu nome é|\bme chamo|\bon behalf of)\s{1,3}\Z"
)
#: A key of a person's name alone.
_NAME_KEY = re.compile(
    r"(?i)(?<![a-z])(?:(?:[a-z]{1,20}[_ .-])?(?:full|first|last|given|family|sur|middle|maiden|customer|client|patient"
    r"|employee|person|holder|passenger|guest|card_?holder|account_?holder|beneficiary|insured)[_ .-]?name"
    r"|surname|firstname|lastname|forename|vorname|nachname|prénom|apellidos?|cognome|achternaam|voornaam|imię|nazwisko"
    r"|sobrenome|patient|cardholder|account ?holder|passenger|applicant)[\"']?\s{0,2}(?:[:=]|=>|->)\s{0,2}[\"']?\Z"
)
#: After a closing word on a line of its own: "See you", "Talk soon", "Bis bald".
_SIGNS = re.compile(
    r"(?i)\n(?:see you|talk soon|take care|all the best|best|thx|ta|many thanks|thank you so much|yours|love"
    r"|xoxo|bis bald"
    r"|bis dann|lg|vg|mfg|à bientôt|bises|hasta luego|un saludo|a presto|tot ziens|do widzenia|vi ses|até logo|hilsen"
    r"|med vennlig hilsen|terveisin|üdvözlettel|s pozdravem|cu stimă|saygılarımla)[,.!]?\s?\n\s{0,4}\Z"
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
#: Where a place stands, and no person.
_PLACE_BEFORE = re.compile(
    r"(?i)(?:\b(?:in|at|near|around|towards?|via|across|outside|inside|into|(?:city|town|region|state|port) of"
    r"|(?:trip|flight|flights|train|road|way|fly|flew|drive|travel(?:l?ed)?|move|moved|ship|shipped|ships) (?:to|from)"
    r"|live|office|en|nach|bei|w|do|till)\s"
    r"|\b(?:region|city|country|town|location|place|state|district|airport|station|capital|origin|destination|site"
    r"|stadt|ort|ville|ciudad|città|plaats|miasto|stad|cidade)[\"']?\s?(?:[:=]|=>)\s?[\"']?)\Z"
)
#: What stands before things: articles, what one does with products, keys of catalogues.
_THING_BEFORE = re.compile(
    r"(?i)(?:\b(?:install(?:ed|ing)?|deploy(?:ed|ing)?|configur(?:e|ed|ing)|upgrad(?:e|ed|ing)|updat(?:e|ed|ing)"
    r"|us(?:e|es|ed|ing)|buy|bought|sell|sold|runs?|running|start(?:s|ed|ing)?|stop(?:s|ped|ping)?|restart(?:ed|ing)?"
    r"|build|built|(?:version|release|edition) of|product|service|app|module|package|library|plugin|model|brand"
    r"|company|vendor|software|tool|device|project|feature|job|node|cluster|server|database|table|class|method"
    r"|driver|a|an|the|my|our|your|this|that|new|old|does|open|launch|enable|disable|try|tried|switch(?:ed)? to"
    r"|migrat(?:e|ed|ing) (?:to|from)|bought (?:it )?from|license|licence|warranty|manual|spare parts)\s)\Z"
)
#: A key of a catalogue: whatever it holds is no person.
_THING_KEY = re.compile(
    r"(?i)\b(?:region|city|country|town|location|place|state|district|airport|station|capital|origin|destination"
    r"|product|title|service|app|vendor|company|brand|model|category|team|carrier|project|module|job|component"
    r"|package|plugin|device|host|program|item|label|tag|topic|theme|font|feature|publisher|organi[sz]ation|employer"
    r"|store|shop|department|type|manufacturer|supplier|maker|repository|repo|image|chart|env"
    r"|environment)(?:[_ ]?name)?"
    r"[\"']?\s?(?:[:=]|=>)\s?[\"']?\Z"
)
_THING_FOLLOWS = re.compile(
    r"(?i)[ ](?:v?\d+[.\d]*\b|(?:servers?|versions?|release|edition|crash(?:es|ed)?|updates?|plugins?|clusters?|apps?"
    r"|services?|support|licen[cs]es?|arrived|regions?|offices?|airport|station|tools?|models?|series|modules?|packages?"
    r"|librar(?:y|ies)|frameworks?|api|sdk|dashboards?|ships|shipping|fits|not found|needs|requires|runs|fails"
    r"|is (?:out|down|up|available|great|cheaper|installed|deployed|slow|broken)|was lovely|or|vs|versus|costs|store"
    r"|shop|website|account manager|database|driver|template|theme|font|image|chart|repo|repository|device|product)\b)"
)
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
    """Words in a row that could be a name.

    addressed: a title or a greeting stands directly before them. cut: a word that is no name goes on behind them.
    """

    start: int
    end: int
    words: tuple[str, ...]
    addressed: bool
    cut: bool


class NameReader:
    """Reads names by rules. Linear in the text."""

    def __init__(self, given: GivenNames, shapes: NameShapes) -> None:
        """Takes the given names that are known, and what weighs those that are not."""
        self._given = given
        self._shapes = shapes

    def read(self, text: str) -> Read:
        """Returns the names and the open runs, in reading order."""
        names, unsure = list(self._said(text)), []
        least = NAME if len(text) < LONG else SURE
        for run in _RUN.finditer(text):
            for segment in _segments(run, self._given):
                place = segment.start, segment.end
                likely = self._likelihood(segment, text)
                if self._is_name(segment, text, likely > least):
                    names.append(self._whole(segment, text))
                elif OPEN < likely <= least and _is_open(segment, text):
                    unsure.append((*place, segment.words))
        return Read(tuple(sorted(names)), _without_words(unsure, text))

    def _is_name(self, segment: _Segment, text: str, likely: bool) -> bool:
        before = text[max(0, segment.start - _BEFORE) : segment.start]
        behind = text[segment.end : segment.end + _BEHIND]
        if _THING_BEHIND.match(behind) or all(len(word) < 3 for word in segment.words):
            return False
        return (
            segment.addressed
            or (likely and _has_form(segment))
            or self._is_reversed(segment, behind)
            or self._by_surroundings(segment, before, behind)
        )

    def _likelihood(self, segment: _Segment, text: str) -> float:
        """Log odds that it is a person's name; minus infinity for one word, and for what is known to be a thing."""
        if (
            not 2 <= len(segment.words) <= LONGEST
            or len(segment.words[-1]) < 2
            or " ".join(map(folded, segment.words[:2])) in THINGS
        ):
            return -math.inf
        words = self._of_words(segment)
        # What stands around it is looked at only where it could make it a name.
        alone = _sum(words)
        before = text[max(0, segment.start - _BEFORE) : segment.start]
        if alone + _CONTEXT_AT_MOST <= OPEN or _THING_KEY.search(before):
            return -math.inf
        return alone + _sum((*(0.0 for _ in words), *_of_context(segment, text)))

    def _of_words(self, segment: _Segment) -> tuple[float, ...]:
        """What the words say, in the order of _WEIGHTS: two log odds, then 0 or 1."""
        weights = [max(-4.0, min(4.0, self._shapes.weigh(word))) for word in segment.words if len(word) > 1]
        return (
            sum(weights) / len(weights),
            min(weights),
            self._given.is_clear(segment.words[0]),
            len(weights) < len(segment.words),
        )

    def _is_reversed(self, segment: _Segment, behind: str) -> bool:
        """A family name alone before a comma and a given name."""
        reverse = _REVERSED.match(behind) if len(segment.words) == 1 else None
        return bool(reverse and self._given.is_clear(reverse.group(1)) and not self._given.knows(segment.words[0]))

    def _by_surroundings(self, segment: _Segment, before: str, behind: str) -> bool:
        if not _has_form(segment) or not _is_like_name(segment) or " ".join(map(folded, segment.words[:2])) in THINGS:
            return False
        alone_in_capitals = len(segment.words) == 1 and segment.words[0].isupper()
        if _SAYS_MY_NAME.search(before) or _MAIL_BEHIND.match(behind):
            return True
        if _NAME_KEY.search(before):
            return not alone_in_capitals
        said = _SAYS_NAME.search(before) or _SAYS_SIGNATURE.search(before) or _SIGNS.search(before)
        if not said and (alone_in_capitals or not _PERSON_KEY.search(before)):
            return False
        return not segment.cut and self._looks_like_name(segment)

    def _looks_like_name(self, segment: _Segment) -> bool:
        """By its words alone, where something has said that a name is likely."""
        weights = [self._shapes.weigh(word) for word in segment.words if len(word) > 1]
        # One word alone is as often a town or a team.
        needed = LIKE if len(segment.words) > 1 else ALONE
        return self._given.knows(segment.words[0]) or sum(weights) / max(1, len(weights)) > needed

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
                or bare in HEADS
                or bare.removesuffix("'s").removesuffix("’s") in NOT_NAMES
            )
        ):
            words.append(part)
            continue
        yield from _segment(words, addressed=addressed, cut=not title)
        addressed = title or (bare in GREETINGS and bare != "good")
        words = []
    yield from _segment(words, addressed=addressed, cut=False)


def _segment(parts: Sequence[re.Match[str]], *, addressed: bool, cut: bool) -> Iterator[_Segment]:
    if not 1 <= len(parts) <= LONGEST:
        return
    last = parts[-1].group()
    end = parts[-1].end()
    if last.endswith(".") and len(last) > 2:
        end -= 1
    words = tuple(part.group().rstrip(".") for part in parts)
    if words[-1].endswith(("'s", "’s")):
        end -= 2
    yield _Segment(parts[0].start(), end, words, addressed, cut)


def _is_acronym(word: str) -> bool:
    """HTTP is; the J. of a middle name is not; neither is a name in CamelCase such as McDonald."""
    return len(word) > 1 and word.isupper()


def _sum(evidence: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(_WEIGHTS, evidence, strict=False))


def _of_context(segment: _Segment, text: str) -> tuple[float, ...]:
    """What stands around says, in the order of _WEIGHTS behind the words': 0 or 1."""
    before = text[max(0, segment.start - _BEFORE) : segment.start]
    behind = text[segment.end : segment.end + _BEHIND]
    return (
        bool(_PEOPLE_BEFORE.search(before) or _ROLE_BEFORE.search(before)),
        bool(_PERSON_BEHIND.match(behind)),
        bool(_PLACE_BEFORE.search(before)),
        bool(_THING_BEFORE.search(before)),
        bool(_THING_FOLLOWS.match(behind)),
        segment.cut,
    )


def _has_form(segment: _Segment) -> bool:
    """No acronym among its words, or capitals throughout, as forms have names."""
    return not any(_is_acronym(word) for word in segment.words) or all(
        word.isupper() and len(word) > 2 for word in segment.words
    )


def _is_like_name(segment: _Segment) -> bool:
    """Letters as a name has them: `getUserName` and `SyncJob` have a capital inside."""
    return not any(
        re.search(r"[a-zß-ÿ][A-Z]", word) and not re.match(r"(?:Mc|Mac|De|Di|La|Le|Van|O['’])", word)
        for word in segment.words
    )


def _is_open(segment: _Segment, text: str) -> bool:
    """Words that could be a name, in a sentence; headings and constants are none."""
    if not _is_like_name(segment):
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
