"""Recognisers of our own, beside presidio's: national check digits, and telephone numbers by their plan's lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import phonenumbers

from headrace_classifier.identity_checks import WORLD_CHECKS
from headrace_classifier.national_ids import CHECKS
from headrace_classifier.ports import Hit, Recogniser
from headrace_classifier.telephone_plans import is_dialled_bare, is_written_as_dialled

#: Whose numbering plans a number without a country's code is held against.
REGIONS = ("US", "GB", "DE", "FR", "IT", "ES", "NL", "PL", "SE", "BR", "IN", "IL", "CA", "AU")


class Checked:
    """Fires on a whole candidate whose arithmetic is right."""

    def __init__(self, check: Callable[[str], bool]) -> None:
        """Takes the arithmetic."""
        self._check = check

    def find(self, text: str) -> Iterable[Hit]:
        """Returns the whole candidate, or nothing."""
        return [Hit(0, len(text), 1.0)] if self._check(text) else []


def is_callable_abroad(candidate: str) -> bool:
    """Says whether a number with its country's code has a length that its country uses.

    Whether the exchange is in service is not asked: plans change, and a mistyped number is a person's all the same.
    """
    try:
        number = phonenumbers.parse(candidate.replace("(0)", ""), None)
    except phonenumbers.NumberParseException:
        return False
    return bool(phonenumbers.is_possible_number(number))


def is_callable_at_home(candidate: str) -> bool:
    """Says whether a number without its country's code is in service somewhere among those that we meet most."""
    for region in REGIONS:
        try:
            number = phonenumbers.parse(candidate, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number_for_region(number, region):
            return True
    return False


def is_callable_said(candidate: str) -> bool:
    """Says whether a number that somebody calls a telephone number has as many digits as one (ITU-T E.164: 15)."""
    return 7 <= sum(c.isdecimal() for c in candidate) <= 15


OWN_RECOGNISERS: Mapping[str, Recogniser] = {
    **{name: Checked(check) for name, check in {**CHECKS, **WORLD_CHECKS}.items()},
    "phone-plan": Checked(is_callable_abroad),
    "phone-national": Checked(is_callable_at_home),
    "phone-said": Checked(is_callable_said),
    "phone-written": Checked(is_written_as_dialled),
    "phone-bare": Checked(is_dialled_bare),
}
