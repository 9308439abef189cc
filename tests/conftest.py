"""The whole of Headrace for the tests that cross services: real Kafka, real Postgres, real models, one process each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pydoc_data.topics import topics

import pytest
from headrace_client import Client
from headrace_embedded.trial import Trial, running

#: A few topics of Python's language reference: enough to answer from, little enough to embed in seconds.
TOPICS = (
    "nonlocal",
    "global",
    "del",
    "pass",
    "assert",
    "break",
    "continue",
    "while",
    "raise",
    "lambda",
    "yield",
    "with",
)


@pytest.fixture(scope="session")
def stack() -> Iterator[Trial]:
    """Headrace as `make up` brings it up."""
    with running({}) as up:
        yield up


async def _put_topics(client: Client) -> None:
    for name in TOPICS:
        await client.put_document(
            topics[name].encode(),
            tenant="demo",
            source="python-reference",
            document_id=name,
            media_type="text/plain",
            declared_tier=1,  # TIER_PUBLIC
        )


@pytest.fixture(scope="session")
def put_topics() -> Callable[[Client], Awaitable[None]]:
    """Puts the documents that the questions of these tests are about: `await put_topics(client)`."""
    return _put_topics


@pytest.fixture(scope="session")
async def client(stack: Trial) -> AsyncIterator[Client]:
    """A client of it, with a few documents put."""
    async with Client.connect(stack.endpoints) as connected:
        await _put_topics(connected)
        yield connected
