"""Texts with labels, and how templates become texts."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

#: Makes a value of a kind.
Make = Callable[[random.Random], str]

_SLOT = re.compile(r"<(\w+)>")


@dataclass(frozen=True, slots=True)
class Label:
    """Where something is that must be found, in characters, end exclusive."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A text, what is in it, how it came, and how it is disguised (empty: it is not)."""

    text: str
    labels: tuple[Label, ...]
    carrier: str
    disguise: str = ""

    def values(self) -> list[tuple[str, str]]:
        """Returns (kind, value) of each label."""
        return [(label.kind, self.text[label.start : label.end]) for label in self.labels]


def fill(
    template: str, values: dict[str, tuple[str, str]], *, encode: Callable[[str], str] = str
) -> tuple[str, tuple[Label, ...]]:
    """Puts values into a template's <slots>. `values`: by slot, the label's kind ("" for none) and the value."""
    pieces: list[str] = []
    labels: list[Label] = []
    length = position = 0
    for slot in _SLOT.finditer(template):
        kind, value = values[slot.group(1)]
        value = encode(value)
        before = template[position : slot.start()]
        length += len(before)
        if kind:
            labels.append(Label(length, length + len(value), kind))
        pieces += (before, value)
        length += len(value)
        position = slot.end()
    return "".join([*pieces, template[position:]]), tuple(labels)


def slots(template: str) -> list[str]:
    """The names of a template's slots."""
    return _SLOT.findall(template)


def in_json(value: str) -> str:
    """As between the quotes of a JSON string."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


def in_sql(value: str) -> str:
    """As between the quotes of a SQL string."""
    return value.replace("'", "''").replace("\n", ", ")


def in_line(value: str) -> str:
    """On one line."""
    return value.replace("\n", ", ")


def digest(samples: Iterable[Sample]) -> str:
    """The SHA-256 of all texts and labels, in order."""
    whole = hashlib.sha256()
    for sample in samples:
        row = [
            sample.text,
            [[label.start, label.end, label.kind] for label in sample.labels],
            sample.carrier,
            sample.disguise,
        ]
        whole.update(json.dumps(row, ensure_ascii=True).encode() + b"\n")
    return whole.hexdigest()


def luhn_digit(digits: str) -> str:
    """The check digit of ISO/IEC 7812-1."""
    doubled = [int(d) * (2 if place % 2 == 0 else 1) for place, d in enumerate(reversed(digits))]
    return str(-sum(d // 10 + d % 10 for d in doubled) % 10)


def some(rng: random.Random, characters: str, count: int) -> str:
    """So many characters."""
    return "".join(rng.choices(characters, k=count))


def pick(rng: random.Random, choices: Sequence[str]) -> str:
    """One of them."""
    return choices[rng.randrange(len(choices))]
