"""Sealing: what TIER_2 text, vectors and labels look like wherever they travel and rest.

AES-256-GCM (NIST SP 800-38D) under a key of the owner's, with a fresh 96-bit nonce each time and the key's id as
associated data. A nonce repeats with a chance below 2^-32 within 2^32 sealings of one key, which no owner reaches.

    keyring ──issue──▶ key ──▶ Seal   (writes: one owner, one key)
            ──open───▶ keys ─▶ Opener (reads: whatever one message is sealed with)
"""

from __future__ import annotations

import array
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import ProtectedText, ProtectedVector, SealedBytes

from headrace_privacy.owners import Owner, OwnerKind
from headrace_privacy.text import Text
from headrace_privacy.tier import Tier

ALGORITHM = "A256GCM"
NONCE_BYTES = 12
LABELS_FIELD = "sealed_labels"

Msg = TypeVar("Msg", bound=Message)
NewNonce = Callable[[], bytes]


class Erased(Exception):
    """The key is destroyed: what it sealed is gone for everybody, for good. Not a fault: what needs it is dropped."""


class Tampered(Exception):
    """What is sealed is not what its key sealed. A bug or a forgery: dead-lettered."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key in the clear: its id, a UUID that tells nothing of the owner, and 32 bytes."""

    key_id: str
    secret: bytes = field(repr=False)


def encrypt(key: DataKey, plaintext: bytes, *, nonce: bytes) -> SealedBytes:
    """Seals bytes. `nonce`: 12 bytes, never used with this key before."""
    ciphertext = AESGCM(key.secret).encrypt(nonce, plaintext, key.key_id.encode())
    return SealedBytes(key_id=key.key_id, algorithm=ALGORITHM, nonce=nonce, ciphertext=ciphertext)


def decrypt(key: DataKey, sealed: SealedBytes) -> bytes:
    """Opens bytes. Raises Tampered when they are not what this key sealed."""
    if sealed.algorithm != ALGORITHM:
        raise Tampered("unknown algorithm")
    try:
        return AESGCM(key.secret).decrypt(sealed.nonce, sealed.ciphertext, key.key_id.encode())
    except (InvalidTag, ValueError):
        raise Tampered("the authentication tag does not fit") from None


def fresh_nonce() -> bytes:
    """Returns 12 random bytes from the operating system."""
    return os.urandom(NONCE_BYTES)


@dataclass(frozen=True, slots=True)
class Seal:
    """Writes for one owner. What an end user owns is sealed whatever its tier; anything else from TIER_2 on."""

    owner: Owner
    key: DataKey
    new_nonce: NewNonce = fresh_nonce

    def applies(self, tier: Tier) -> bool:
        """Says whether something of this tier is sealed."""
        return tier is Tier.TIER_2 or self.owner.kind is OwnerKind.SUBJECT

    def protect(self, text: Text) -> ProtectedText:
        """Makes text ready to travel and to rest."""
        if not self.applies(text.tier):
            return ProtectedText(plain=text.reveal(), characters=len(text))
        return ProtectedText(sealed=self.close(text.reveal().encode()), characters=len(text))

    def protect_vector(self, values: Sequence[float] | bytes, tier: Tier) -> ProtectedVector:
        """Makes a vector ready to travel: numbers, or their little-endian single-precision bytes."""
        plain = plain_vector(values)
        if not self.applies(tier):
            return plain
        return ProtectedVector(sealed=self.close(plain.float32), dimensions=plain.dimensions)

    def seal_labels(self, message: Msg, tier: Tier) -> Msg:
        """Returns a copy of the message itself (nothing nested) with its label fields sealed, where the tier asks."""
        copy = _copy(message)
        labels = _only_labels(message)
        if labels is None or not self.applies(tier):
            return copy
        for label in _labels(message.DESCRIPTOR):
            copy.ClearField(label.name)
        getattr(copy, LABELS_FIELD).CopyFrom(self.close(labels.SerializeToString()))
        return copy

    def close(self, plaintext: bytes) -> SealedBytes:
        """Seals bytes."""
        return encrypt(self.key, plaintext, nonce=self.new_nonce())


