"""Words as grounding compares them: content words by their stems, names and numbers exactly."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_TOKEN = re.compile(
    r"`{1,2}[^`\n]+`{1,2}"  # quoted as code
    r"|\d+(?:[.,]\d+)*"
    r"|\w+(?:[.’'-]\w+)*"
    r"|\.\.\.|[-+*/%@&|^<>=!~]+="
)
# An e-mail address, or what the classifier puts in a secret's place.
_ADDRESS = re.compile(r"\[secret:[a-z0-9-]+\]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")

# Words that carry no claim of their own.
STOP_WORDS = frozenset(
    """a about above after again also am an and are as at be because been before being below between both but by can
    could did do does doing done down during each either else etc few for from further get gets give gives given had
    has have having he her here his how however i if in into is it its itself just let like made make makes many may
    me might more most much must my of off on once one ones only onto or other otherwise our out over own per rather
    s same see seen shall she should since so some still such than that the their them then there therefore these
    they thing things this those though through thus to too under until up upon us use used uses using very via was
    we were what when where whether which while who whom whose why will with within would yet you your""".split()  # noqa: SIM905 - a table of words
)

# Words that say what kind of question it is rather than what it is about. Stems.
GENERIC = frozenset(
    """answer best call calls called difference default example exactly explain get happen happens kind know list long
    mean means meaning name need order purpose reason say tell time try understand want way work works write""".split()  # noqa: SIM905 - a table of words
)

NEGATIONS = frozenset(
    """not no never none nothing neither nor cannot can't don't doesn't didn't isn't aren't wasn't won't without unless
    unable impossible forbidden fails fail illegal invalid n't""".split()  # noqa: SIM905 - a table of words
)

# Words that make a claim stronger than it was.
STRONG = frozenset(
    """only always every all must any never required exactly""".split()  # noqa: SIM905 - a table of words
)

_SUFFIXES = ("ations", "ation", "ings", "ing", "ions", "ion", "edly", "ed", "es", "ly", "s", "e")


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A word without its commonest endings. Coarse on purpose: both sides of a comparison go through it."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not (suffix == "s" and word.endswith("ss")):
            word = word[: -len(suffix)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "sl":
        word = word[:-1]
    return f"{word[:-1]}y" if word.endswith("i") and len(word) > 3 else word


def without_addresses(text: str) -> str:
    """A question without e-mail addresses and masked secrets: they say who asks, not what is asked."""
    return _ADDRESS.sub(" ", text)


def tokens(text: str) -> list[str]:
    """All words, names, numbers and operators of a text, in lower case, code marks taken off."""
    return [t.strip("`").lower() for t in _TOKEN.findall(text.replace("’", "'"))]


def content(text: str) -> list[str]:
    """The stems of the words that claim something, in order."""
    return [stem(t) for t in tokens(text) if t not in STOP_WORDS and t not in NEGATIONS]


def numbers(text: str) -> frozenset[str]:
    """All numbers, digits only."""
    return frozenset(t for t in tokens(text) if t[0].isdigit())


def identifiers(text: str) -> frozenset[str]:
    """Names that stand for exactly one thing: with underscores, digits inside, inner capitals or code marks."""
    return frozenset(t.strip("`").lower() for t in _TOKEN.findall(text) if _is_identifier(t))


def _is_identifier(token: str) -> bool:
    if token.startswith("`") or "_" in token:
        return True
    return token[0].isalpha() and (any(c.isdigit() for c in token) or any(c.isupper() for c in token[1:]))


def negated(words: Iterable[str]) -> bool:
    """Whether the words deny something."""
    return any(w in NEGATIONS or w.endswith("n't") for w in words)
