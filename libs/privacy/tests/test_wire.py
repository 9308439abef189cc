"""Text and vectors travel and come back as they were; what is sealed or torn is not opened."""

from __future__ import annotations

import struct

import pytest
from headrace.privacy.v1.privacy_pb2 import ProtectedText, ProtectedVector
from headrace_privacy import Sealed, Text, Tier, protect, protect_vector, reveal, reveal_vector
from hypothesis import given
from hypothesis import strategies as st

singles = st.floats(width=32, allow_nan=False)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from(Tier))
def test_text_comes_back(value: str, tier: Tier) -> None:
    text = Text(value, tier)
    travelled = ProtectedText.FromString(protect(text).SerializeToString())
    assert travelled.characters == len(value)
    assert reveal(travelled, tier) == text


@given(st.lists(singles, max_size=400))
def test_a_vector_comes_back(values: list[float]) -> None:
    travelled = ProtectedVector.FromString(protect_vector(values).SerializeToString())
    assert travelled.dimensions == len(values)
    assert list(reveal_vector(travelled)) == values


def test_a_vector_travels_in_little_endian_single_precision() -> None:
    assert protect_vector([1.0, -2.5]).float32 == struct.pack("<2f", 1.0, -2.5)


@pytest.mark.parametrize("content", [b"", bytes(7), bytes(4), bytes(12)])
def test_a_torn_vector_is_not_opened(content: bytes) -> None:
    with pytest.raises(ValueError, match="2 dimensions"):
        reveal_vector(ProtectedVector(float32=content, dimensions=2))


def test_what_is_sealed_is_not_opened() -> None:
    text, vector = ProtectedText(characters=3), ProtectedVector(dimensions=2)
    text.sealed.ciphertext = vector.sealed.ciphertext = b"x"
    with pytest.raises(Sealed):
        reveal(text, Tier.PUBLIC)
    with pytest.raises(Sealed):
        reveal_vector(vector)
