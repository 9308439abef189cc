"""Every way in, with canaries: as people would use it, and wrongly, so that the errors speak."""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from aiokafka import AIOKafkaProducer
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from headrace.access import METHODS
from headrace.document.v1.document_pb2 import Content, DocumentSubmitted
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.inference.v1.service_pb2 import Turn
from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_2, TIER_PUBLIC, Tier
from headrace.query.v1.answer_pb2 import Decoding
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace_client import Client, Endpoints
from headrace_client.credentials import MintedTokens, open_maker
from headrace_client.errors import HeadraceError, TimedOut, Unavailable
from headrace_client.publisher import Encoding, Publisher
from headrace_client.signing import FILE, read_signer

from tests.security.leaks.canaries import Canary, forms
from tests.security.leaks.scanning import Written
from tests.security.methods import descriptors

TENANT = "acme"
PRODUCT = "docs-search"
SUBJECT = "user-17"
#: How long a service may be away, in seconds.
INSISTENCE = 60.0


@dataclass(slots=True)
class Planted:
    """What was done: errors as callers received them, and the queries that are to end."""

    errors: list[Written] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    def note(self, door: str, error: BaseException) -> None:
        """Keeps all that a caller learns of an error."""
        told = [str(error), repr(error), *map(str, error.args)]
        cause = error.__cause__
        if isinstance(cause, grpc.aio.AioRpcError):
            error = cause
        if isinstance(error, grpc.aio.AioRpcError):
            told += [error.details() or "", str(error.initial_metadata()), str(error.trailing_metadata())]
        self.errors.append(Written(f"error of {door}", "\n".join(told).encode("utf-8", "backslashreplace")))


def questions(canaries: dict[str, Canary]) -> list[tuple[str, Tier.ValueType, str]]:
    """Texts of questions, each with the tier that is declared and the end user who asks."""
    asked: list[tuple[str, Tier.ValueType, str]] = []
    for name in ("name", "code", "card", "aws", "github"):
        asked += [
            (f"What do we know about this? {text}", TIER_2, SUBJECT) for text in forms(canaries[name].text).values()
        ]
        asked += [(f"Part {half} of two.", TIER_2, SUBJECT) for half in canaries[name].halves()]
    for name in ("card", "aws", "github"):
        # What is masked is gone whatever is declared, and whoever asks.
        asked += [(f"Is {canaries[name].text} still valid?", tier, "") for tier in (TIER_PUBLIC, TIER_1)]
    return asked


def documents(canaries: dict[str, Canary]) -> list[tuple[str, bytes]]:
    """Files by media type."""
    lines = [text for name in ("name", "code", "card", "aws", "github") for text in forms(canaries[name].text).values()]
    return [
        ("text/plain", "\n\n".join(lines).encode()),
        ("text/markdown", "\n\n".join(f"# {lines[0]}\n\n```python\n{line}\n```" for line in lines).encode()),
        ("text/html", f"<h1>{escape(lines[0])}</h1>{''.join(f'<p>{escape(line)}</p>' for line in lines)}".encode()),
        (DOCX, _docx(lines)),
    ]


DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_TYPES = """<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/word/document.xml"
 ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"""
_RELATIONS = """<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Id="r1" Target="word/document.xml"
 Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>"""


def _docx(lines: list[str]) -> bytes:
    """The smallest file of Word's."""
    paragraphs = "".join(f"<w:p><w:r><w:t>{escape(line)}</w:t></w:r></w:p>" for line in lines)
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        body = f'<w:document xmlns:w="{namespace}"><w:body>{paragraphs}</w:body></w:document>'
        archive.writestr("word/document.xml", f'<?xml version="1.0"?>{body}')
    return file.getvalue()


