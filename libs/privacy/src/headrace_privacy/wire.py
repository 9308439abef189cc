"""Text and vectors as they travel. Sealing is decided here alone, so that no service has to know whether it happens."""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence

from headrace.privacy.v1.privacy_pb2 import ProtectedText, ProtectedVector

from headrace_privacy.text import Text
from headrace_privacy.tier import Tier


class Sealed(Exception):
    """The content is sealed and this process holds no key for it."""


def protect(text: Text) -> ProtectedText:
    """Makes text ready to travel."""
    return ProtectedText(plain=text.reveal(), characters=len(text))


def reveal(content: ProtectedText, tier: Tier) -> Text:
    """Opens text that travelled. Raises Sealed when it cannot be opened here."""
    if content.WhichOneof("content") == "sealed":
        raise Sealed("text is sealed")
    return Text(content.plain, tier)


def protect_vector(values: Sequence[float]) -> ProtectedVector:
    """Makes a vector of single-precision numbers ready to travel."""
    numbers = array.array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return ProtectedVector(float32=numbers.tobytes(), dimensions=len(numbers))


def reveal_vector(content: ProtectedVector) -> array.array[float]:
    """Opens a vector that travelled, in single precision. Raises Sealed, or ValueError on a torn one."""
    if content.WhichOneof("content") == "sealed":
        raise Sealed("vector is sealed")
    if len(content.float32) != 4 * content.dimensions:
        raise ValueError(f"a vector of {content.dimensions} dimensions has {len(content.float32)} bytes")
    numbers = array.array("f")
    numbers.frombytes(content.float32)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
