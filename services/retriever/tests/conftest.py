"""A migrated schema in a real Postgres, and the spans of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_retriever.testing import make_graphs
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest_asyncio.fixture(scope="module")
async def schema(database: testing.Database) -> testing.Database:
    """A fresh database with the retriever's schema, nothing indexed, and graphs for the tests' small vectors."""
    await database.migrate("retriever")
    connection = await asyncpg.connect(database.superuser)
    try:
        for dimensions in (4, 8, 128):
            await make_graphs(connection, dimensions)
    finally:
        await connection.close()
    return database


@pytest_asyncio.fixture(scope="module")
async def store(schema: testing.Database) -> AsyncIterator[Database]:
    """The schema as the service itself sees it."""
    async with open_database(schema.dsn("retriever"), schema="retriever") as opened:
        yield opened


@pytest.fixture(scope="session")
def span_exporter() -> InMemorySpanExporter:
    """Keeps every span of this process from here on. There is one provider a process: whoever comes first makes it."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    provider, exporter = trace.get_tracer_provider(), InMemorySpanExporter()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter
