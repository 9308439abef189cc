"""What is sealed, what opens it, and what happens when the key is gone."""

from __future__ import annotations

import struct

import pytest
from headrace.document.v1.document_pb2 import Document
from headrace.privacy.v1.privacy_pb2 import ProtectedText, ProtectedVector
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace_privacy import DataKey, Erased, Opener, Owner, Seal, Tampered, Text, Tier, Vault, is_sealed, plain_vector
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.sealing import key_ids_of
from hypothesis import given
from hypothesis import strategies as st

CANARY = "zebra-7731 über"
SUBJECT = Owner.subject("acme", "user-17")
DOCUMENT = Owner.document("acme", "contracts", "a/b.md")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keyring() -> MemoryKeyring:
    return MemoryKeyring()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vault(keyring: MemoryKeyring, clock: Clock) -> Vault:
    return Vault(keyring, clock=clock)


@pytest.mark.parametrize(
    ("owner", "tier", "sealed"),
    [
        (SUBJECT, Tier.PUBLIC, True),
        (SUBJECT, Tier.TIER_2, True),
        (DOCUMENT, Tier.PUBLIC, False),
        (DOCUMENT, Tier.TIER_1, False),
        (DOCUMENT, Tier.TIER_2, True),
    ],
)
async def test_seals_tier_2_and_all_that_an_end_user_owns(vault: Vault, owner: Owner, tier: Tier, sealed: bool) -> None:
    content = (await vault.seal_for(owner)).protect(Text(CANARY, tier))
    assert is_sealed(content) is sealed
    assert (CANARY.encode() in content.SerializeToString()) is not sealed
    opened = (await vault.opener_for(content)).reveal(content, tier)
    assert (opened.reveal(), opened.tier, content.characters) == (CANARY, tier, len(CANARY))


async def test_a_vector_comes_back_as_it_went(vault: Vault) -> None:
    seal = await vault.seal_for(DOCUMENT)
    content = seal.protect_vector([0.5, -1.25, 3.0], Tier.TIER_2)
    assert is_sealed(content)
    assert content.dimensions == 3
    assert list((await vault.opener_for(content)).reveal_vector(content)) == [0.5, -1.25, 3.0]


async def test_labels_are_sealed_with_the_text(vault: Vault) -> None:
    seal = await vault.seal_for(DOCUMENT)
    plain = Document(tenant="acme", source="contracts", document_id="a/b.md", version=3, title=CANARY, uri="file:///x")
    sealed = seal.seal_labels(plain, Tier.TIER_2)
    assert (sealed.title, sealed.uri, sealed.version) == ("", "", 3)
    assert CANARY.encode() not in sealed.SerializeToString()
    assert (await vault.opener_for(sealed)).open_labels(sealed) == plain
    assert seal.seal_labels(plain, Tier.TIER_1) == plain


async def test_one_opener_opens_all_that_a_message_holds(vault: Vault, keyring: MemoryKeyring) -> None:
    mine, theirs = await vault.seal_for(SUBJECT), await vault.seal_for(DOCUMENT)
    reference = theirs.seal_labels(ChunkReference(headings=["One", CANARY]), Tier.TIER_2)
    chunk = RetrievedChunk(reference=reference, text=theirs.protect(Text("passage", Tier.TIER_2)))
    message = QueryRetrieved(text=mine.protect(Text(CANARY, Tier.PUBLIC)), chunks=[chunk])
    assert key_ids_of(message) == {mine.key.key_id, theirs.key.key_id}
    opener = await Vault(keyring, clock=Clock()).opener_for(message)
    assert opener.reveal(message.text, Tier.PUBLIC).reveal() == CANARY
    assert opener.reveal(message.chunks[0].text, Tier.TIER_2).reveal() == "passage"
    assert list(opener.open_labels(message.chunks[0].reference).headings) == ["One", CANARY]


async def test_a_destroyed_key_opens_nothing_more(vault: Vault, keyring: MemoryKeyring) -> None:
    content = (await vault.seal_for(SUBJECT)).protect(Text(CANARY, Tier.TIER_2))
    keyring.destroy(SUBJECT)
    vault.forget()
    with pytest.raises(Erased):
        (await vault.opener_for(content)).reveal(content, Tier.TIER_2)
    again = (await vault.seal_for(SUBJECT)).protect(Text("new", Tier.TIER_2))
    assert again.sealed.key_id != content.sealed.key_id


async def test_what_is_made_of_something_goes_with_it(vault: Vault, keyring: MemoryKeyring) -> None:
    """Whoever opened a question a moment before it was erased must not seal its answer under the next key."""
    question = (await vault.seal_for(SUBJECT)).protect(Text(CANARY, Tier.TIER_2))
    keyring.destroy(SUBJECT)
    assert (await vault.seal_like(question, SUBJECT)).key.key_id == question.sealed.key_id
    vault.forget()
    with pytest.raises(Erased):
        await vault.seal_like(question, SUBJECT)
    plain = ProtectedText(plain="What?")
    assert (await vault.seal_like(plain, DOCUMENT)).key == await vault.key_of(DOCUMENT)


