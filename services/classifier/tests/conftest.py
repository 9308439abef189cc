"""What the tests of the classifier share: loading presidio takes seconds, so once is enough."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from headrace_classifier.adapters.presidio import load_recognisers
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.ports import Recogniser
from headrace_classifier.secret_masker import SecretMasker


@pytest.fixture(scope="session")
def recognisers() -> Mapping[str, Recogniser]:
    return load_recognisers()


@pytest.fixture(scope="session")
def detector(recognisers: Mapping[str, Recogniser]) -> PersonalDataDetector:
    return PersonalDataDetector(recognisers)


@pytest.fixture(scope="session")
def masker() -> SecretMasker:
    return SecretMasker()
