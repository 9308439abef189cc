"""Who may put events on the topics that the outside publishes to, and how a service signs what it puts there itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from google.protobuf.message import Message
from headrace.access import METHODS
from headrace.topics import Topic
from headrace_identity import Identities, PrivateKey, Unproven
from headrace_identity.signatures import SIGNATURE, About, SignatureVerifier, Signer
from headrace_runtime.admission import open_believed
from headrace_runtime.errors import Rejected, Violation
from headrace_runtime.settings import DoorSettings

from headrace_stream.envelope import Event, M

#: Says for whom a record of a topic speaks, by its value and headers. Raises UnknownPublisher.
Admit = Callable[[str, bytes, Mapping[str, str]], Awaitable[About]]
#: Makes the headers that prove who sent an event of this value.
Prove = Callable[[Event[M], bytes], Mapping[str, str]]


class UnknownPublisher(Rejected):
    """Nobody who is known signed the record: it belongs to no tenant."""

    def __init__(self) -> None:
        why = f"The record carries no {SIGNATURE} that a known publisher made for it."
        super().__init__(Violation("", "unauthenticated", why))


class Publishers:
    """Who is believed to publish what comes from outside. Without identities, whoever the broker lets write."""

    def __init__(self, identities: Identities | None, *, audience: str, now: Callable[[], datetime]) -> None:
        self._verifier = SignatureVerifier(identities, audience=audience) if identities else None
        self._now = now

    def admit(self, method: str, *services: str) -> Admit | None:
        """Returns what believes records that a key signed which speaks for a role that may call the method, by its full
        name, or for one of the services: what may be asked over gRPC may be asked by an event. None believes all."""
        if self._verifier is None:
            return None
        return _admitting(self._verifier, METHODS[method].roles.union(services), self._now)


def _admitting(verifier: SignatureVerifier, roles: Collection[str], now: Callable[[], datetime]) -> Admit:
    async def admit(topic: str, value: bytes, headers: Mapping[str, str]) -> About:
        signature = headers.get(SIGNATURE, "")
        try:
            signed = await verifier.verify(signature, value, topic=topic, roles=roles, now=now().timestamp())
        except Unproven as error:
            raise UnknownPublisher from error
        if headers.get("ce_tenant", signed.tenant) != signed.tenant:
            raise UnknownPublisher
        return signed

    return admit


@asynccontextmanager
async def open_publishers(settings: DoorSettings, *, now: Callable[[], datetime]) -> AsyncIterator[Publishers]:
    """Opens what a service believes of publishers, as its settings say. Raises Conflict without identities to go by."""
    if settings.publishers == "broker":
        yield Publishers(None, audience=settings.audience, now=now)
        return
    async with open_believed(settings) as identities:
        yield Publishers(identities, audience=settings.audience, now=now)


def check_signed(signed: About, topic: Topic[M], message: M) -> None:
    """Raises UnknownPublisher for a message that says another tenant, product or subject than was signed."""
    if about(topic.name, message) != signed:
        raise UnknownPublisher


def signing(key: PrivateKey, *, audience: str, now: Callable[[], datetime]) -> Prove[M]:
    """Returns what signs the events of a service on the topics that the outside publishes to; others need none."""
    signer = Signer(key, audience=audience)

    def prove(event: Event[M], value: bytes) -> Mapping[str, str]:
        if not event.topic.json:
            return {}
        claims = about(event.topic.name, event.message)
        return {SIGNATURE: signer.sign(value, claims, now=now().timestamp())}

    return prove


def about(topic: str, message: Message) -> About:
    """Returns what a message says of itself; a field that its type does not have is ""."""
    known = message.DESCRIPTOR.fields_by_name
    tenant, product, subject = (
        str(getattr(message, name)) if name in known else "" for name in ("tenant", "product", "subject")
    )
    return About(topic, tenant, product, subject)
