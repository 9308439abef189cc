"""How each country writes its telephone numbers at home, from the plans that come with `phonenumbers`.

A number without a country's code is known by its grouping: the groups that a plan prescribes, and digits that are in
service in that plan. All plans are read once, at first use, into some hundred groupings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import phonenumbers
from phonenumbers.phonemetadata import PhoneMetadata

#: A group of a format: `\\d{3}`, `\\d{2,4}`, `\\d`, or a choice of digits such as `[2-9]\\d`.
_GROUP = re.compile(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_DIGITS = re.compile(r"\d+")

#: What is dialled before a number at home.
_TRUNKS = ("0", "8", "1", "06")

#: One way of writing in one plan: its leading digits, all digits in service, and the trunk prefix of the plan.
_Plan = tuple[re.Pattern[str], re.Pattern[str], str]


def is_written_as_dialled(candidate: str) -> bool:
    """Says whether the digits stand in groups that some country's plan prescribes, and are in service there."""
    groups = tuple(_DIGITS.findall(candidate))
    return any(
        written.match(digits) and in_service.fullmatch(digits)
        for (written, in_service, _), digits in _with_these(groups)
    )


def is_dialled_bare(candidate: str) -> bool:
    """Says whether ten or eleven digits in one piece, the first of them a trunk zero, are in service somewhere."""
    return candidate[0] == "0" and any(whole.fullmatch(candidate[1:]) for whole in _trunk_plans())


def _with_these(groups: tuple[str, ...]) -> Iterator[tuple[_Plan, str]]:
    """The plans with groups of these lengths, and the digits without the trunk prefix that stands before them."""
    digits = "".join(groups)
    lengths = tuple(map(len, groups))
    for plan in _plans().get(lengths, ()):
        # Where the trunk prefix is 0 people write it.
        if plan[2] != "0":
            yield plan, digits
    for trunk in _TRUNKS:
        if digits.startswith(trunk):
            rest = lengths[1:] if lengths[0] == len(trunk) else (lengths[0] - len(trunk), *lengths[1:])
            yield from ((plan, digits[len(trunk) :]) for plan in _plans().get(rest, ()) if plan[2] == trunk)


@cache
def _plans() -> dict[tuple[int, ...], list[_Plan]]:
    """By the lengths of the groups."""
    found: dict[tuple[int, ...], list[_Plan]] = {}
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        plan: Any = PhoneMetadata.metadata_for_region(region)
        in_service = re.compile(plan.general_desc.national_number_pattern)
        for written in plan.number_format:
            leading = re.compile("|".join(f"(?:{one})" for one in written.leading_digits_pattern[-1:]))
            for lengths in _lengths(written.pattern):
                found.setdefault(lengths, []).append((leading, in_service, plan.national_prefix or ""))
    return found


def _lengths(pattern: str) -> Iterator[tuple[int, ...]]:
    """The group lengths that a format allows; a format with a single group is not written in groups."""
    options = [_sizes(group) for group in _GROUP.findall(pattern)]
    if len(options) < 2 or not all(options):
        return
    combined: list[tuple[int, ...]] = [()]
    for sizes in options:
        combined = [(*one, size) for one in combined for size in sizes]
    yield from (one for one in combined if 7 <= sum(one) <= 13)


def _sizes(group: str) -> list[int]:
    r"""`\d{2,4}` is two to four digits; `[2-9]\d` is two; a choice of several writings is left out."""
    if "|" in group:
        return []
    least = most = 0
    for match in re.finditer(r"(?:\\d|\[[^]]*\]|\d)(?:\{(\d+)(?:,(\d+))?\}|(\?))?", group):
        low, high, optional = match.groups()
        least += 0 if optional else int(low or 1)
        most += 1 if optional else int(high or low or 1)
    return list(range(max(1, least), most + 1))


def _metadata(region: str) -> list[Any]:
    """The plan, which has no types; none for a region without one."""
    return [plan for plan in (PhoneMetadata.metadata_for_region(region),) if plan is not None]


@cache
def _trunk_plans() -> tuple[re.Pattern[str], ...]:
    """What is in service as a mobile or fixed line, of countries whose trunk prefix is 0: nine or ten digits."""
    found = {
        kind.national_number_pattern
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for plan in _metadata(region)
        if plan.national_prefix == "0"
        for kind in (plan.mobile, plan.fixed_line)
        if kind is not None and kind.national_number_pattern
    }
    return tuple(re.compile(pattern) for pattern in sorted(found))
