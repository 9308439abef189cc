"""What is planted: words that occur nowhere else, in the forms in which they could come out again."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

_SYLLABLES = ("quor", "bly", "zaph", "wex", "drin", "oth", "plim", "vask", "jund", "mirr", "tolb", "kreu")
#: A part of a canary that is so long is a find: shorter ones happen by chance.
SHORTEST = 8


@dataclass(frozen=True, slots=True)
class Canary:
    """One thing that must not come out. kind: name, code, card or key. masked: gone whatever the tier."""

    name: str
    kind: str
    text: str

    def __repr__(self) -> str:
        return f"<canary {self.name}>"

    @property
    def masked(self) -> bool:
        """Whether it is a secret, which is masked before anything else."""
        return self.kind in ("card", "key")

    def halves(self) -> tuple[str, str]:
        """The two parts that two messages carry."""
        middle = len(self.text) // 2
        return self.text[:middle], self.text[middle:]


def make_canaries(seed: int) -> list[Canary]:
    """Makes one set: two names, code, a card number, two keys, and names for single doors: erring, developers', ..."""
    chance = random.Random(seed)
    return [
        Canary("name", "name", f"{_word(chance)} {_word(chance)}-{_word(chance)}".title()),
        Canary("code", "code", f'def {_word(chance)}_{_word(chance)}(ledger): return ledger["{_word(chance)}"]'),
        Canary("card", "card", _card(chance)),
        Canary("aws", "key", "AKIA" + "".join(chance.choices(string.ascii_uppercase + "234567", k=16))),
        Canary("github", "key", "ghp_" + "".join(chance.choices(string.ascii_letters + string.digits, k=36))),
        Canary("label", "name", f"{_word(chance)} {_word(chance)} {_word(chance)}".title()),
        Canary("judged", "name", f"{_word(chance)} {_word(chance)}".title()),
        Canary("erring", "name", f"{_word(chance)} {_word(chance)} {_word(chance)}".title()),
        Canary("authored", "name", f"{_word(chance)} {_word(chance)}".title()),
        Canary("learned", "name", f"{_word(chance)} {_word(chance)}".title()),
    ]


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(_SYLLABLES, k=3))


def _card(chance: random.Random) -> str:
    digits = [4, 5, 3, 9, *(chance.randrange(10) for _ in range(11))]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 == 0 else digit for place, digit in enumerate(digits)]
    return "".join(map(str, [*digits, -sum(doubled) % 10]))


def forms(text: str) -> dict[str, str]:
    """The text in the codings that people paste, as text."""
    raw = text.encode()
    return {
        "plain": text,
        "base64": base64.b64encode(raw).decode(),
        "url": quote(text, safe=""),
        "percent": "".join(f"%{byte:02X}" for byte in raw),
        "hex": raw.hex(),
        "upper": text.upper(),
    }


@dataclass(frozen=True, slots=True)
class Needle:
    """What is looked for in bytes that were made lower-case, and what it gives away."""

    canary: Canary
    form: str
    data: bytes


def needles(canaries: list[Canary]) -> list[Needle]:
    """Returns every form of every canary and of its halves, each only once."""
    found: dict[bytes, Needle] = {}
    for canary in canaries:
        for part, text in (("", canary.text), *zip((" first half", " second half"), canary.halves(), strict=True)):
            for form, data in _encoded(text):
                if len(data) >= SHORTEST:
                    found.setdefault(data.lower(), Needle(canary, form + part, data.lower()))
    return list(found.values())


def _encoded(text: str) -> Iterator[tuple[str, bytes]]:
    raw = text.encode()
    yield "plain", raw
    yield "url", quote(text, safe="").encode()
    yield "percent", "".join(f"%{byte:02X}" for byte in raw).encode()
    yield "hex", raw.hex().encode()
    yield "json", text.replace('"', '\\"').encode()
    yield "utf-16-le", text.encode("utf-16-le")
    yield "utf-16-be", text.encode("utf-16-be")
    yield from _base64(raw)
    for order in ("utf-16-le", "utf-16-be"):
        yield from (("base64 of " + order, data) for _, data in _base64(text.encode(order)))


def _base64(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """As it looks after none, one or two bytes of something else; what depends on the neighbours is left out."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(raw)) % 3 else 0)]
        if len(whole) >= 12:
            yield "base64", whole
            yield "base64url", whole.replace(b"+", b"-").replace(b"/", b"_")
