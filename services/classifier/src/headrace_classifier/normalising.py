"""What a text says once its disguises are off: invisible characters, look-alikes, escapes, spelled and spaced digits.

A view is the text as a reader sees it, with the place of every character in the original. A text without a disguise has
no views, and finding that out is one pass. Every step is linear, and each bounds what it looks at.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from headrace_classifier.patterns import compile_pattern

#: What a reader does not see: zero-width and direction characters, soft hyphens, variation selectors, NUL.
_INVISIBLE = frozenset(
    {
        *(0x00, 0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0xFEFF, 0x3164, 0xFFA0),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
    }
)

#: Letters that look like Latin ones, of Cyrillic, Greek and Armenian (a choice of Unicode's UTS 39).
_LOOKALIKES = dict(
    zip(
        "аеорсухіјѕԁһԛԝкмтвзАВЕКМНОРСТУХІЈЅԌԚԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανιρυκετχγӏɡıոսցհօ",
        "aeopcyxijsdhqwkmtb3ABEKMHOPCTYXIJSGQWABEZHIKMNOPTYXoavipuketxylgInugho",
        strict=True,
    )
)

_SUSPECT = re.compile(r"[^\x01-\x7e\xa0\xa1\xa3-\xac\xae\xb0\xb1\xb4-\xb8\xbb\xbf-\u02af]")
_WORD = re.compile(r"\S+")

#: Digits in words, of those languages in which somebody is likely to spell a number to us.
_SPELLED = {
    word: str(digit)
    for words in (
        "zero one two three four five six seven eight nine",
        "null eins zwei drei vier fünf sechs sieben acht neun",
        "zéro un deux trois quatre cinq six sept huit neuf",
        "cero uno dos tres cuatro cinco seis siete ocho nueve",
    )
    for digit, word in enumerate(words.split())
} | {"oh": "0", "zwo": "2"}
_DIGIT_WORD = "|".join(sorted(_SPELLED, key=len, reverse=True))
_SPELLED_RUN = re.compile(rf"(?i)\b(?:{_DIGIT_WORD})(?:[ ,-]{{1,2}}(?:{_DIGIT_WORD})){{5,40}}\b")
_SPELLED_AT_ALL = compile_pattern(rf"(?i:{_DIGIT_WORD})(?:[ ,-]{{1,2}}(?i:{_DIGIT_WORD})){{5}}")
_SPELLED_ONE = re.compile(rf"(?i){_DIGIT_WORD}")

#: Single characters with one blank between: at least seven, or a telephone number's groups would be one.
_SPACED_RUN = re.compile(r"(?<!\S)\S(?: \S){6,120}(?!\S)")
_SAID_MAIL = re.compile(
    r"(?i)\b[\w.+-]{1,64}(?:[ ]?[\[({][ ]?dot[ ]?[\])}][ ]?[\w+-]{1,64}| dot [\w+-]{1,64}){0,4}"
    r"(?:[ ]?[\[({][ ]?at[ ]?[\])}][ ]?| at )"
    r"[\w-]{1,63}(?:(?:[ ]?[\[({][ ]?dot[ ]?[\])}][ ]?| dot |\.)[\w-]{2,63}){1,4}"
)
_SAID = re.compile(r"(?i)[ ]?[\[({][ ]?(at|dot)[ ]?[\])}][ ]?| (at|dot) ")

_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}={0,2}")

#: How many encoded pieces of a text are opened, and how many bytes of each and of all of them.
PIECES = 256
PIECE_BYTES = 64 << 10
TOTAL_BYTES = 256 << 10


class Offsets:
    """Places of a text in characters and in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        """Takes the text."""
        self._text = text
        self._data = None if text.isascii() else text.encode()

    def in_bytes(self, start: int, end: int) -> tuple[int, int]:
        """From characters."""
        if self._data is None:
            return start, end
        first = len(self._text[:start].encode())
        return first, first + len(self._text[start:end].encode())

    def in_characters(self, start: int, end: int) -> tuple[int, int]:
        """From bytes, between characters."""
        if self._data is None:
            return start, end
        first = len(self._data[:start].decode())
        return first, first + len(self._data[start:end].decode())


@dataclass(frozen=True, slots=True, repr=False)
class View:
    """A text in another form. `starts` and `ends`: for each of its characters, its place in the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Returns the place in the original of a place in the view, both in characters, end exclusive."""
        return self.starts[start], self.ends[end - 1]


@dataclass(frozen=True, slots=True, repr=False)
class Piece:
    """A part of a text that decodes to another text."""

    start: int
    end: int
    text: str


#: Part of a view: what it reads, and the place in the original.
_Part = tuple[str, int, int]


def views(text: str) -> Iterator[View]:
    """Yields the other ways to read the text; none for most texts."""
    plain = _undisguised(text)
    if plain is not None:
        yield plain
    base = plain or identity(text)
    for change in (_unescaped, _unspaced, _unspelled, _said_mail):
        parts = list(change(base.text))
        if parts:
            yield _compose(base, _replaced(base.text, parts))


