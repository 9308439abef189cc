"""Names, addresses, code and identifiers, in the open and in disguise; a long-lived detector does not grow."""

from __future__ import annotations

import base64
import pydoc_data.topics
import random
import string
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence

import pytest
from headrace_classifier.adapters.names import load_person_model
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.dictionary import Dictionary
from headrace_classifier.inspection import MODEL_CHARACTERS, TextDetector
from headrace_classifier.name_shapes import load_name_shapes
from headrace_classifier.name_words import load_given_names
from headrace_classifier.names import LONG, NameReader
from headrace_classifier.ports import Recogniser
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.verdict import Finding, FindingKind
from hypothesis import given, settings
from hypothesis import strategies as st

PERSONAL, CODE = FindingKind.PERSONAL_DATA, FindingKind.CUSTOMER_CODE


@pytest.fixture(scope="module")
def reader() -> NameReader:
    return NameReader(load_given_names(), load_name_shapes())


@pytest.fixture(scope="module")
def whole(recognisers: Mapping[str, Recogniser], reader: NameReader) -> TextDetector:
    """Without a model: what is certain by rules."""
    return TextDetector(PersonalDataDetector(recognisers), reader, None)


def rules(found: Iterable[Finding]) -> set[str]:
    return {finding.rule for finding in found}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Dear Mr Okonkwo, thank you.", "Okonkwo"),
        ("Hi Brunhilde, any news?", "Brunhilde"),
        ("my name is quentin varga", "quentin varga"),
        ('{"customer_name": "Bergljot Quux"}', "Bergljot Quux"),
        ("Kind regards,\nAnselm Petrosyan\n", "Anselm Petrosyan"),
        ("I asked Heike D. Brandt about it.", "Heike D. Brandt"),
        ("From: Quirin Otxoa <q@acme.com>", "Quirin Otxoa"),
        ("invoice for BRANDT, HEIKE", "BRANDT, HEIKE"),
        ("invoice for Brandt, Heike", "Brandt, Heike"),
        ("user=heike.brandt logged in", "heike.brandt"),
        ("Courtney Black said so", "Courtney Black"),
    ],
)
def test_names(reader: NameReader, text: str, name: str) -> None:
    assert [text[start:end] for start, end in reader.read(text).names] == [name] * bool(name)


@pytest.mark.parametrize(
    "text",
    [
        "Visual Studio Code and Salt Lake City",
        "Hello World! Dear Customer, Hi Team",
        "The Victoria Line and Jordan River",
        "Red Hat Enterprise Linux in New York",
        "class UserName(BaseModel): pass",
        "Thread.sleep(10) and Map.Entry",
        "What does the nonlocal statement do?",
    ],
)
def test_no_names(whole: TextDetector, text: str) -> None:
    assert "person-name" not in rules(whole.detect(text))


@pytest.mark.parametrize(
    "address",
    [
        "12 High Street, Leeds LS1 4AB",
        "Hauptstraße 12, 10115 Berlin",
        "12, rue de la Paix\n75001 Paris",
        "1600 Pennsylvania Avenue, Washington, DC 20500",
        "Calle de Alcalá 45",
        "Via Garibaldi 7",
        "ul. Długa 12/3",
        "Kungsgatan 14",
        "Rua Augusta, 1500",
        "Keizersgracht 126",
    ],
)
@pytest.mark.parametrize("frame", ["It goes to {}.", '"ship_to": "{}"'])
def test_addresses(whole: TextDetector, address: str, frame: str) -> None:
    assert "postal-address" in rules(whole.detect(frame.format(address)))


@pytest.mark.parametrize(
    "text",
    ["Chapter 12, Section 3", "version 10 of Windows", "see page 14 and 15", "order AB12 3CD", "Step 3 Way 2 go"],
)
def test_no_addresses(whole: TextDetector, text: str) -> None:
    assert "postal-address" not in rules(whole.detect(text))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("code-fence", "why?\n```\nx = 1\n```"),
        ("shebang", "#!/bin/sh\nls"),
        ("import-header", "import os\nfrom a.b import c\n"),
        ("patch", "diff --git a/x b/x\n"),
        ("patch", "@@ -1,2 +1,3 @@"),
        ("stack-trace", "Traceback (most recent call last):"),
        ("stack-trace", "\tat com.acme.Pay.run(Pay.java:31)"),
        ("licence-header", "Copyright (c) 2024 Acme BV. All rights reserved."),
        ("pasted-code", "def f(x):\n    y = x + 1\n    return y\n"),
        ("pasted-code", "public int f(int x) {\n  return x + 1;\n}\n"),
    ],
)
def test_code(whole: TextDetector, rule: str, text: str) -> None:
    assert rule in {finding.rule for finding in whole.detect(text) if finding.kind is CODE}


@pytest.mark.parametrize(
    "text",
    [
        "How do I import a class from another package?",
        "Please return the item; if it fits, keep it.\nThanks.\nBest",
        '{\n "a": 1,\n "b": 2\n}',
        "Dear all,\nthe class meets at 5.\nSee you\nthere",
    ],
)
def test_no_code(whole: TextDetector, text: str) -> None:
    assert not any(finding.kind is CODE for finding in whole.detect(text))


def test_pythons_own_reference_holds_nobody(whole: TextDetector) -> None:
    fired = {
        name: found
        for name, topic in pydoc_data.topics.topics.items()
        if (found := [f for f in whole.detect(topic) if f.kind is not CODE])
    }
    assert fired == {}


@pytest.mark.parametrize(
    "text",
    [
        "an\u200bna@acme.de",
        "аnnа@асmе.dе",
        "ａｎｎａ＠ａｃｍｅ．ｄｅ",
        "anna%40acme.de",
        "a n n a @ a c m e . d e",
        base64.b64encode(b"write to anna@acme.de please").decode(),
        base64.b64encode(base64.b64encode(b"write to anna@acme.de please")).decode(),
    ],
)
def test_sees_through_disguises(whole: TextDetector, text: str) -> None:
    assert "email" in rules(whole.detect(f"mail {text} thanks"))


def test_identifiers_count_also_in_disguise(whole: TextDetector) -> None:
    found = whole.detect("about Blue\u200bbird and bluebird", Dictionary.of(["bluebird"]))
    assert Finding("dictionary", FindingKind.IDENTIFIER, 2) in found


class _Nobody:
    def persons(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        raise AssertionError(f"asked about {len(texts)} sentences")


@pytest.mark.parametrize(
    "text", ["they met Wexley Forthbridge over there", "does Crystal Kettle work with Silver Creek?"]
)
def test_the_model_is_not_asked_about_a_short_text(
    recognisers: Mapping[str, Recogniser], reader: NameReader, text: str
) -> None:
    TextDetector(PersonalDataDetector(recognisers), reader, _Nobody()).detect(text)


@pytest.mark.parametrize(
    "text",
    [
        "is Zdeňka Hrubešová still working for you?",
        "the contract is with Thandolwethu Mbekizwe, not with us",
        "audit: document signed by Ingibjörg Þorsteinsdóttir at 10:11",
        "INSERT INTO leads (name) VALUES ('Ousmane Diarrassouba');",
        "the keys are in the drawer.\n\nSee you\nSvetlana Vorobyeva",
    ],
)
def test_names_that_no_list_has_are_known_by_their_shape(reader: NameReader, text: str) -> None:
    assert reader.read(text).names


@pytest.mark.parametrize(
    "text",
    [
        "does Ada Router work with 2.3.1?",
        "my Ralph Lauren arrived broken",
        "how do I configure Felix Dashboard on our servers?",
        '{"product": "Clara Bennett", "region": "Charlotte Amalie"}',
        '{"from": "Madrid", "to": "Lisbon"}',
        "Kind regards,\nHooli Billing",
        "we open in Santiago Nuevo next spring",
    ],
)
def test_what_is_named_like_a_person_is_none(reader: NameReader, text: str) -> None:
    assert reader.read(text).names == ()


class _NoOne:
    def persons(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[] for _ in texts]


def test_what_the_model_could_not_be_shown_is_unsure(recognisers: Mapping[str, Recogniser], reader: NameReader) -> None:
    detector = TextDetector(PersonalDataDetector(recognisers), reader, _NoOne())
    sentence = "they met Wexley Forthbridge over there. "
    assert detector.detect(sentence * (LONG // len(sentence) + 1)) == ()
    assert rules(detector.detect(sentence * (MODEL_CHARACTERS // 20))) == {"names-unread"}


@given(st.text(max_size=300))
@settings(deadline=None)
def test_no_text_makes_it_raise(whole: TextDetector, masker: SecretMasker, text: str) -> None:
    whole.detect(masker.mask(text).text)


DISGUISES = [
    "\u200b".join,
    lambda s: s.translate({ord(a): b for a, b in zip("aeopcx", "аеорсх", strict=True)}),
    lambda s: "".join(chr(ord(c) + 0xFEE0) for c in s),
    lambda s: "".join(f"%{ord(c):02X}" for c in s),
    lambda s: base64.b64encode(s.encode()).decode(),
    "\x00".join,
    str,
]


@given(
    st.sampled_from(DISGUISES), st.randoms(use_true_random=False), st.text(st.characters(codec="utf-8"), max_size=30)
)
@settings(deadline=None)
def test_no_key_survives_masking_and_masking_twice_changes_nothing(
    masker: SecretMasker, disguise: object, rng: random.Random, around: str
) -> None:
    key = "ghp_" + "".join(rng.choices(string.ascii_letters + string.digits, k=36))
    hidden = disguise(key)  # type: ignore[operator]
    masked = masker.mask(f"{around} {hidden} {around}").text
    assert hidden not in masked
    assert masker.mask(masked).text == masked


@pytest.mark.models
def test_a_model_decides_what_rules_leave_open(recognisers: Mapping[str, Recogniser], reader: NameReader) -> None:
    model = load_person_model()
    assert model is not None
    detector = TextDetector(PersonalDataDetector(recognisers), reader, model)
    sentence = "Yesterday we met Marlow Tennant and were told to wait. "
    assert rules(detector.detect(sentence * (LONG // len(sentence) + 1))) == {"person-name"}


@pytest.mark.models
def test_the_models_vocabulary_does_not_grow() -> None:
    model = load_person_model()
    rng = random.Random(5)

    def sentence() -> str:
        words = ["".join(rng.choices(string.ascii_lowercase, k=9)).title() for _ in range(6)]
        return f"we met {' '.join(words)} there"

    assert model is not None
    model.persons([sentence() for _ in range(100)])
    strings = len(model._pipeline.vocab.strings)  # type: ignore[attr-defined]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(40):
        model.persons([sentence() for _ in range(50)])
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(model._pipeline.vocab.strings) == strings  # type: ignore[attr-defined]
    assert grown < 512 * 1024
