"""The scanner finds what it is there to find, in every coding, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.security.leaks.allowed import ALLOWED, AUTHORED, leaks
from tests.security.leaks.canaries import Canary, make_canaries
from tests.security.leaks.scanning import Hit, Scanner, Written

CANARIES = make_canaries(7)

CODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "upper": lambda text: text.upper().encode(),
    "lower": lambda text: text.lower().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 in the middle": lambda text: base64.b64encode(f"x{text} and more".encode()),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())),
    "url": lambda text: quote(text).encode(),
    "base64 in url": lambda text: quote(base64.b64encode(text.encode())).encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "postgres bytea": lambda text: ("\\x" + text.encode().hex()).encode(),
    "json": lambda text: json.dumps({"note": text}).encode(),
    "json in json": lambda text: json.dumps(json.dumps({"note": text})).encode(),
    "json, escaped": lambda text: "".join(f"\\u{ord(one):04x}" for one in text).encode(),
    "utf-16-le": lambda text: text.encode("utf-16-le"),
    "utf-16-be": lambda text: text.encode("utf-16-be"),
    "base64 of utf-16": lambda text: base64.b64encode(text.encode("utf-16-le")),
    "gzip": lambda text: gzip.compress(text.encode()),
    "the first half": lambda text: text[: len(text) // 2].encode(),
    "the second half": lambda text: text[len(text) // 2 :].encode(),
    "among bytes": lambda text: b"\x00\xff" * 50 + text.encode() + b"\xfe\x00" * 50,
}


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_canary_is_found_in_every_coding(canary: Canary, coding: str) -> None:
    written = Written("log", b'{"event": "' + CODINGS[coding](canary.text) + b'"}')
    if coding == "gzip":
        written = Written("log", CODINGS[coding](canary.text))
    assert canary.name in {hit.canary for hit in Scanner(CANARIES).hits([written])}


def test_what_holds_none_has_no_hit() -> None:
    others = make_canaries(8)
    text = b" ".join(make(canary.text) for canary in others for make in CODINGS.values())
    assert Scanner(CANARIES).hits([Written("log", text)]) == []


def test_a_hit_does_not_tell_the_text() -> None:
    hits = Scanner(CANARIES).hits([Written("log", CANARIES[0].text.encode())])
    assert CANARIES[0].text not in repr(hits)


def test_a_card_number_is_one() -> None:
    (card,) = (canary.text for canary in CANARIES if canary.kind == "card")
    digits = [int(digit) for digit in reversed(card)]
    doubled = [sum(divmod(2 * digit, 10)) if place % 2 else digit for place, digit in enumerate(digits)]
    assert sum(doubled) % 10 == 0


def test_only_what_is_listed_is_allowed() -> None:
    allowed = Hit("topic query.submitted", "name", "plain")
    others = [Hit(f"topic {name}", "name", "plain") for name in ("query.accepted", "query.submitted.dlq")]
    assert leaks([allowed, *others]) == others
    assert all(reason for reason in ALLOWED.values())


def test_developers_words_are_allowed_in_their_own_tables_and_nobody_elses_are() -> None:
    own = Hit("table inference.tenant_prompts", "authored", "plain")
    others = [
        Hit("table inference.tenant_prompts", "learned", "plain"),
        Hit("topic routing.changed", "authored", "plain"),
        Hit("table classifier.audit", "authored", "plain"),
    ]
    assert leaks([own, *others]) == others
    assert all(reason for reason in AUTHORED.values())