@dataclass(frozen=True, slots=True)
class Opener:
    """Reads what was sealed with the keys that it holds, and what is in the clear. A missing key raises Erased."""

    keys: Mapping[str, DataKey] = field(default_factory=dict, repr=False)

    def reveal(self, content: ProtectedText, tier: Tier) -> Text:
        """Opens text that travelled or rested."""
        if content.WhichOneof("content") == "sealed":
            return Text(self.open(content.sealed).decode(), tier)
        return Text(content.plain, tier)

    def reveal_vector(self, content: ProtectedVector) -> array.array[float]:
        """Opens a vector, in single precision. Raises ValueError on a torn one."""
        is_sealed = content.WhichOneof("content") == "sealed"
        float32 = self.open(content.sealed) if is_sealed else content.float32
        if len(float32) != 4 * content.dimensions:
            raise ValueError(f"a vector of {content.dimensions} dimensions has {len(float32)} bytes")
        return _from_float32(float32)

    def open_labels(self, message: Msg) -> Msg:
        """Returns a copy of the message itself (nothing nested) with its label fields in the clear."""
        copy = _copy(message)
        if not message.HasField(LABELS_FIELD):
            return copy
        copy.ClearField(LABELS_FIELD)
        try:
            copy.MergeFromString(self.open(getattr(message, LABELS_FIELD)))
        except DecodeError:
            raise Tampered("the labels are of another message") from None
        return copy

    def readable_labels(self, message: Msg) -> Msg:
        """As open_labels; of what is erased the labels stay empty."""
        try:
            return self.open_labels(message)
        except Erased:
            copy = _copy(message)
            copy.ClearField(LABELS_FIELD)
            return copy

    def open(self, sealed: SealedBytes) -> bytes:
        """Opens bytes. Raises Erased when their key is destroyed, Tampered when they are forged or torn."""
        key = self.keys.get(sealed.key_id)
        if key is None:
            raise Erased("the key is destroyed")
        return decrypt(key, sealed)


def plain_vector(values: Sequence[float] | bytes) -> ProtectedVector:
    """Makes a vector ready to travel in the clear: numbers, or their little-endian single-precision bytes."""
    float32 = values if isinstance(values, bytes) else _to_float32(values)
    return ProtectedVector(float32=float32, dimensions=len(float32) // 4)


def key_ids_of(*messages: Message) -> frozenset[str]:
    """Returns the ids of all keys that anything in the messages is sealed with."""
    return frozenset(sealed.key_id for message in messages for sealed in _sealed_in(message))


def is_sealed(content: ProtectedText | ProtectedVector) -> bool:
    """Says whether a text or a vector is sealed."""
    return content.WhichOneof("content") == "sealed"


def _sealed_in(message: Message) -> Iterator[SealedBytes]:
    if isinstance(message, SealedBytes):
        yield message
        return
    for descriptor in _message_fields(message.DESCRIPTOR):
        if descriptor.is_repeated:
            for item in getattr(message, descriptor.name):
                yield from _sealed_in(item)
        elif message.HasField(descriptor.name):
            yield from _sealed_in(getattr(message, descriptor.name))


@cache
def _message_fields(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields through which sealed bytes can be reached."""
    return tuple(f for f in descriptor.fields if f.message_type is not None and _leads_to_sealed(f.message_type))


@cache
def _leads_to_sealed(descriptor: Descriptor) -> bool:
    if descriptor.full_name == SealedBytes.DESCRIPTOR.full_name:
        return True
    nested = (f.message_type for f in descriptor.fields if f.message_type not in (None, descriptor))
    return any(_leads_to_sealed(message_type) for message_type in nested)


@cache
def _labels(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    return tuple(f for f in descriptor.fields if f.GetOptions().Extensions[privacy_pb2.label])


def _only_labels(message: Msg) -> Msg | None:
    """The message with nothing but its labels; None when it has none to hide."""
    only = type(message)()
    for label in _labels(message.DESCRIPTOR):
        value = getattr(message, label.name)
        if label.is_repeated:
            getattr(only, label.name).extend(value)
        else:
            setattr(only, label.name, value)
    return only if only.ByteSize() else None


def _copy(message: Msg) -> Msg:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _to_float32(values: Sequence[float]) -> bytes:
    numbers = array.array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _from_float32(content: bytes) -> array.array[float]:
    numbers = array.array("f")
    numbers.frombytes(content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
