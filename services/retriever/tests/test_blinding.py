"""No word rests as it is; what the database computes is HMAC-SHA-256, and scores stay what they were."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid

import asyncpg
import pytest
from headrace_database import Database
from headrace_embedded import testing
from headrace_privacy import Tier
from headrace_retriever.adapters import statements
from headrace_retriever.adapters.postgres import PostgresIndex, PostgresShelf
from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import Tuning
from headrace_retriever.testing import BLINDING, KEY, NOW, ask, document, put, question, towards, write

TEXT = "The Zanzibar statement, said Quillfeather; `async zanzibar` is quillfeather's."


def expected(word: str, secret: bytes) -> str:
    """A word's hash, by the standard library."""
    key = hmac.digest(secret, b"headrace full-text words 1", "sha256")
    return base64.b64encode(hmac.new(key, word.encode(), hashlib.sha256).digest()[:9]).decode()


def test_pads_are_in_no_repr() -> None:
    assert repr(BLINDING) == "Blinding()"


@pytest.mark.real
@pytest.mark.parametrize("word", ["zanzibar", "émigré", "`async with", "it's", "\\", "a" * 500])
async def test_the_database_computes_the_standards_hash(store: Database, word: str) -> None:
    sql = statements.blinded("$1::text", inner="$2::bytea", outer="$3::bytea")
    async with store.transaction() as connection:
        computed = await connection.fetchval(f"SELECT {sql}", word, BLINDING.inner, BLINDING.outer)
    assert computed == expected(word, KEY.secret)


@pytest.mark.real
@pytest.mark.parametrize("tier", list(Tier))
async def test_no_word_rests_and_every_place_and_weight_does(
    schema: testing.Database, store: Database, tier: Tier
) -> None:
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    await write(store, put(document("blind", tenant=tenant), [TEXT], [towards(0)], tier=tier))
    connection = await asyncpg.connect(schema.superuser)
    try:
        words = await connection.fetchval("SELECT words::text FROM retriever.chunks WHERE tenant = $1", tenant)
        row = await connection.fetchval("SELECT c::text FROM retriever.chunks c WHERE tenant = $1", tenant)
    finally:
        await connection.close()
    assert "zanzibar" not in words.lower()
    assert "quillfeather" not in words.lower()
    assert f"'{expected('zanzibar', KEY.secret)}':" in words
    async with store.transaction() as plain:
        clear = await plain.fetchval(
            "SELECT (setweight(to_tsvector('english', $1), 'B') || to_tsvector('english', $2)"
            " || $3::text::tsvector)::text",
            "Title of blind\nTop",
            TEXT,
            "'`async zanzibar':1B",
        )
    assert sorted(places(words)) == sorted(places(clear))
    if tier is Tier.TIER_2:
        assert TEXT.encode().hex() not in row
        assert b"Title of".hex() not in row


def places(words: str) -> list[str]:
    """The places and weights of a tsvector's text, whatever its words."""
    return [part.rsplit("':", 1)[1] for part in words.split(" '")]


@pytest.mark.real
async def test_another_tenants_key_finds_nothing(store: Database) -> None:
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    change = put(document("blind", tenant=tenant), [TEXT], [towards(0)])
    async with store.transaction(tenant=tenant) as connection:
        await PostgresShelf(connection).apply(change, blinding=Blinding.of(b"another's" * 4), now=NOW)
    found = await ask(PostgresIndex(store, tuning=Tuning()), question("zanzibar", towards(3), tenant=tenant))
    assert [passage.text_rank for passage in found.passages] == [0]


@pytest.mark.real
async def test_a_text_without_words_can_be_indexed(store: Database) -> None:
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    change = put(document("", tenant=tenant), ["the of and"], [towards(0)])
    assert await write(store, change) is not None


@pytest.mark.real
async def test_tier_2_in_the_clear_is_refused_by_the_database_itself(store: Database) -> None:
    tenant = f"t-{uuid.uuid4().hex[:12]}"
    await write(store, put(document("open", tenant=tenant), [TEXT], [towards(0)]))
    for column, value in (("text", b"\x0a\x01a"), ("labels", b"\x2a\x01T")):
        with pytest.raises(asyncpg.CheckViolationError, match="tier_2_rests_sealed"):
            async with store.transaction(tenant=tenant) as connection:
                await connection.execute(f"UPDATE chunks SET tier = 3, {column} = $1", value)
