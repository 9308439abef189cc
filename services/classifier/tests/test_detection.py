"""Personal data is found by form and check digits; documentation's look-alikes are not."""

from __future__ import annotations

import pydoc_data.topics
import random
import time
import tracemalloc
from collections.abc import Iterable, Mapping

import pytest
from headrace_classifier.detection import COUNTED, PersonalDataDetector
from headrace_classifier.personal_rules import PersonalRule
from headrace_classifier.ports import Hit, Recogniser
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.verdict import Finding, FindingKind

MIB = 1 << 20

POSITIVES = [
    ("email", "bob.smith@acme.co.uk"),
    ("email", "Jörg+news@bücher.de"),
    ("email", "a_b@mail.internal-tools.io"),
    ("phone", "+1 212-555-1234"),
    ("phone", "(212) 555-1234"),
    ("phone", "415.555.2671"),
    ("phone", "+44 20 7946 0958"),
    ("phone", "020 7946 0958"),
    ("phone", "+49 30 901820"),
    ("phone", "call me on 4155552671"),
    ("phone", "Tel. 02079460958"),
    ("phone", "+33\u00a01\u00a042\u00a068\u00a053\u00a000"),
    ("phone", "612 34 56 78"),
    ("phone", "08-123 456 78"),
    ("phone", "(011) 4321-5678"),
    ("phone", "0612345678"),
    ("phone", "06-12345678"),
    ("phone", "0171 234 56 78"),
    ("phone", "please call 628.125.349"),
    ("iban", "DE89370400440532013000"),
    ("iban", "GB29 NWBK 6016 1331 9268 19"),
    ("ip-address", "8.8.8.8"),
    ("ip-address", "10.20.30.40"),
    ("ip-address", "client=81.2.69.160"),
    ("ip-address", "peer:2a02:908::7c8e:1"),
    ("ip-address", "fd12:3456:789a::1/64"),
    ("ip-address", "2001:4860:4860::8888"),
    ("mac-address", "00:1A:2B:3C:4D:5E"),
    ("us-ssn", "219-09-9998"),
    ("us-ssn", "My SSN: 219099998"),
    ("us-itin", "912-71-1234"),
    ("us-passport", "passport number 912345678"),
    ("us-driver-license", "driver's license D1234567"),
    ("us-bank-account", "bank account 12345678901"),
    ("uk-nhs", "NHS number 9434765919"),
    ("uk-nhs", "NHS no. is 9434765919"),
    ("uk-nino", "AB123456C"),
    ("es-nif", "12345678Z"),
    ("it-fiscal-code", "RSSMRA85T10A562S"),
    ("pl-pesel", "PESEL 44051401359"),
    ("in-aadhaar", "Aadhaar 2345 6789 0124"),
    ("at-svnr", "1237 010180"),
    ("de-rvnr", "15070649C103"),
    ("ro-cnp", "1800101221144"),
    ("bg-egn", "EGN 7523169263"),
    ("hr-oib", "OIB 33392005961"),
    ("tr-tckn", "10000000146"),
    ("lv-pk", "161175-19997"),
    ("ie-pps", "1234567TW"),
    ("cn-rid", "11010519491231002X"),
    ("za-id", "8001015009087"),
    ("mx-curp", "BOXW310820HNERXN09"),
    ("cl-rut", "12.531.909-2"),
    ("ar-cuil", "20-12345678-6"),
    ("tw-id", "A123456789"),
    ("hk-id", "A123456(3)"),
    ("ru-snils", "112-233-445 95"),
    ("ca-sin", "046-454-286"),
    ("is-kennitala", "120174-3399"),
    ("dk-cpr", "211062-5629"),
    ("identity-number", "national id: 77-0412 X9"),
    ("identity-number", "12 345 678 is my passport"),
    ("crypto-wallet", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    ("crypto-wallet", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
]

NEGATIVES = [
    "550e8400-e29b-41d4-a716-446655440000",
    "123e4567-1234-1234-1234-123456789012",
    "e61f8b1c67f5b1498cb93e61f8b1c67f5b1498cb",
    "git commit 1234567890123456789012345678901234567890",
    "user@example.com, me@sub.example.org, x@example.net and root@localhost",
    "someone@host.test or a@b.invalid or c@d.example",
    "git@github.com:org/repo.git",
    "@app.route and matrix @ matrix.T and a @ b.c",
    "192.0.2.1, 198.51.100.7, 203.0.113.9 and 2001:db8::1",
    "127.0.0.1, 0.0.0.0, ::1, :: and 255.255.255.0",
    "version 1.2.3.4, v10.0.19041.1, requests==2.31.0.1, OID 1.3.6.1.4.1",
    "Python 3.11.4, 3.12.0rc1 and numpy 1.26.4",
    "2026-11-21 10:30:45, 21.11.2026, 11/21/2026 and 20261121T103045",
    "call me on 2026-11-21",
    "That is his number. The build took 1700000000 ns.",
    "The passport? It took 123456789 cycles.",
    "x[1::2], x[::-1], std::vector, 12:30:45 and a::b",
    "3.14159265358979, 6.022e23, 1234567890, 1_000_000_000 and 0xDEADBEEF",
    "0x7f8b8c0d1e2f, 1700000000, 2147483647 and 18446744073709551615",
    "call f(12345678) and print(1234567)",
    "order 612 34 56 78 and tracking 0694 8531 8303",
    "12 345 678 rows, 84 861 030 requests, 1.234.567 euros and 10,405,451 bytes",
    "on 22 11 2020, at 07.04.2020 01:11 and in 2019 2020",
    "request id=10000000146",
    "pages 100-200-3000 and 1-800 items",
    "range(1000, 2000, 300) or 123 456 7891",
    "ISBN 978-0-13-110362-7",
    "DE00370400440532013000",
    "SSN 000-12-3456",
    "00:00:00:00:00:00 and ff:ff:ff:ff:ff:ff",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
]


@pytest.mark.parametrize(("rule", "text"), POSITIVES)
@pytest.mark.parametrize("frame", ["{}", "Über uns: {}, bitte.", "({})", "a\n{}\nb", "It is {}."])
def test_finds(detector: PersonalDataDetector, rule: str, text: str, frame: str) -> None:
    assert Finding(rule, FindingKind.PERSONAL_DATA, 1) in detector.detect(frame.format(text))


@pytest.mark.parametrize("text", NEGATIVES)
def test_leaves(detector: PersonalDataDetector, text: str) -> None:
    assert detector.detect(text) == ()


def test_pythons_own_reference_holds_nothing(detector: PersonalDataDetector, masker: SecretMasker) -> None:
    fired = {}
    for name, topic in pydoc_data.topics.topics.items():
        masked = masker.mask(topic)
        found = (*masked.findings, *detector.detect(masked.text))
        if found:
            fired[name] = found
    assert fired == {}


def test_counts_places_not_patterns(detector: PersonalDataDetector) -> None:
    found = detector.detect("tel +1 212-555-1234, tel (415) 555-2671; bob@acme.com and eve@acme.com")
    assert {(f.rule, f.count) for f in found} == {("phone", 2), ("email", 2)}


def test_stops_counting_when_the_tier_is_long_decided(detector: PersonalDataDetector) -> None:
    (finding,) = detector.detect("bob@acme.com " * 10_000)
    assert finding == Finding("email", FindingKind.PERSONAL_DATA, COUNTED)


def _random_of(characters: str) -> str:
    return "".join(random.Random(7).choices(characters, k=MIB))


def _hostile() -> dict[str, str]:
    return {
        "letters": "a" * MIB,
        "digits": "1" * MIB,
        "random digits": _random_of("0123456789"),
        "at signs": "@" * MIB,
        "spaces": " " * MIB,
        "colons": ":" * MIB,
        "a long name": "a" * MIB + "@b",
        "a long dotted name": "a." * (MIB // 2) + "@example.com",
        "documentation mail": "user@example.com " * (MIB // 17),
        "loopback": "127.0.0.1 " * (MIB // 10),
        "half numbers": "call me 123" * (MIB // 11),
        "hex": _random_of("0123456789abcdef-"),
        "wide": "é漢" * (MIB // 5),
    }


@pytest.mark.parametrize("name", sorted(_hostile()))
def test_a_mebibyte_made_to_be_slow_is_not(detector: PersonalDataDetector, name: str) -> None:
    text = _hostile()[name]
    began = time.process_time()
    detector.detect(text)
    assert time.process_time() - began < 5  # measured: 0.003 to 0.8 s; quadratic would take minutes


def test_memory_stays_flat_over_many_different_texts(detector: PersonalDataDetector, masker: SecretMasker) -> None:
    def classify(number: int) -> None:
        detector.detect(masker.mask(f"user{number}@acme{number}.com called +1 212 555 {number:04d}, word{number}").text)

    for number in range(200):  # the suffix list and the telephone metadata load here
        classify(number)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(200, 1200):
        classify(number)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 256 * 1024


class _Raises:
    def find(self, text: str) -> Iterable[Hit]:
        raise RuntimeError("a recogniser broke")


def test_a_recogniser_that_raises_is_not_taken_for_an_all_clear(recognisers: Mapping[str, Recogniser]) -> None:
    detector = PersonalDataDetector({**recognisers, "email": _Raises()})
    with pytest.raises(RuntimeError):
        detector.detect("bob@acme.com")


def test_every_rule_has_its_recogniser() -> None:
    with pytest.raises(KeyError):
        PersonalDataDetector({}, [PersonalRule("x", "x", "nobody")])
