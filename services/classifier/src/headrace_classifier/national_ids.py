"""National numbers whose check digits we know ourselves: published arithmetic, no library.

Each function takes a candidate as it was found and says whether it is one. Dates in them must be dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from headrace_classifier.checksums import luhn


def _digits(candidate: str) -> str:
    return "".join(c for c in candidate if c.isdecimal())


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def _is_day(month: str, day: str) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def is_french_nir(candidate: str) -> bool:
    """The number of the répertoire national: 13 digits, key = 97 - n mod 97; Corsica's 2A and 2B count as 19 and 18."""
    compact = re.sub(r"[ .-]", "", candidate).upper()
    body, key = compact[:13].replace("2A", "19").replace("2B", "18"), compact[13:]
    return body.isdecimal() and key.isdecimal() and int(key) == 97 - int(body) % 97


def is_dutch_bsn(candidate: str) -> bool:
    """The burgerservicenummer: the eleven test, the last digit with weight -1."""
    digits = _digits(candidate).zfill(9)
    return len(set(digits)) > 1 and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def is_pesel(candidate: str) -> bool:
    """Poland's PESEL: weights 1 3 7 9, the month carries the century in steps of 20."""
    digits = _digits(candidate)
    month = f"{int(digits[2:4]) % 20}"
    right = (10 - _weighted(digits[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == int(digits[10])
    return right and _is_day(month, digits[4:6]) and len(set(digits)) > 2


def is_swedish_number(candidate: str) -> bool:
    """A personnummer or samordningsnummer (day + 60): a date and Luhn over ten digits."""
    digits = _digits(candidate)[-10:]
    return _is_day(digits[2:4], f"{int(digits[4:6]) % 60}") and luhn(digits)


def is_brazilian_cpf(candidate: str) -> bool:
    """Brazil's CPF: two check digits modulo 11."""
    digits = _digits(candidate)
    return len(set(digits)) > 1 and all(
        _weighted(digits[:n], tuple(range(n + 1, 1, -1))) * 10 % 11 % 10 == int(digits[n]) for n in (9, 10)
    )


def is_portuguese_nif(candidate: str) -> bool:
    """Portugal's NIF: modulo 11, natural persons begin with 1, 2, 3 or 45."""
    digits = _digits(candidate)
    check = 11 - _weighted(digits[:8], (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return int(digits[8]) == (0 if check >= 10 else check)


def is_belgian_number(candidate: str) -> bool:
    """Belgium's rijksregisternummer: 97 - n mod 97, with a 2 before it for those born since 2000."""
    digits = _digits(candidate)
    body, key = digits[:9], int(digits[9:])
    return _is_day(f"{int(digits[2:4]) % 20 or 1}", digits[4:6]) and key in {
        97 - int(body) % 97,
        97 - int("2" + body) % 97,
    }


def is_swiss_ahv(candidate: str) -> bool:
    """Switzerland's AHV number: an EAN-13 that begins with 756."""
    digits = _digits(candidate)
    return (10 - _weighted(digits[:12], (1, 3) * 6) % 10) % 10 == int(digits[12])


def is_norwegian_number(candidate: str) -> bool:
    """Norway's fødselsnummer: a date and two check digits modulo 11."""
    digits = _digits(candidate)
    first = (11 - _weighted(digits[:9], (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11) % 11
    second = (11 - _weighted(digits[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11) % 11
    return _is_day(digits[2:4], f"{int(digits[:2]) % 40}") and f"{first}{second}" == digits[9:]


def is_danish_number(candidate: str) -> bool:
    """Denmark's CPR number: a date; since 2007 without a check digit that could be relied on."""
    digits = _digits(candidate)
    return _is_day(digits[2:4], digits[:2])


def is_czech_number(candidate: str) -> bool:
    """The rodné číslo of the Czech Republic and Slovakia: divisible by 11, women's months + 50."""
    digits = _digits(candidate)
    return int(digits) % 11 == 0 and _is_day(f"{int(digits[2:4]) % 50 % 20}", digits[4:6])


def is_fiscal_code(candidate: str) -> bool:
    """Italy's codice fiscale: its shape, and the check letter (decree of 23 December 1976)."""
    code = candidate.upper()
    if not re.fullmatch(r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", code):
        return False
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [int(c, 36) if c.isdecimal() else ord(c) - 65 for c in code[:15]]
    total = sum(odd[value] if place % 2 == 0 else value for place, value in enumerate(values))
    return chr(65 + total % 26) == code[15]


def is_nino(candidate: str) -> bool:
    """A British national insurance number has no check digit: its prefix says enough, or the words before it."""
    return re.sub(r"[ -]", "", candidate)[:2].upper() not in {"BG", "GB", "NK", "KN", "TN", "NT"}


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "fr-nir": is_french_nir,
    "nl-bsn": is_dutch_bsn,
    "pesel": is_pesel,
    "se-personnummer": is_swedish_number,
    "br-cpf": is_brazilian_cpf,
    "pt-nif": is_portuguese_nif,
    "be-rrn": is_belgian_number,
    "ch-ahv": is_swiss_ahv,
    "no-fnr": is_norwegian_number,
    "dk-cpr": is_danish_number,
    "cz-rc": is_czech_number,
    "fiscal-code": is_fiscal_code,
    "nino": is_nino,
}