class Doors:
    """The ways in of one Headrace."""

    def __init__(self, endpoints: Endpoints, client: Client, canaries: list[Canary]) -> None:
        self._endpoints = endpoints
        self._client = client
        self._canaries = {canary.name: canary for canary in canaries}
        self._tokens = MintedTokens(open_maker(Path(endpoints.keys)), person="scanner")
        self.planted = Planted()

    async def use(self) -> None:
        """Goes through every door as people do."""
        await self._documents()
        await self._queries()
        await self._parts()

    async def _documents(self) -> None:
        label = self._canaries["label"].text
        for number, (media_type, data) in enumerate(documents(self._canaries)):
            put = partial(
                self._client.put_document,
                data,
                tenant=TENANT,
                source="handbook",
                document_id=f"document-{number}",
                media_type=media_type,
                title=f"The case of {label}",
                uri=f"https://example.com/{forms(label)['url']}",
            )
            await self._insist("Put", put)

    async def _queries(self) -> None:
        async with self._publisher() as publisher:
            for number, (text, tier, subject) in enumerate(questions(self._canaries)):
                query_id = str(uuid4())
                self.planted.queries.append(query_id)
                if number % 2:
                    await self._client.submit(
                        text, tenant=TENANT, product=PRODUCT, query_id=query_id, subject=subject, declared_tier=tier
                    )
                    continue
                encoding = Encoding.JSON if number % 4 else Encoding.PROTOBUF
                query = QuerySubmitted(
                    query_id=query_id, tenant=TENANT, product=PRODUCT, subject=subject, text=text, declared_tier=tier
                )
                await publisher.query(query, encoding=encoding)
            await self._from_the_bus(publisher)

    async def _from_the_bus(self, publisher: Publisher) -> None:
        label, judged = self._canaries["label"].text, self._canaries["judged"].text
        content = Content(media_type="text/plain", data=f"The notes on {label}".encode())
        document = DocumentSubmitted(
            submission_id=str(uuid4()), tenant=TENANT, source="mail", document_id="note", title=label, content=content
        )
        await publisher.document(document)
        for kind in ("comment", "correction"):
            about = {"tenant": TENANT, "query_id": self.planted.queries[0], "subject": SUBJECT}
            words: dict[str, Any] = {kind: f"{judged} would disagree"}
            await publisher.feedback(FeedbackSubmitted(feedback_id=str(uuid4()), **about, **words))
            await self._client.record_feedback(FeedbackSubmitted(feedback_id=str(uuid4()), **about, **words))

    async def _parts(self) -> None:
        """The services one by one."""
        every = [text for canary in self._canaries.values() for text in (canary.text, forms(canary.text)["base64"])]
        name, label, client = self._canaries["name"].text, self._canaries["label"].text, self._client
        for text in every:
            await self._insist(
                "Classify", partial(client.classify, text, tenant=TENANT, declared_tier=TIER_2, source="handbook")
            )
            await self._insist("Search", partial(client.search, text, tenant=TENANT))
        await self._insist("Embed", partial(client.embed, every))
        await self._insist("PutDictionary", partial(client.put_dictionary, [label, name], tenant=TENANT))
        turns = [Turn(role=1, text=name)]
        await self._noted("Generate", _drained(client.generate(turns, decoding=Decoding(max_output_tokens=4))))
        await self._noted("Ask", _drained(client.ask(f"Who is {name}?", tenant=TENANT, product=PRODUCT)))

    async def _insist(self, door: str, attempt: Callable[[], Awaitable[object]]) -> None:
        """Tries again while a service is not there; what it says of that is kept."""
        end = time.monotonic() + INSISTENCE
        while True:
            try:
                await attempt()
            except (Unavailable, TimedOut) as error:
                self.planted.note(door, error)
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.5)
            else:
                return

    # Wrongly

    async def misuse(self) -> None:
        """Goes through every door wrongly, with the canary wherever there is room for one."""
        text = self._canaries["erring"].text
        for address, channel in self._channels():
            async with channel:
                for name in METHODS:
                    if _service_of(name) == address:
                        await self._misuse_method(channel, name, text)
        await self._misuse_bus(text)

    def _channels(self) -> Iterator[tuple[str, grpc.aio.Channel]]:
        for service, addresses in self._endpoints.services.items():
            yield service, grpc.aio.insecure_channel(addresses.split(",")[0])

    async def _misuse_method(self, channel: grpc.aio.Channel, name: str, text: str) -> None:
        method = descriptors()[name]
        request_type = GetMessageClass(method.input_type)
        filled = _filled(request_type(), text)
        own = _with_tenant(_filled(request_type(), text), METHODS[name].tenant)
        token = ("authorization", f"Bearer {self._tokens.token(name, filled)}")
        token_of_own = ("authorization", f"Bearer {self._tokens.token(name, own)}")
        broken = b"\x0a\x10" + text.encode() + b"\xff\xfe\xc3("
        wrong_type = b"\x08\x01\x12\x02\xff\xff" + text.encode()
        attempts: list[tuple[bytes, list[tuple[str, str]]]] = [
            (filled.SerializeToString(), [token]),
            (own.SerializeToString(), [token_of_own]),
            (_filled(request_type(), text * 4_000).SerializeToString(), [token]),
            (broken, [token]),
            (wrong_type, [token]),
            (filled.SerializeToString(), []),
            (filled.SerializeToString(), [("authorization", f"Bearer {forms(text)['base64']}")]),
            (filled.SerializeToString(), [("authorization", f"Bearer {text}.{text}.{text}")]),
            (filled.SerializeToString(), [("authorization", forms(text)["url"]), ("traceparent", text)]),
        ]
        for body, metadata in attempts:
            await self._noted(name, _call(channel, name, body, metadata, streams=method.server_streaming))

    async def _noted(self, door: str, attempt: Awaitable[object]) -> None:
        try:
            await attempt
        except (grpc.aio.AioRpcError, HeadraceError) as error:
            self.planted.note(door, error)

    async def _misuse_bus(self, text: str) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._endpoints.bus()) as producer:
            for topic, value in _wrong_values(text):
                for headers in _wrong_headers(text):
                    await producer.send_and_wait(topic, value, key=text.encode(), headers=headers)
        async with self._publisher() as publisher:
            for message in _refused_queries(text):
                await self._noted("query.submitted", publisher.query(message))

    @asynccontextmanager
    async def _publisher(self) -> AsyncIterator[Publisher]:
        signer = read_signer(Path(self._endpoints.keys) / FILE)
        async with Publisher.connect(self._endpoints.bus(), product=PRODUCT, signer=signer) as publisher:
            yield publisher

    async def until_ended(self, *, seconds: float) -> list[str]:
        """Waits until every query that was planted has ended, and returns those that did not."""
        end = time.monotonic() + seconds
        waiting = set(self.planted.queries)
        while waiting and time.monotonic() < end:
            try:
                states = {each.query_id: each.state async for each in self._client.tally(tenant=TENANT)}
            except HeadraceError:
                states = {}
            waiting = {query_id for query_id in waiting if states.get(query_id, 0) in _UNDER_WAY}
            await asyncio.sleep(0.5)
        return sorted(waiting)