def identity(text: str) -> View:
    """The text as it is."""
    return View(text, range(len(text)), range(1, len(text) + 1))


def pieces(text: str) -> Iterator[Piece]:
    """Yields what is written in base64 and decodes to a text: so many pieces and bytes at most."""
    left = TOTAL_BYTES
    for number, match in enumerate(_BASE64.finditer(text)):
        if number >= PIECES or left <= 0:
            return
        decoded = _from_base64(match.group()[: PIECE_BYTES * 4 // 3])
        if decoded is not None:
            left -= len(decoded)
            yield Piece(match.start(), match.end(), decoded)


def _from_base64(written: str) -> str | None:
    """Decodes a run that holds printable text, UTF-8 or UTF-16; None for every other: a hash, a path, a long word."""
    body = written.rstrip("=").replace("-", "+").replace("_", "/")
    if len(body) % 4 == 1:
        body = body[:-1]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
        text = data.replace(b"\x00", b"").decode()
    except (binascii.Error, ValueError):
        return None
    printable = sum(c.isprintable() or c in "\r\n\t" for c in text)
    return text if text and printable == len(text) else None


def _undisguised(text: str) -> View | None:
    """Without invisible characters, with compatibility forms and look-alikes made plain. None: nothing to do."""
    if _SUSPECT.search(text) is None:
        return None
    parts = [part for match in _WORD.finditer(text) for part in _plain_word(match.group(), match.start())]
    return _replaced(text, parts) if parts else None


def _plain_word(word: str, at: int) -> Iterator[_Part]:
    if word.isascii() and "\x00" not in word:
        return
    like_latin = _is_mixed(word)
    for place, character in enumerate(word):
        plain = _plain_character(character, like_latin=like_latin)
        if plain != character:
            yield plain, at + place, at + place + 1


def _is_mixed(word: str) -> bool:
    """Latin and look-alikes in one word, or look-alikes alone: a word of a Cyrillic or Greek text has others too."""
    letters = [c for c in word if c.isalpha()]
    foreign = [c for c in letters if c > "\u036f"]
    return bool(foreign) and (len(foreign) < len(letters) or "@" in word or all(c in _LOOKALIKES for c in foreign))


def _plain_character(character: str, *, like_latin: bool) -> str:
    if ord(character) in _INVISIBLE:
        return ""
    if character in _LOOKALIKES:
        return _LOOKALIKES[character] if like_latin else character
    if character < "\u02b0":
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) <= 4 else character


def _unescaped(text: str) -> Iterator[_Part]:
    """%40 for @, as in addresses and forms."""
    for match in _PERCENT.finditer(text):
        try:
            decoded = unquote_to_bytes(match.group()).decode()
        except UnicodeDecodeError:
            continue
        if len(decoded) * 3 == len(match.group()):
            for place, character in enumerate(decoded):
                yield character, match.start() + 3 * place, match.start() + 3 * place + 3
        else:
            yield decoded, match.start(), match.end()


def _unspaced(text: str) -> Iterator[_Part]:
    """j o h n for john."""
    for run in _SPACED_RUN.finditer(text):
        for place in range(run.start() + 1, run.end(), 2):
            yield "", place, place + 1


def _unspelled(text: str) -> Iterator[_Part]:
    """four one one for 411."""
    if _SPELLED_AT_ALL.search(text.encode()) is None:
        return
    for run in _SPELLED_RUN.finditer(text):
        words = list(_SPELLED_ONE.finditer(text, run.start(), run.end()))
        end = run.start()
        for word in words:
            if word.start() > end:
                yield "", end, word.start()
            yield _SPELLED[word.group().lower()], word.start(), word.end()
            end = word.end()


def _said_mail(text: str) -> Iterator[_Part]:
    """anna dot keller at acme dot de. "at" and "dot" are words as well: a recogniser judges what comes out."""
    lowered = text.lower()
    if "dot" not in lowered and "at)" not in lowered and "at]" not in lowered:
        return
    for match in _SAID_MAIL.finditer(text):
        for word in _SAID.finditer(text, match.start(), match.end()):
            yield "@" if (word.group(1) or word.group(2)).lower() == "at" else ".", word.start(), word.end()


def _replaced(text: str, parts: Iterable[_Part]) -> View:
    """The text with its parts replaced; a part of several characters has one place."""
    read: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for plain, start, end in (*parts, ("", len(text), len(text))):
        read += (text[position:start], plain)
        starts += (*range(position, start), *([start] * len(plain)))
        ends += (*range(position + 1, start + 1), *([end] * len(plain)))
        position = end
    return View("".join(read), starts, ends)


def _compose(base: View, view: View) -> View:
    """A view of a view, with its places in the original."""
    if isinstance(base.starts, range):
        return view
    starts = [base.starts[place] for place in view.starts]
    return View(view.text, starts, [base.ends[place - 1] for place in view.ends])
