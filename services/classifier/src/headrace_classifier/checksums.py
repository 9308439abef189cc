"""Arithmetic that tells a real number from one that only looks like it."""

from __future__ import annotations

import math
from collections import Counter

#: What doubling a digit and adding the digits of the result gives, by digit.
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

#: Issuers by the leading digits, with the lengths that they use (ISO/IEC 7812 and the networks' public tables):
#: first and last prefix, lengths.
_ISSUERS = (
    (range(4, 5), (13, 16, 18, 19)),  # Visa, Switch
    (range(51, 56), (16,)),  # Mastercard
    (range(2221, 2721), (16,)),  # Mastercard's second range
    (range(34, 35), (15,)),  # American Express
    (range(37, 38), (15,)),
    (range(30, 31), (14, 16, 19)),  # Diners Club
    (range(36, 37), (14, 16, 19)),
    (range(38, 40), (14, 16, 19)),  # Diners Club, Hipercard
    (range(3528, 3590), (16, 17, 18, 19)),  # JCB
    (range(31, 32), (16, 19)),  # UnionPay's transport cards
    (range(2131, 2132), (15, 16)),  # JCB's first ranges
    (range(2100, 2101), (15,)),
    (range(1800, 1801), (15, 16)),
    (range(2014, 2015), (15,)),  # enRoute
    (range(2149, 2150), (15,)),
    (range(2200, 2206), (16, 17, 18, 19)),  # Mir, Borica
    (range(50, 51), (12, 13, 14, 15, 16, 17, 18, 19)),  # Maestro, Elo, Verve
    (range(54, 56), (14,)),  # Diners Club in North America
    (range(56, 59), (12, 13, 14, 15, 16, 17, 18, 19)),  # Maestro, Bankcard
    (range(60, 70), (16, 17, 18, 19)),  # Discover, RuPay, UnionPay, Solo, Laser
    (range(63, 64), (12, 13, 14, 15)),  # Maestro
    (range(67, 68), (12, 13, 14, 15)),
    (range(81, 83), (16,)),  # RuPay
    (range(8600, 8601), (16,)),  # Uzcard
    (range(9792, 9793), (16,)),  # Troy
    (range(9860, 9861), (16,)),  # Humo
)


def luhn(digits: str) -> bool:
    """Says whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = sum(int(digit) for digit in digits[-1::-2])
    return (total + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def is_card_number(digits: str) -> bool:
    """Says whether `digits` (0-9 only) can be a payment card: an issuer's prefix and length, and the check digit.

    All digits alike are a placeholder, not a card.
    """
    return len(set(digits)) > 1 and _has_issuer(digits) and luhn(digits)


def _has_issuer(digits: str) -> bool:
    return any(
        len(digits) in lengths and int(digits[: len(str(prefixes.start))]) in prefixes for prefixes, lengths in _ISSUERS
    )


def is_iban(characters: str) -> bool:
    """Says whether `characters` (A-Z and 0-9) have an IBAN's length and check digits (ISO 13616, modulo 97)."""
    if not 15 <= len(characters) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in characters[4:] + characters[:4])) % 97 == 1


def entropy(value: str) -> float:
    """Returns Shannon's entropy of the characters, in bits a character; 0.0 for an empty string."""
    counts = Counter(value).values()
    return sum(n / len(value) * math.log2(len(value) / n) for n in counts)