#: Not yet known, and open.
_UNDER_WAY = (0, 1)


def _service_of(method: str) -> str:
    area = method.split(".")[1]
    return {
        "query": "ingest",
        "document": "ingest",
        "privacy": "classifier",
        "embedding": "embedder",
        "retrieval": "retriever",
        "trace": "traces",
    }.get(area, area)


async def _drained(responses: AsyncIterator[Any]) -> None:
    async for response in responses:
        del response


async def _call(
    channel: grpc.aio.Channel, name: str, body: bytes, metadata: list[tuple[str, str]], *, streams: bool
) -> None:
    kind = channel.unary_stream if streams else channel.unary_unary
    call = kind(f"/{name}", lambda raw: raw, lambda raw: raw)(body, metadata=metadata, timeout=20)
    if streams:
        async for response in call:
            del response
    else:
        await call


def _filled(message: Message, text: str) -> Any:
    """The message with the text in every field that holds text, however deep."""
    for field_ in message.DESCRIPTOR.fields:
        _fill(message, field_, text)
    return message


#: What whoever puts a document chooses as its id, blanks and all, and what travels in the clear by contract.
_IDS = ("document_id", "page_token")


def _fill(message: Message, field_: FieldDescriptor, text: str) -> None:
    if field_.name in _IDS:
        setattr(message, field_.name, "misused.md")
    elif field_.message_type is not None and field_.message_type.GetOptions().map_entry:
        if field_.message_type.fields_by_name["value"].type == field_.TYPE_STRING:
            getattr(message, field_.name)[text] = text
    elif field_.message_type is not None:
        if field_.message_type.full_name.startswith("headrace."):
            inner = getattr(message, field_.name)
            _filled(inner.add() if field_.is_repeated else inner, text)
    elif field_.type == FieldDescriptor.TYPE_STRING:
        value = getattr(message, field_.name)
        value.append(text) if field_.is_repeated else setattr(message, field_.name, text)
    elif field_.type == FieldDescriptor.TYPE_BYTES and not field_.is_repeated:
        setattr(message, field_.name, text.encode())


def _with_tenant(message: Any, path: str) -> Any:
    """The message with a tenant that there is, so that what is wrong with the rest of it is found."""
    if path:
        *parents, last = path.split(".")
        inner = message
        for parent in parents:
            inner = getattr(inner, parent)
        setattr(inner, last, TENANT)
    return message


def _wrong_values(text: str) -> Iterator[tuple[str, bytes]]:
    known = {"query_id": str(uuid4()), "tenant": TENANT, "product": PRODUCT, "text": text}
    for topic in ("query.submitted", "document.submitted", "feedback.submitted"):
        yield topic, b"\xff\xfe" + text.encode()
        yield topic, text.encode("utf-16")
        yield topic, json.dumps({**known, "text": [text], text: text}).encode()
        yield topic, b"{" + text.encode()
        yield topic, QuerySubmitted(**known).SerializeToString() + b"\x0a\x02\xff\xfe"


def _wrong_headers(text: str) -> Iterator[list[tuple[str, bytes]]]:
    raw = text.encode()
    yield []
    yield [("content-type", b"application/json"), ("headrace-signature", raw)]
    names = ("ce_id", "ce_source", "ce_type", "ce_time", "ce_tenant", "ce_correlationid", "ce_causationid")
    yield [(name, raw) for name in (*names, "ce_dataclassification", "ce_subject", "traceparent", "headrace-replay")]
    yield [("content-type", raw), (text, raw), ("traceparent", b"\xff" + raw)]


def _refused_queries(text: str) -> Iterator[QuerySubmitted]:
    known = {"query_id": str(uuid4()), "tenant": TENANT, "product": PRODUCT, "text": "?"}
    for name in ("query_id", "tenant", "product"):
        yield QuerySubmitted(**{**known, "query_id": str(uuid4()), name: text})
    # An end user and a conversation are whatever id the product gives them, of a certain length.
    for name in ("query_id", "tenant", "product", "subject", "conversation_id"):
        yield QuerySubmitted(**{**known, "query_id": str(uuid4()), name: text * 100})
    yield QuerySubmitted(**{**known, "query_id": str(uuid4()), "text": text * 10_000})
    yield QuerySubmitted(**{**known, "query_id": str(uuid4()), "text": f"{text}\0{text}"})
    yield QuerySubmitted(**{**known, "query_id": str(uuid4())}, sources=[text])