async def test_labels_of_what_is_erased_are_left_out(vault: Vault, keyring: MemoryKeyring) -> None:
    sealed = (await vault.seal_for(DOCUMENT)).seal_labels(Document(title=CANARY, version=3), Tier.TIER_2)
    assert (await vault.opener_for(sealed)).readable_labels(sealed).title == CANARY
    assert Opener().readable_labels(sealed) == Document(version=3)


async def test_a_held_key_ends_by_time(vault: Vault, keyring: MemoryKeyring, clock: Clock) -> None:
    content = (await vault.seal_for(SUBJECT)).protect(Text(CANARY, Tier.TIER_2))
    keyring.destroy(SUBJECT)
    assert (await vault.opener_for(content)).reveal(content, Tier.TIER_2).reveal() == CANARY
    clock.now = 60.0
    with pytest.raises(Erased):
        (await vault.opener_for(content)).reveal(content, Tier.TIER_2)


async def test_a_key_fetched_before_an_erasure_is_not_held_after_it(keyring: MemoryKeyring, clock: Clock) -> None:
    class Slow:
        async def issue(self, owner: Owner):  # type: ignore[no-untyped-def]
            key = await keyring.issue(owner)
            vault.forget()
            keyring.destroy(owner)
            return key

        open = keyring.open

    vault = Vault(Slow(), clock=clock)
    content = (await vault.seal_for(SUBJECT)).protect(Text(CANARY, Tier.TIER_2))
    with pytest.raises(Erased):
        (await vault.opener_for(content)).reveal(content, Tier.TIER_2)


async def test_what_was_changed_or_moved_to_another_key_is_found_out(vault: Vault) -> None:
    seal, other = await vault.seal_for(SUBJECT), await vault.seal_for(DOCUMENT)
    content = seal.protect(Text(CANARY, Tier.TIER_2))
    opener = Opener({key.key_id: key for key in (seal.key, other.key)})
    for spoil in ("ciphertext", "nonce"):
        forged = ProtectedText()
        forged.CopyFrom(content)
        value = getattr(forged.sealed, spoil)
        setattr(forged.sealed, spoil, bytes([value[0] ^ 1]) + value[1:])
        with pytest.raises(Tampered):
            opener.reveal(forged, Tier.TIER_2)
    content.sealed.key_id = other.key.key_id
    with pytest.raises(Tampered):
        opener.reveal(content, Tier.TIER_2)


async def test_no_two_sealings_are_alike(vault: Vault) -> None:
    seal = await vault.seal_for(SUBJECT)
    sealings = {seal.protect(Text(CANARY, Tier.TIER_2)).sealed.ciphertext for _ in range(50)}
    assert len(sealings) == 50


async def test_nothing_prints_a_key_or_a_subject(vault: Vault) -> None:
    seal: Seal = await vault.seal_for(SUBJECT)
    shown = f"{seal!r} {seal.key!r} {Opener({'a': seal.key})!r}"
    assert "user-17" not in shown
    assert repr(seal.key.secret) not in shown


singles = st.floats(width=32, allow_nan=False)
SEALS = [Seal(owner, DataKey("k-1", b"k" * 32)) for owner in (SUBJECT, DOCUMENT)]
READER = Opener({"k-1": DataKey("k-1", b"k" * 32)})


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from(Tier), st.sampled_from(SEALS))
def test_text_comes_back_sealed_or_not(value: str, tier: Tier, seal: Seal) -> None:
    text = Text(value, tier)
    travelled = ProtectedText.FromString(seal.protect(text).SerializeToString())
    assert travelled.characters == len(value)
    assert READER.reveal(travelled, tier) == text


@given(st.lists(singles, max_size=400), st.sampled_from(Tier), st.sampled_from(SEALS))
def test_a_vector_comes_back_sealed_or_not(values: list[float], tier: Tier, seal: Seal) -> None:
    travelled = ProtectedVector.FromString(seal.protect_vector(values, tier).SerializeToString())
    assert travelled.dimensions == len(values)
    assert list(READER.reveal_vector(travelled)) == values


def test_a_vector_travels_in_little_endian_single_precision() -> None:
    assert plain_vector([1.0, -2.5]).float32 == struct.pack("<2f", 1.0, -2.5)


@pytest.mark.parametrize("content", [b"", bytes(7), bytes(4), bytes(12)])
def test_a_torn_vector_is_not_opened(content: bytes) -> None:
    with pytest.raises(ValueError, match="2 dimensions"):
        READER.reveal_vector(ProtectedVector(float32=content, dimensions=2))


def test_who_has_no_key_opens_nothing() -> None:
    text, vector = ProtectedText(characters=3), ProtectedVector(dimensions=2)
    text.sealed.ciphertext = vector.sealed.ciphertext = b"x"
    for reading in (lambda: Opener().reveal(text, Tier.PUBLIC), lambda: Opener().reveal_vector(vector)):
        with pytest.raises(Erased):
            reading()
