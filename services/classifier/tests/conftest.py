"""What the tests of the classifier share: loading presidio takes seconds, so once is enough."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from uuid import uuid4

import pytest
import pytest_asyncio
from headrace_classifier.adapters.presidio import load_recognisers
from headrace_classifier.detection import PersonalDataDetector
from headrace_classifier.ports import Recogniser
from headrace_classifier.secret_masker import SecretMasker
from headrace_database import Database, open_database
from headrace_embedded import testing


@pytest.fixture(scope="session")
def recognisers() -> Mapping[str, Recogniser]:
    return load_recognisers()


@pytest.fixture(scope="session")
def detector(recognisers: Mapping[str, Recogniser]) -> PersonalDataDetector:
    return PersonalDataDetector(recognisers)


@pytest.fixture(scope="session")
def masker() -> SecretMasker:
    return SecretMasker()


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return f"t-{uuid4().hex[:12]}"


@pytest_asyncio.fixture(scope="module")
async def schema(database: testing.Database) -> testing.Database:
    """A fresh database with the service's schema, nothing in it."""
    await database.migrate("classifier")
    return database


@pytest_asyncio.fixture(scope="module")
async def opened(schema: testing.Database) -> AsyncIterator[Database]:
    """The schema as the service itself sees it."""
    async with open_database(schema.dsn("classifier"), schema="classifier") as database:
        yield database
