"""Presidio's recognisers, one by one: no analyzer engine, no language model, nothing fetched."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from headrace_classifier.ports import Hit, Recogniser

#: Which of presidio's classes stands behind which recogniser of the rules.
_CLASSES = {
    "ip-address": "IpRecognizer",
    "mac-address": "MacAddressRecognizer",
    "iban": "IbanRecognizer",
    "crypto-wallet": "CryptoRecognizer",
    "us-ssn": "UsSsnRecognizer",
    "us-itin": "UsItinRecognizer",
    "us-passport": "UsPassportRecognizer",
    "us-driver-license": "UsLicenseRecognizer",
    "us-bank-account": "UsBankRecognizer",
    "us-medical-license": "MedicalLicenseRecognizer",
    "uk-nhs": "NhsRecognizer",
    "uk-nino": "UkNinoRecognizer",
    "es-nif": "EsNifRecognizer",
    "es-nie": "EsNieRecognizer",
    "it-fiscal-code": "ItFiscalCodeRecognizer",
    "pl-pesel": "PlPeselRecognizer",
    "de-tax-id": "DeTaxIdRecognizer",
    "in-aadhaar": "InAadhaarRecognizer",
    "in-pan": "InPanRecognizer",
    "sg-nric": "SgFinRecognizer",
    "fi-hetu": "FiPersonalIdentityCodeRecognizer",
    "au-tfn": "AuTfnRecognizer",
    "au-medicare": "AuMedicareRecognizer",
    "kr-rrn": "KrRrnRecognizer",
}

#: Presidio imports these where they are installed, though we use none of its models. With torch and transformers beside
#: it (as on one machine with the other services) its import takes 13 s and 810 MB, without them 4 s and 108 MB.
UNUSED = ("torch", "transformers", "stanza", "gliner", "langextract", "spacy_huggingface_pipelines")


class PresidioRecogniser:
    """One of presidio's recognisers."""

    def __init__(self, recogniser: Any) -> None:
        """Takes an instance of an EntityRecognizer."""
        self._recogniser = recogniser
        self._entities = recogniser.supported_entities

    def find(self, text: str) -> Iterable[Hit]:
        """Returns where it fires. Its check digits are already looked at: a wrong one is no hit."""
        found = self._recogniser.analyze(text, self._entities, None)
        return [Hit(result.start, result.end, result.score) for result in found]


def load_recognisers() -> Mapping[str, Recogniser]:
    """Imports presidio and makes every recogniser that the rules name. Takes seconds; reads no network."""
    with without(UNUSED):
        module = importlib.import_module("presidio_analyzer.predefined_recognizers")
    recognisers: dict[str, Recogniser] = {
        key: PresidioRecogniser(getattr(module, name)()) for key, name in _CLASSES.items()
    }
    recognisers["email"] = PresidioRecogniser(_email_recogniser(module))
    return recognisers


def _email_recogniser(module: Any) -> Any:
    """Presidio's own asks a module-wide tldextract, which fetches the list of suffixes; ours reads the packaged one."""
    tldextract = importlib.import_module("tldextract")
    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True)

    class OfflineEmailRecogniser(module.EmailRecognizer):  # type: ignore[misc]
        def validate_result(self, pattern_text: str) -> bool:
            return bool(extract(pattern_text).top_domain_under_public_suffix)

    return OfflineEmailRecogniser()


@contextmanager
def without(names: Iterable[str]) -> Iterator[None]:
    """Makes imports of these fail as if they were not installed, unless somebody imported them already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
