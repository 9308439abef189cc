"""What an answer gives away that nobody gave it: addresses, numbers and keys of which a form or a checksum tells. Pure.

Few patterns, each so exact that it fires on what it means: detection with names and context is the classifier's, before
anything is stored or learned from. This looks at what a model writes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}\b")
_CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d.,-]?\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_KEY = re.compile(
    r"\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bsk-[A-Za-z0-9_-]{20,}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\b|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----"
)
#: Names that are made for examples (RFC 2606).
_EXAMPLES = (".example", "example.com", "example.org", "example.net", ".test", ".invalid", ".localhost")


def leaked(answer: str, given: Sequence[str]) -> int:
    """How many of these are in an answer and in nothing that it was given: the question, the passages."""
    known = " ".join(_plain(text) for text in given)
    return sum(_plain(found) not in known for found in set(_found(answer)))


def _found(text: str) -> Iterator[str]:
    for pattern, holds in _KINDS:
        for match in pattern.finditer(text):
            if holds(match.group()):
                yield match.group()


def _plain(text: str) -> str:
    """Without what people put between digits, so that the same number is found however it is written."""
    return re.sub(r"[\s-]", "", text).lower()


def _is_luhn(number: str) -> bool:
    """The checksum of card numbers (ISO/IEC 7812-1)."""
    digits = [int(each) for each in number if each.isdigit()][::-1]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + doubled) % 10 == 0


def _is_iban(number: str) -> bool:
    """The checksum of account numbers (ISO 13616: modulo 97)."""
    plain = number.replace(" ", "")
    turned = "".join(str(int(each, 36)) for each in plain[4:] + plain[:4])
    return int(turned) % 97 == 1


def _is_address(address: str) -> bool:
    return not address.lower().endswith(_EXAMPLES)


def _is_key(_: str) -> bool:
    return True


_KINDS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (_EMAIL, _is_address),
    (_CARD, _is_luhn),
    (_IBAN, _is_iban),
    (_KEY, _is_key),
)
