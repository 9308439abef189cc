"""Check digits of the identity numbers of further countries, beside those in `national_ids`: published arithmetic.

Each function takes a candidate as it was found and says whether it is one. Dates in them must be dates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from headrace_classifier.checksums import luhn


def _digits(candidate: str) -> list[int]:
    return [int(c) for c in candidate if c.isdecimal()]


def _dot(digits: Sequence[int], weights: Sequence[int]) -> int:
    return sum(d * w for d, w in zip(digits, weights, strict=False))


def _is_day(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def _two(digits: Sequence[int], at: int) -> int:
    return digits[at] * 10 + digits[at + 1]


def _varied(digits: Sequence[int]) -> bool:
    """More than two different digits: rows of one digit pass many a check."""
    return len(set(digits)) > 2


def is_austrian_number(candidate: str) -> bool:
    """Austria's Sozialversicherungsnummer: the fourth digit is modulo 11, the last six are a birthday."""
    d = _digits(candidate)
    body = d[:3] + d[4:]
    return len(d) == 10 and _dot(body, (3, 7, 9, 5, 8, 4, 2, 1, 6)) % 11 == d[3] and _is_day(_two(d, 6), _two(d, 4))


def is_german_pension_number(candidate: str) -> bool:
    """Germany's Rentenversicherungsnummer: eight digits, a letter, two digits and the check digit (VKVV, section 4)."""
    code = candidate.replace(" ", "").upper()
    letter = ord(code[8]) - 64
    d = [int(c) for c in code[:8]] + [letter // 10, letter % 10] + [int(c) for c in code[9:11]]
    total = sum(sum(divmod(n * w, 10)) for n, w in zip(d, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True))
    return total % 10 == int(code[11]) and 1 <= _two(d, 4) <= 12 and _two(d, 2) % 50 <= 31


def is_romanian_cnp(candidate: str) -> bool:
    """Romania's CNP: sex and century, a birthday, weights 279146358279 modulo 11."""
    d = _digits(candidate)
    check = _dot(d, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return d[0] > 0 and _is_day(_two(d, 3), _two(d, 5)) and d[12] == (1 if check == 10 else check)


def is_bulgarian_egn(candidate: str) -> bool:
    """Bulgaria's EGN: a birthday whose month carries the century, powers of two modulo 11."""
    d = _digits(candidate)
    return _is_day(_two(d, 2) % 20, _two(d, 4)) and _dot(d[:9], (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == d[9]


def is_croatian_oib(candidate: str) -> bool:
    """Croatia's OIB, and whatever else has 11 digits by ISO/IEC 7064, MOD 11,10."""
    d = _digits(candidate)
    rest = 10
    for digit in d[:10]:
        rest = ((digit + rest) % 10 or 10) * 2 % 11
    return _varied(d) and (11 - rest) % 10 == d[10]


def is_yugoslav_jmbg(candidate: str) -> bool:
    """The JMBG of Serbia, Slovenia (EMŠO), Bosnia, Montenegro and North Macedonia: a birthday and modulo 11."""
    d = _digits(candidate)
    check = 11 - _dot(d, (7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return _is_day(_two(d, 2), _two(d, 0)) and d[4] in {0, 8, 9} and d[12] == (0 if check > 9 else check)


def is_turkish_number(candidate: str) -> bool:
    """Turkey's kimlik numarası: two check digits."""
    d = _digits(candidate)
    tenth = (7 * sum(d[0:9:2]) - sum(d[1:8:2])) % 10
    return d[0] > 0 and _varied(d) and tenth == d[9] and sum(d[:10]) % 10 == d[10]


def is_baltic_number(candidate: str) -> bool:
    """Estonia's isikukood and Lithuania's asmens kodas: a birthday, modulo 11 in two rounds."""
    d = _digits(candidate)
    check = _dot(d[:10], (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if check == 10:
        check = _dot(d[:10], (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return 1 <= d[0] <= 6 and _is_day(_two(d, 3), _two(d, 5)) and check == d[10]


def is_latvian_number(candidate: str) -> bool:
    """Latvia's personas kods: a birthday, or 32 for those without one."""
    d = _digits(candidate)
    return _two(d, 0) == 32 or _is_day(_two(d, 2), _two(d, 0))


def is_irish_pps(candidate: str) -> bool:
    """Ireland's PPS number: seven digits, a check letter modulo 23, perhaps one more letter."""
    code = candidate.upper()
    total = _dot(_digits(code), (8, 7, 6, 5, 4, 3, 2)) + (9 * (ord(code[8]) - 64) % 23 if len(code) > 8 else 0)
    return "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] == code[7]


def is_greek_amka(candidate: str) -> bool:
    """Greece's AMKA: a birthday and Luhn."""
    d = _digits(candidate)
    return _is_day(_two(d, 2), _two(d, 0)) and luhn(candidate)


def is_hungarian_taj(candidate: str) -> bool:
    """Hungary's TAJ: weights 3 and 7 modulo 10."""
    d = _digits(candidate)
    return _varied(d) and _dot(d[:8], (3, 7) * 4) % 10 == d[8]


def is_luxembourgish_number(candidate: str) -> bool:
    """Luxembourg's matricule: a birthday with its century, Luhn over the first eleven and the twelfth."""
    d = _digits(candidate)
    return _is_day(_two(d, 4), _two(d, 6)) and luhn("".join(map(str, d[:12])))


def is_icelandic_number(candidate: str) -> bool:
    """Iceland's kennitala: a birthday and modulo 11."""
    d = _digits(candidate)
    check = -_dot(d[:8], (3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return _is_day(_two(d, 2), _two(d, 0) % 40) and check == d[8] and d[9] in {0, 8, 9}


def is_chinese_number(candidate: str) -> bool:
    """China's resident identity number: a birthday, ISO 7064 MOD 11-2 (GB 11643)."""
    code = candidate.upper()
    d = _digits(code[:17])
    return (
        _is_day(_two(d, 10), _two(d, 12))
        and "10X98765432"[_dot(d, [2 ** (17 - n) for n in range(17)]) % 11] == code[17]
    )


def is_south_african_number(candidate: str) -> bool:
    """South Africa's identity number: a birthday, citizenship, Luhn."""
    d = _digits(candidate)
    return _is_day(_two(d, 2), _two(d, 4)) and d[10] < 3 and luhn("".join(map(str, d)))


def is_mexican_curp(candidate: str) -> bool:
    """Mexico's CURP: letters, a birthday, sex, a check digit over base 37."""
    code = candidate.upper()
    total = sum("0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ".index(c) * (18 - n) for n, c in enumerate(code[:17]))
    return _is_day(int(code[6:8]), int(code[8:10])) and str(-total % 10) == code[17]


def is_chilean_rut(candidate: str) -> bool:
    """Chile's RUT: modulo 11 with K for ten."""
    body, check = candidate[:-1], candidate[-1].upper()
    total = _dot(_digits(body)[::-1], (2, 3, 4, 5, 6, 7, 2, 3))
    return "0123456789K0"[11 - total % 11 if total % 11 else 0] == check


def is_argentine_cuil(candidate: str) -> bool:
    """Argentina's CUIL of a person: 20, 23, 24 or 27 before the document's number, modulo 11."""
    d = _digits(candidate)
    check = 11 - _dot(d[:10], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return _two(d, 0) in {20, 23, 24, 27} and d[10] == {11: 0, 10: 9}.get(check, check)


def is_israeli_number(candidate: str) -> bool:
    """Israel's identity number: Luhn over nine digits."""
    return luhn(candidate.zfill(9))


def is_taiwanese_number(candidate: str) -> bool:
    """Taiwan's identity number: a letter for the county, nine digits, weights 8 to 1."""
    code = candidate.upper()
    county = "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(code[0]) + 10
    return (county // 10 + county % 10 * 9 + _dot(_digits(code[1:]), (8, 7, 6, 5, 4, 3, 2, 1, 1))) % 10 == 0


def is_hong_kong_number(candidate: str) -> bool:
    """Hong Kong's identity card: one or two letters, six digits, a check digit in brackets, modulo 11."""
    code = candidate.upper().replace("(", "").replace(")", "")
    values = [int(c, 36) for c in code[:-1]]
    values = [36] * (8 - len(values)) + values
    check = 10 if code[-1] == "A" else int(code[-1], 36)
    return (_dot(values, (9, 8, 7, 6, 5, 4, 3, 2)) + check) % 11 == 0


def is_thai_number(candidate: str) -> bool:
    """Thailand's identity number: weights 13 to 2 modulo 11."""
    d = _digits(candidate)
    return (11 - _dot(d[:12], range(13, 1, -1)) % 11) % 10 == d[12]


def is_malaysian_number(candidate: str) -> bool:
    """Malaysia's MyKad: a birthday; no check digit."""
    d = _digits(candidate)
    return _is_day(_two(d, 2), _two(d, 4))


def is_russian_snils(candidate: str) -> bool:
    """Russia's SNILS: weights 9 to 1, modulo 101."""
    d = _digits(candidate)
    return _varied(d) and _dot(d[:9], range(9, 0, -1)) % 101 % 100 == _two(d, 9)


def is_canadian_sin(candidate: str) -> bool:
    """Canada's social insurance number: Luhn over nine digits."""
    d = _digits(candidate)
    return d[0] != 8 and luhn("".join(map(str, d)))


def is_spanish_social_security(candidate: str) -> bool:
    """Spain's número de afiliación: province, number, and both modulo 97."""
    d = "".join(map(str, _digits(candidate)))
    body = int(d[2:10])
    whole = int(d[:2]) * 10_000_000 + body if body < 10_000_000 else int(d[:10])
    return whole % 97 == int(d[10:]) and 1 <= int(d[:2]) <= 66


def is_japanese_number(candidate: str) -> bool:
    """Japan's individual number: weights 6 to 2 twice, modulo 11."""
    d = _digits(candidate)
    rest = _dot(d[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return _varied(d) and d[11] == (0 if rest <= 1 else 11 - rest)


def is_pakistani_number(candidate: str) -> bool:
    """Pakistan's CNIC: five, seven and one digit; the first is a province; no check digit."""
    return candidate[0] in "1234567"


def is_norwegian_or_danish_day(candidate: str) -> bool:
    """Six digits of a birthday, a dash, four digits: Denmark's CPR and its like."""
    d = _digits(candidate)
    return _is_day(_two(d, 2), _two(d, 0)) and _varied(d)


def is_said_number(candidate: str) -> bool:
    """What somebody calls an identity number: five to eighteen digits, letters among them, and no placeholder."""
    d = _digits(candidate)
    return 5 <= len(d) <= 18 and len(set(d)) > 1 and d[:3] != [0, 0, 0]


WORLD_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "at-svnr": is_austrian_number,
    "de-rvnr": is_german_pension_number,
    "ro-cnp": is_romanian_cnp,
    "bg-egn": is_bulgarian_egn,
    "hr-oib": is_croatian_oib,
    "jmbg": is_yugoslav_jmbg,
    "tr-tckn": is_turkish_number,
    "baltic-code": is_baltic_number,
    "lv-pk": is_latvian_number,
    "ie-pps": is_irish_pps,
    "gr-amka": is_greek_amka,
    "hu-taj": is_hungarian_taj,
    "lu-matricule": is_luxembourgish_number,
    "is-kennitala": is_icelandic_number,
    "cn-rid": is_chinese_number,
    "za-id": is_south_african_number,
    "mx-curp": is_mexican_curp,
    "cl-rut": is_chilean_rut,
    "ar-cuil": is_argentine_cuil,
    "il-id": is_israeli_number,
    "tw-id": is_taiwanese_number,
    "hk-id": is_hong_kong_number,
    "th-id": is_thai_number,
    "my-kad": is_malaysian_number,
    "ru-snils": is_russian_snils,
    "ca-sin": is_canadian_sin,
    "es-nss": is_spanish_social_security,
    "jp-number": is_japanese_number,
    "pk-cnic": is_pakistani_number,
    "birthday-number": is_norwegian_or_danish_day,
    "identity-said": is_said_number,
}
