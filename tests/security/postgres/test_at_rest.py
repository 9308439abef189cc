"""What lies in the server's files: no word of TIER_2 while it is indexed, and nothing of anybody once it is removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_embedded.servers.postgres import PostgresServer
from headrace_privacy import Tier
from headrace_retriever.domain import Embedder
from headrace_retriever.testing import document, put, removal, towards, write

pytestmark = pytest.mark.real

EMBEDDER = Embedder("made-up", 384, "00")


@pytest_asyncio.fixture
async def store(whole: testing.Database) -> AsyncIterator[Database]:
    async with open_database(whole.dsn("retriever"), schema="retriever") as opened:
        yield opened


@pytest_asyncio.fixture
async def classifier(whole: testing.Database) -> AsyncIterator[Database]:
    async with open_database(whole.dsn("classifier"), schema="classifier", connections=1) as opened:
        yield opened


async def index(store: Database, document_id: str, words: str, *, tier: Tier) -> None:
    """Indexes one passage."""
    vector = towards(0, dimensions=EMBEDDER.dimensions)
    change = put(document(document_id, tenant="rests"), [f"It says {words}."], [vector], tier=tier, embedder=EMBEDDER)
    assert await write(store, change) is not None


def files_with(server: PostgresServer, word: str) -> list[str]:
    """The server's files in which a word can be read: as it is, in small letters, or in UTF-16."""
    folder = (server.folder / "data").resolve()
    forms = {form.encode(coding) for form in (word, word.lower()) for coding in ("utf-8", "utf-16-le")}
    found = [path for path in folder.rglob("*") if path.is_file() and _holds(path, forms)]
    return sorted(str(path.relative_to(folder)) for path in found) + [
        server.log.name for form in forms if form in server.log.read_bytes()
    ]


def _holds(path: Path, forms: set[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # a segment that a checkpoint took away meanwhile
        return False
    return any(form in content for form in forms)


async def test_no_word_of_tier_2_is_in_any_file(
    postgres: PostgresServer, whole: testing.Database, store: Database
) -> None:
    await index(store, "secret", "Quarzelblum", tier=Tier.TIER_2)
    await index(store, "open", "Zimtkrokant", tier=Tier.PUBLIC)
    await store.vacuum("chunks", "documents")
    superuser = await asyncpg.connect(whole.superuser)
    await superuser.execute("CHECKPOINT")
    await superuser.close()
    assert files_with(postgres, "Quarzelblum") == []
    assert files_with(postgres, "Zimtkrokant") != []  # so the search finds what is there


async def test_what_is_removed_rewritten_and_checkpointed_is_in_no_file(
    postgres: PostgresServer, whole: testing.Database, store: Database, classifier: Database
) -> None:
    await index(store, "going", "Mandelwolke", tier=Tier.PUBLIC)
    await index(store, "staying", "Nougatregen", tier=Tier.PUBLIC)
    await write(store, removal(document("going", tenant="rests", version=2)))
    assert files_with(postgres, "Mandelwolke") != []
    await store.rewrite("chunks", "documents")
    await classifier.checkpoint()
    assert files_with(postgres, "Mandelwolke") == []
    assert files_with(postgres, "Nougatregen") != []


async def test_only_who_closes_erasures_may_have_the_log_removed(store: Database) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await store.checkpoint()


async def test_a_service_vacuums_its_own_tables_and_no_others(whole: testing.Database, store: Database) -> None:
    await store.vacuum("chunks", "documents", "tallies")
    async with open_database(whole.dsn("feedback"), schema="retriever", connections=1) as stranger:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await stranger.vacuum("chunks")
