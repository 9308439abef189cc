"""The gRPC edge over a real server, with a store in memory and a bus that goes straight to the handlers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from headrace import topics
from headrace.document.v1 import service_pb2 as documents_pb2
from headrace.document.v1 import service_pb2_grpc as documents_grpc
from headrace.document.v1.document_pb2 import Content
from headrace.query.v1 import service_pb2, service_pb2_grpc
from headrace_identity.testing import Issuer
from headrace_ingest import handlers
from headrace_ingest.adapters.memory import MemoryStore
from headrace_ingest.adapters.parsing import open_parser
from headrace_ingest.document_servicer import DocumentServicer
from headrace_ingest.live import ANSWER, FIRST_CHUNK, Live
from headrace_ingest.query_servicer import QueryServicer
from headrace_privacy import Owner, Text, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy_file import read_policy
from headrace_runtime.admission import Admission
from headrace_runtime.errors import Rejected, Unavailable
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import Servicer, open_grpc_server
from headrace_stream import Event, Refusal
from headrace_stream.memory import delivered

from services.ingest.tests.makers import (
    CANARY,
    answer,
    arrived,
    chunk,
    clock,
    indexed,
    letter,
    open_door,
    open_vault,
)

ISSUER = Issuer()
ADMISSION = Admission(ISSUER.verifier())


class Bus:
    """A bus that hands what is published to ingest's own handlers at once, and can be down or slow to be read."""

    def __init__(self, store: MemoryStore, live: Live, vault: Vault, parser: Any) -> None:
        self.published: list[Event[Any]] = []
        self.is_down = False
        self.is_read = True
        noted = partial(live.note, stage=service_pb2.STAGE_ACCEPTED)
        self._query = partial(handlers.accept_query, door=open_door(store, vault), noted=noted)
        self._document = partial(handlers.submit_document, door=open_door(store, vault), parser=parser)
        self._refuse = partial(handlers.refuse_document, store=store, clock=clock)

    async def publish(self, *events: Event[Any]) -> None:
        if self.is_down:
            raise Unavailable("kafka")
        self.published.extend(events)
        if self.is_read:
            for event in events:
                await self.read(event)

    async def read(self, event: Event[Any]) -> None:
        handle = self._query if event.topic is topics.QUERY_SUBMITTED else self._document
        delivery = delivered(event.message, event.topic, service="ingest", event_id=event.event_id, key=event.key)
        try:
            await handle(delivery)
        except Rejected as rejected:
            value = event.message.SerializeToString()
            await self._refuse(Refusal(rejected.violations, delivery.arrival, value))


@dataclass
class Door:
    """A client of ingest, and what is behind it."""

    queries: Any
    documents: Any
    store: MemoryStore
    live: Live
    bus: Bus
    keyring: MemoryKeyring
    vault: Vault
    address: str

    async def submitted(self, tenant: str) -> str:
        response = await self.queries.Submit(service_pb2.SubmitRequest(question=question(tenant)))
        return str(response.query_id)

    async def watched(self, tenant: str, query_id: str, after: int = 0) -> list[service_pb2.Update]:
        request = service_pb2.WatchRequest(tenant=tenant, query_id=query_id, after_sequence=after)
        return [response.update async for response in self.queries.Watch(request, timeout=10)]

    async def until_published(self, count: int = 1) -> Event[Any]:
        async with asyncio.timeout(5):
            while len(self.bus.published) < count:
                await asyncio.sleep(0.01)
        return self.bus.published[count - 1]


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    keyring = MemoryKeyring()
    vault = open_vault(keyring)
    store, live = MemoryStore(), Live(vault)
    async with open_parser(seconds=20) as parser:
        bus = Bus(store, live, vault, parser)
        queries = QueryServicer(
            publish=bus.publish, store=store, live=live, vault=vault, policy=read_policy(None), clock=clock
        )
        documents = DocumentServicer(publish=bus.publish, store=store, vault=vault, clock=clock)
        servicers = [
            Servicer(service_pb2_grpc.add_QueryServiceServicer_to_server, queries, "headrace.query.v1.QueryService"),
            Servicer(
                documents_grpc.add_DocumentServiceServicer_to_server, documents, "headrace.document.v1.DocumentService"
            ),
        ]
        async with (
            open_grpc_server("127.0.0.1:0", servicers, drain_seconds=0, admission=ADMISSION) as server,
            open_channel(f"127.0.0.1:{server.port}", ISSUER.credentials()) as channel,
        ):
            yield Door(
                queries=service_pb2_grpc.QueryServiceStub(channel),  # type: ignore[no-untyped-call]
                documents=documents_grpc.DocumentServiceStub(channel),  # type: ignore[no-untyped-call]
                store=store,
                live=live,
                bus=bus,
                keyring=keyring,
                vault=vault,
                address=f"127.0.0.1:{server.port}",
            )


def question(tenant: str, **fields: Any) -> service_pb2.Question:
    return service_pb2.Question(**{"tenant": tenant, "product": "shop", "text": "What?", **fields})


def file(owner: str, **fields: Any) -> documents_pb2.PutRequest:
    content = Content(media_type="text/markdown", data=b"# Leave\n\nThirty days.")
    return documents_pb2.PutRequest(
        **{"tenant": owner, "source": "handbook", "document_id": "a.md", "content": content, **fields}
    )


def fields_of(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    """Field and reason of each violation in an error's details."""
    status = rpc_status.from_call(error)
    detail = error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(detail)
    assert CANARY not in str(detail)
    return [(violation.field, violation.reason) for violation in detail.field_violations]


async def failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert CANARY not in (caught.value.details() or "")
    return caught.value


async def test_a_query_is_submitted_once_and_found(door: Door, tenant: str) -> None:
    query_id = str(uuid4())
    for _ in range(2):
        asked = question(tenant, query_id=query_id.upper(), declared_tier=1)
        response = await door.queries.Submit(service_pb2.SubmitRequest(question=asked))
        assert response.query_id == query_id
    first, second = door.bus.published
    assert first.event_id == second.event_id, "whichever instance takes the call again"
    assert (first.key, first.tenant, first.tier.label) == (query_id, tenant, "public")
    assert first.message.submitted_at == second.message.submitted_at
    found = await door.queries.Get(service_pb2.GetRequest(tenant=tenant, query_id=query_id))
    assert (found.query_id, found.state, found.HasField("answer")) == (query_id, service_pb2.QUERY_STATE_OPEN, False)
    assert len(door.store.ledger.published) == 1


async def test_what_is_wrong_is_named_field_by_field(door: Door, tenant: str) -> None:
    wrong = question(tenant, text=CANARY * 400, query_id=CANARY, product="")
    for call in (
        door.queries.Submit(service_pb2.SubmitRequest(question=wrong)),
        door.queries.Ask(service_pb2.AskRequest(question=wrong)).read(),
    ):
        error = await failed(call)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert fields_of(error) == [
            ("question.query_id", "NOT_A_UUID"),
            ("question.product", "MISSING"),
            ("question.text", "TOO_LONG"),
        ]
    assert door.bus.published == []


async def test_a_bus_that_is_down_takes_nothing(door: Door, tenant: str) -> None:
    door.bus.is_down = True
    error = await failed(door.queries.Submit(service_pb2.SubmitRequest(question=question(tenant))))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "kafka cannot be reached")
    assert (await failed(door.documents.Put(file(tenant)))).code() == grpc.StatusCode.UNAVAILABLE


async def test_ask_streams_until_the_answer(door: Door, tenant: str) -> None:
    asked = question(tenant, query_id=str(uuid4()))
    stream = aiter(door.queries.Ask(service_pb2.AskRequest(question=asked), timeout=10))
    responses = [await anext(stream)]
    for part in (chunk(tenant, asked.query_id, "g", 0), chunk(tenant, asked.query_id, "g", 1, "It binds.")):
        await door.live.show_chunk(part)
    await door.live.show_answer(answer(tenant, asked.query_id))
    responses += [response async for response in stream]
    assert {response.query_id for response in responses} == {asked.query_id}
    kinds = [response.update.WhichOneof("update") for response in responses]
    assert kinds[-3:] == ["progress", "text", "answer"]
    assert set(kinds[:-3]) == {"progress"}
    rising = [response.update.sequence for response in responses]
    assert rising == sorted(set(rising))


async def test_ask_finds_an_answer_that_only_another_instance_saw(door: Door, tenant: str) -> None:
    asked = question(tenant, query_id=str(uuid4()))
    stream = aiter(door.queries.Ask(service_pb2.AskRequest(question=asked), timeout=10))
    await anext(stream)
    await handlers.end_query(arrived(answer(tenant, asked.query_id)), store=door.store, vault=door.vault)
    last = [response async for response in stream][-1]
    assert (last.update.sequence, last.update.answer.text) == (ANSWER, "It binds to the enclosing scope [1].")


async def test_watch_goes_on_from_a_sequence(door: Door, tenant: str) -> None:
    query_id = await door.submitted(tenant)
    for index, text in enumerate((None, "It ", "binds.")):
        await door.live.show_chunk(chunk(tenant, query_id, "g", index, text))
    await door.live.show_answer(answer(tenant, query_id))
    everything = await door.watched(tenant, query_id)
    assert [update.text for update in everything if update.text] == ["It ", "binds."]
    assert await door.watched(tenant, query_id, FIRST_CHUNK + 1) == everything[-2:]


async def test_another_tenants_query_is_not_found(door: Door, tenant: str) -> None:
    query_id = await door.submitted(tenant)
    stranger = f"{tenant}-b"
    get = door.queries.Get(service_pb2.GetRequest(tenant=stranger, query_id=query_id))
    watch = door.queries.Watch(service_pb2.WatchRequest(tenant=stranger, query_id=query_id)).read()
    errors = await asyncio.gather(failed(get), failed(watch))
    assert [error.code() for error in errors] == [grpc.StatusCode.NOT_FOUND] * 2
    assert {error.details() for error in errors} == {f"no such query: {query_id}"}


async def test_a_query_that_the_bus_has_but_nobody_recorded_yet_is_waited_for(door: Door, tenant: str) -> None:
    door.bus.is_read = False
    query_id = await door.submitted(tenant)
    finding = door.queries.Get(service_pb2.GetRequest(tenant=tenant, query_id=query_id))
    await asyncio.sleep(0.1)
    await door.bus.read(door.bus.published[0])
    assert (await finding).state == service_pb2.QUERY_STATE_OPEN


async def test_a_query_that_was_given_up_on_ends_its_watchers(door: Door, tenant: str) -> None:
    query_id = await door.submitted(tenant)
    watching = asyncio.create_task(door.watched(tenant, query_id))
    await asyncio.sleep(0.05)
    await handlers.bury(arrived(letter("query.embedded", query_id, tenant)), store=door.store, clock=clock)
    error = await failed(watching)
    assert error.code() == grpc.StatusCode.ABORTED
    assert query_id in (error.details() or "")


async def test_a_deadline_ends_a_watch(door: Door, tenant: str) -> None:
    query_id = await door.submitted(tenant)
    stream = door.queries.Watch(service_pb2.WatchRequest(tenant=tenant, query_id=query_id), timeout=0.3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [response async for response in stream]
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("tenant_given", "query_id", "expected"),
    [
        ("acme", "x", [("query_id", "NOT_A_UUID")]),
        ("a\x00", "x", [("tenant", "MALFORMED")]),
        ("a\x00", "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10", [("tenant", "MALFORMED")]),
    ],
)
async def test_nonsense_is_not_looked_for(
    door: Door, tenant_given: str, query_id: str, expected: list[tuple[str, str]]
) -> None:
    error = await failed(door.queries.Get(service_pb2.GetRequest(tenant=tenant_given, query_id=query_id)))
    assert fields_of(error) == expected


async def test_queries_are_tallied(door: Door, tenant: str) -> None:
    query_id = await door.submitted(tenant)
    await door.submitted(f"{tenant}-b")
    tally = [
        one async for batch in door.queries.Tally(service_pb2.TallyRequest(tenant=tenant)) for one in batch.queries
    ]
    assert [(one.query_id, one.state) for one in tally] == [(query_id, service_pb2.QUERY_STATE_OPEN)]
    error = await failed(door.queries.Tally(service_pb2.TallyRequest(tenant="\x00")).read())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_put_waits_until_every_search_sees_it(door: Door, tenant: str) -> None:
    putting = asyncio.ensure_future(door.documents.Put(file(tenant, declared_tier=1), timeout=10))
    event = await door.until_published()
    assert event.key == f"{tenant}/handbook/a.md"
    await asyncio.sleep(0.1)
    assert not putting.done()
    await handlers.note_indexed(arrived(indexed(tenant, 1, chunks=2)), store=door.store)
    response = await putting
    assert (response.outcome, response.chunks, response.tier) == (documents_pb2.OUTCOME_INDEXED, 2, 1)
    assert (response.document.document_id, response.document.version) == ("a.md", 1)
    again = await door.documents.Put(file(tenant, declared_tier=1), timeout=10)
    assert (again.outcome, again.document.version) == (documents_pb2.OUTCOME_UNCHANGED, 1)


async def test_put_can_leave_it_to_the_bus(door: Door, tenant: str) -> None:
    response = await door.documents.Put(file(tenant, wait=documents_pb2.WAIT_SUBMITTED))
    assert response.outcome == documents_pb2.OUTCOME_SUBMITTED


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"source": ""}, ("source", "MISSING")),
        ({"content": Content(media_type="image/png", data=b"x")}, ("content.media_type", "UNSUPPORTED")),
        ({"content": Content(media_type="text/plain", data=b"\xff")}, ("content.data", "NOT_UTF8")),
        ({"content": Content(media_type="text/plain", data=b" \n")}, ("content.data", "EMPTY")),
    ],
)
async def test_put_names_what_is_wrong_wherever_it_is_found(
    door: Door, tenant: str, wrong: dict[str, Any], expected: tuple[str, str]
) -> None:
    error = await failed(door.documents.Put(file(tenant, **wrong), timeout=10))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert expected in fields_of(error)


async def test_put_says_when_the_document_was_given_up_on(door: Door, tenant: str) -> None:
    putting = asyncio.ensure_future(door.documents.Put(file(tenant), timeout=10))
    await door.until_published()
    dead = letter("document.embedded", f"{tenant}/handbook/a.md", tenant)
    await handlers.bury(arrived(dead), store=door.store, clock=clock)
    assert (await failed(putting)).code() == grpc.StatusCode.ABORTED


async def test_put_that_is_not_indexed_in_time_says_so(door: Door, tenant: str) -> None:
    assert (await failed(door.documents.Put(file(tenant), timeout=0.3))).code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_delete_waits_until_it_is_gone(door: Door, tenant: str) -> None:
    await door.documents.Put(file(tenant, wait=documents_pb2.WAIT_SUBMITTED))
    request = documents_pb2.DeleteRequest(tenant=tenant, source="handbook", document_id="a.md")
    deleting = asyncio.ensure_future(door.documents.Delete(request, timeout=10))
    await door.until_published(2)
    await handlers.note_indexed(arrived(indexed(tenant, 2, chunks=0)), store=door.store)
    response = await deleting
    assert (response.outcome, response.document.version) == (documents_pb2.OUTCOME_DELETED, 2)


async def test_delete_of_what_never_was_is_not_found(door: Door, tenant: str) -> None:
    request = documents_pb2.DeleteRequest(tenant=tenant, source="handbook", document_id="a.md")
    assert (await failed(door.documents.Delete(request))).code() == grpc.StatusCode.NOT_FOUND
    request.document_id = "\x00"
    assert fields_of(await failed(door.documents.Delete(request))) == [("document_id", "HAS_NUL")]


async def test_sources_are_listed_page_by_page(door: Door, tenant: str) -> None:
    for name in ("a", "b", "c"):
        await door.documents.Put(file(tenant, document_id=name, wait=documents_pb2.WAIT_SUBMITTED))
    listed = await door.documents.ListSources(documents_pb2.ListSourcesRequest(tenant=tenant))
    assert [(source.name, source.documents, source.tier) for source in listed.sources] == [("handbook", 3, 3)]
    request = documents_pb2.GetSourceRequest(tenant=tenant, source="handbook", page_size=2)
    first = await door.documents.GetSource(request)
    request.page_token = first.next_page_token
    second = await door.documents.GetSource(request)
    assert [d.document.document_id for page in (first, second) for d in page.documents] == ["a", "b", "c"]
    assert second.next_page_token == ""


async def test_another_tenants_source_is_not_found(door: Door, tenant: str) -> None:
    await door.documents.Put(file(tenant, wait=documents_pb2.WAIT_SUBMITTED))
    stranger = f"{tenant}-b"
    request = documents_pb2.GetSourceRequest(tenant=stranger, source="handbook")
    assert (await failed(door.documents.GetSource(request))).code() == grpc.StatusCode.NOT_FOUND
    listed = await door.documents.ListSources(documents_pb2.ListSourcesRequest(tenant=stranger))
    assert list(listed.sources) == []


async def test_titles_rest_sealed_and_are_listed_open(door: Door, tenant: str) -> None:
    request = file(tenant, title=CANARY, uri="https://x", wait=documents_pb2.WAIT_SUBMITTED)
    await door.documents.Put(request)
    assert CANARY not in repr(door.store.kept)
    listing = documents_pb2.GetSourceRequest(tenant=tenant, source="handbook")
    (listed,) = (await door.documents.GetSource(listing)).documents
    assert (listed.document.title, listed.document.uri) == (CANARY, "https://x")
    door.keyring.destroy(Owner.document(tenant, "handbook", "a.md"))
    door.vault.forget()
    (listed,) = (await door.documents.GetSource(listing)).documents
    assert (listed.document.document_id, listed.document.title) == ("a.md", "")


async def test_an_answer_rests_sealed_and_goes_with_its_key(door: Door, tenant: str) -> None:
    query_id = await door.submitted(tenant)
    owner, said = Owner.subject(tenant, "user-1"), answer(tenant, query_id)
    said.text.CopyFrom((await door.vault.seal_for(owner)).protect(Text(CANARY, Tier.TIER_2)))
    await handlers.end_query(arrived(said), store=door.store, vault=door.vault)
    assert CANARY not in repr(door.store.asked)
    get = service_pb2.GetRequest(tenant=tenant, query_id=query_id)
    assert (await door.queries.Get(get)).answer.text == CANARY
    door.keyring.destroy(owner)
    door.vault.forget()
    found = await door.queries.Get(get)
    assert (found.state, found.HasField("answer")) == (service_pb2.QUERY_STATE_ERASED, False)
    assert (await failed(asyncio.ensure_future(door.watched(tenant, query_id)))).code() == grpc.StatusCode.NOT_FOUND


async def test_a_query_that_was_erased_on_its_way_ends_its_watchers(door: Door, tenant: str) -> None:
    query_id = await door.submitted(tenant)
    dead = letter("query.classified", query_id, tenant, error="Erased")
    await handlers.bury(arrived(dead), store=door.store, clock=clock)
    assert (await door.queries.Get(service_pb2.GetRequest(tenant=tenant, query_id=query_id))).state == (
        service_pb2.QUERY_STATE_ERASED
    )
    assert (await failed(asyncio.ensure_future(door.watched(tenant, query_id)))).code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("asked", "role", "granted"), [(0, "product", 3), (0, "developer", 2), (3, "developer", 2), (1, "product", 1)]
)
async def test_nobody_is_answered_from_more_than_their_role_may_see(
    door: Door, tenant: str, asked: int, role: str, granted: int
) -> None:
    credentials = ISSUER.credentials(role, tenant=tenant)
    async with open_channel(door.address, credentials) as channel:
        queries = service_pb2_grpc.QueryServiceStub(channel)  # type: ignore[no-untyped-call]
        await queries.Submit(service_pb2.SubmitRequest(question=question(tenant, max_document_tier=asked)))
    assert door.bus.published[-1].message.max_document_tier == granted


@pytest.mark.parametrize(
    ("role", "subject", "is_shown"),
    [
        ("product", "user-1", True),
        ("product", "", True),
        ("developer", "dana", False),
        ("developer", "user-1", True),
    ],
)
async def test_an_answer_above_what_the_policy_opens_is_the_askers_alone(
    door: Door, tenant: str, role: str, subject: str, is_shown: bool
) -> None:
    """By whichever way it is asked for: found, watched, or asked for once more by its id."""
    query_id, said = await door.submitted(tenant), answer(tenant, "")
    said.tier, said.query.query_id, said.query.subject = 3, query_id, "user-1"  # type: ignore[assignment]
    await handlers.end_query(arrived(said), store=door.store, vault=door.vault)
    asked = question(tenant, query_id=query_id)
    async with open_channel(door.address, ISSUER.credentials(role, tenant=tenant, subject=subject)) as channel:
        queries = service_pb2_grpc.QueryServiceStub(channel)  # type: ignore[no-untyped-call]
        get = service_pb2.GetRequest(tenant=tenant, query_id=query_id)
        watch = service_pb2.WatchRequest(tenant=tenant, query_id=query_id)
        streams = [queries.Watch(watch, timeout=10), queries.Ask(service_pb2.AskRequest(question=asked), timeout=10)]
        for stream in streams:
            with contextlib.suppress(grpc.aio.AioRpcError):
                [each async for each in stream]
        codes = [await call.code() for call in (queries.Get(get), *streams)]
    expected = grpc.StatusCode.OK if is_shown else grpc.StatusCode.PERMISSION_DENIED
    assert codes == [expected] * 3
