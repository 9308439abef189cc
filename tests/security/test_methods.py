"""Every method of every contract against every caller: only what the table of access lists gets in.

A real gRPC server stands in for all services; each method answers with whom it was called by and for. So what is tested
is the door itself, with the tokens that could get past it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import importlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import headrace
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from headrace.access import METHODS, OPEN, ROLES, Access
from headrace_identity import Limit, current_principal, new_key
from headrace_identity.testing import Issuer
from headrace_identity.tokens import TokenMaker, sign_json
from headrace_runtime.admission import Admission, read_path
from headrace_runtime.grpc_server import Servicer, open_grpc_server

#: Keys that are believed, but not for everybody.
PRODUCTS_OF_ACME = new_key("acme", limit=Limit(frozenset({"product"}), frozenset({"acme"})))
RETRIEVER = new_key("retriever", limit=Limit(frozenset({"service:retriever"}), frozenset({"*"})))
BELIEVED = Issuer(PRODUCTS_OF_ACME, RETRIEVER)
ADMISSION = Admission(BELIEVED.verifier())
SERVICES = sorted({role for access in METHODS.values() for role in access.roles if role.startswith("service:")})
CALLERS = [role for role in ROLES if role != "service"] + SERVICES + ["service:stranger"]


def services() -> Iterator[ServiceDescriptor]:
    """Every gRPC service of the contracts, found in the modules that were generated from them."""
    for folder in map(Path, headrace.__path__):
        for file in sorted(folder.rglob("*_pb2.py")):
            name = ".".join(("headrace", *file.relative_to(folder).with_suffix("").parts))
            yield from importlib.import_module(name).DESCRIPTOR.services_by_name.values()


METHOD_DESCRIPTORS: dict[str, MethodDescriptor] = {
    f"{service.full_name}/{method.name}": method for service in services() for method in service.methods
}


def test_every_method_is_in_the_table_and_nothing_else_is() -> None:
    assert set(METHODS) == set(METHOD_DESCRIPTORS)


def test_only_health_and_reflection_are_open() -> None:
    assert all(name.startswith(("grpc.health.", "grpc.reflection.")) for name in OPEN)


@pytest.mark.parametrize("method", METHODS)
def test_roles_exist_and_the_paths_lead_to_text(method: str) -> None:
    access = METHODS[method]
    assert access.roles
    assert access.roles <= {*ROLES, *SERVICES}
    for path in filter(None, (access.tenant, access.subject)):
        message = METHOD_DESCRIPTORS[method].input_type
        *parents, name = path.split(".")
        for parent in parents:
            message = message.fields_by_name[parent].message_type
        field = message.fields_by_name[name]
        assert field.type == FieldDescriptor.TYPE_STRING
        assert not field.is_repeated


@pytest.mark.parametrize("method", METHODS)
def test_a_request_that_has_a_tenant_is_bound_to_it(method: str) -> None:
    """A tenant in the request that no token decides would be a way into another's."""
    request = METHOD_DESCRIPTORS[method].input_type
    if "tenant" in request.fields_by_name:
        assert METHODS[method].tenant == "tenant"
    if any(f.message_type and "tenant" in f.message_type.fields_by_name for f in request.fields):
        assert METHODS[method].tenant


@pytest.mark.parametrize("method", METHODS)
def test_nobody_streams_requests(method: str) -> None:
    """The door looks at one request; a stream of them would pass by it."""
    assert not METHOD_DESCRIPTORS[method].client_streaming


class Everything:
    """Handlers of every method: each notes who called and what the request had become, and answers with nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Message]] = []

    def handler(self, name: str, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        codec = {"request_deserializer": request.FromString, "response_serializer": response.SerializeToString}

        async def one(message: Any, context: Any) -> Any:
            self.calls.append((name, current_principal(), message))
            return response()

        async def stream(message: Any, context: Any) -> Any:
            yield await one(message, context)

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, **codec)
        return grpc.unary_unary_rpc_method_handler(one, **codec)


class Door:
    """The server, and calls of it with any token."""

    def __init__(self, channel: grpc.aio.Channel, everything: Everything) -> None:
        self._channel = channel
        self.calls = everything.calls

    async def call(self, name: str, request: Message, *tokens: str) -> grpc.StatusCode:
        """How a call ends."""
        method = METHOD_DESCRIPTORS[name]
        response = GetMessageClass(method.output_type)
        kind = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        made = kind(f"/{name}", lambda message: message.SerializeToString(), response.FromString)
        metadata = [("authorization", f"Bearer {token}") for token in tokens]
        call = made(request, metadata=metadata, timeout=10)
        with contextlib.suppress(grpc.aio.AioRpcError):
            if method.server_streaming:
                [each async for each in call]
            else:
                await call
        return await call.code()  # type: ignore[no-any-return]


@pytest_asyncio.fixture(scope="module")
async def door() -> AsyncIterator[Door]:
    everything = Everything()

    def add(service: ServiceDescriptor) -> Callable[[Any, grpc.aio.Server], None]:
        handlers = {m.name: everything.handler(f"{service.full_name}/{m.name}", m) for m in service.methods}
        generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
        return lambda _, server: server.add_generic_rpc_handlers((generic,))

    servicers = [Servicer(add(service), object(), service.full_name) for service in services()]
    async with (
        open_grpc_server("127.0.0.1:0", servicers, drain_seconds=0, admission=ADMISSION) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield Door(channel, everything)


def request_of(method: str, *, tenant: str = "acme", subject: str = "") -> Message:
    """A request that names a tenant and a subject where its method has them, and nothing else."""
    access = METHODS[method]
    request = GetMessageClass(METHOD_DESCRIPTORS[method].input_type)()
    for path, value in ((access.tenant, tenant), (access.subject, subject)):
        if path and value:
            *parents, name = path.split(".")
            holder: Any = request
            for parent in parents:
                holder = getattr(holder, parent)
            setattr(holder, name, value)
    return request


def claims(**other: Any) -> dict[str, Any]:
    """The claims of a good token of a product, but for the others. None takes one away."""
    now = int(time.time())
    good = {"iss": "headrace", "aud": "headrace", "iat": now, "exp": now + 60, "sub": "", "role": "product"}
    return {name: value for name, value in {**good, "tenant": "acme", **other}.items() if value is not None}


def signed(**other: Any) -> str:
    return sign_json(claims(**other), BELIEVED.key, kind="JWT")


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def unsigned() -> str:
    """The algorithm that signs nothing."""
    return f"{_encoded({'alg': 'none', 'typ': 'JWT', 'kid': 'test'})}.{_encoded(claims())}."


def with_the_public_key_as_a_secret() -> str:
    """HS256 with what everybody knows: a verifier that goes by the header believes it."""
    secret = BELIEVED.key.material.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = f"{_encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': 'test'})}.{_encoded(claims())}"
    mac = hmac.digest(secret, body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def tampered() -> str:
    """Another tenant written into a good token."""
    header, _, signature = signed().split(".")
    return f"{header}.{_encoded(claims(tenant='other'))}.{signature}"


def by(key: Any, role: str, tenant: str) -> str:
    maker = TokenMaker(key, issuer="headrace", audience="headrace")
    return maker.make(role=role, tenant=tenant, subject="", now=time.time(), seconds=60)


def useless() -> dict[str, str]:
    """Tokens that prove nothing, by what is wrong with each."""
    now = int(time.time())
    return {
        "empty": "",
        "nonsense": "nonsense",
        "three dots": "a.b.c",
        "huge": f"{signed()}{'a' * 5_000}",
        "alg none": unsigned(),
        "HS256 with the public key": with_the_public_key_as_a_secret(),
        "tampered": tampered(),
        "another's key under our kid": by(new_key("test"), "product", "acme"),
        "unknown kid": by(new_key("unknown"), "product", "acme"),
        "expired": signed(iat=now - 600, exp=now - 61),
        "expired beyond the leeway": signed(exp=now - 31),
        "not yet": signed(nbf=now + 61),
        "of the future": signed(iat=now + 61),
        "no end": signed(exp=None),
        "endless": signed(exp=float("inf")),
        "an end in words": signed(exp="tomorrow"),
        "no beginning": signed(iat=None),
        "wrong issuer": signed(iss="somebody"),
        "no issuer": signed(iss=None),
        "wrong audience": signed(aud="others"),
        "no audience": signed(aud=None),
        "no subject": signed(sub=None),
        "no role": signed(role=None),
        "no such role": signed(role="root"),
        "a service without a name": signed(role="service:"),
        "the word for services": signed(role="service", tenant="*"),
        "no tenant": signed(tenant=None),
        "an empty tenant": signed(tenant=""),
        "a product of all tenants": signed(tenant="*"),
        "a key beyond its roles": by(PRODUCTS_OF_ACME, "privacy", "acme"),
        "a key beyond its tenants": by(PRODUCTS_OF_ACME, "product", "other"),
        "a service with another's key": by(RETRIEVER, "service:inference", "*"),
        "a person with a service's key": by(RETRIEVER, "privacy", "*"),
        "an event's signature": sign_json(claims(), BELIEVED.key, kind="headrace-event"),
    }


@pytest.mark.parametrize("method", METHODS)
async def test_a_call_without_a_token_is_nobodys(door: Door, method: str) -> None:
    before = len(door.calls)
    assert await door.call(method, request_of(method)) is grpc.StatusCode.UNAUTHENTICATED
    assert len(door.calls) == before


@pytest.mark.parametrize("method", METHODS)
async def test_a_token_that_proves_nothing_gets_in_nowhere(door: Door, method: str) -> None:
    before = len(door.calls)
    for name, token in useless().items():
        assert await door.call(method, request_of(method), token) is grpc.StatusCode.UNAUTHENTICATED, name
    assert len(door.calls) == before


async def test_two_tokens_are_none(door: Door) -> None:
    name = "headrace.query.v1.QueryService/Get"
    assert await door.call(name, request_of(name), signed(), signed()) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_clock_that_is_a_little_off_is_forgiven(door: Door) -> None:
    name, now = "headrace.query.v1.QueryService/Get", int(time.time())
    for token in (signed(exp=now - 20), signed(nbf=now + 20), signed(aud=["others", "headrace"])):
        assert await door.call(name, request_of(name), token) is grpc.StatusCode.OK


def token_of(role: str, tenant: str = "acme", subject: str = "") -> str:
    return BELIEVED.token(role, tenant=tenant, subject=subject)


@pytest.mark.parametrize("method", METHODS)
async def test_each_role_may_do_what_the_table_lists_and_nothing_else(door: Door, method: str) -> None:
    for role in CALLERS:
        allowed = role in METHODS[method].roles
        before = len(door.calls)
        code = await door.call(method, request_of(method), token_of(role))
        assert code is (grpc.StatusCode.OK if allowed else grpc.StatusCode.PERMISSION_DENIED), role
        assert len(door.calls) == before + allowed
        if allowed:
            name, principal, request = door.calls[-1]
            assert (name, principal.role, principal.tenant) == (method, role, "acme")
            assert not METHODS[method].tenant or read_path(request, METHODS[method].tenant) == "acme"


def bound(path: str) -> list[str]:
    return [name for name, access in METHODS.items() if getattr(access, path)]


@pytest.mark.parametrize("method", bound("tenant"))
async def test_the_tenant_is_the_tokens(door: Door, method: str) -> None:
    access = METHODS[method]
    for role in sorted(access.roles):
        token = token_of(role)
        assert await door.call(method, request_of(method, tenant="other"), token) is grpc.StatusCode.PERMISSION_DENIED
        assert await door.call(method, request_of(method, tenant=""), token) is grpc.StatusCode.OK
        assert read_path(door.calls[-1][2], access.tenant) == "acme"


@pytest.mark.parametrize("method", bound("tenant"))
async def test_who_speaks_for_all_names_one(door: Door, method: str) -> None:
    access = METHODS[method]
    for role in sorted(access.roles & {"privacy", "sre", *SERVICES}):
        token = token_of(role, "*")
        assert await door.call(method, request_of(method, tenant="other"), token) is grpc.StatusCode.OK
        assert read_path(door.calls[-1][2], access.tenant) == "other"
        unnamed = grpc.StatusCode.OK if access.everybody else grpc.StatusCode.INVALID_ARGUMENT
        assert await door.call(method, request_of(method, tenant=""), token) is unnamed


@pytest.mark.parametrize("method", bound("subject"))
async def test_the_subject_is_the_tokens(door: Door, method: str) -> None:
    access = METHODS[method]
    for role in sorted(access.roles):
        for subject, stated, code in (
            ("ann", "", grpc.StatusCode.OK),
            ("ann", "ann", grpc.StatusCode.OK),
            ("ann", "bob", grpc.StatusCode.PERMISSION_DENIED),
            ("", "", grpc.StatusCode.OK),
            ("", "bob", grpc.StatusCode.PERMISSION_DENIED),
        ):
            request = request_of(method, subject=stated)
            assert await door.call(method, request, token_of(role, subject=subject)) is code, (subject, stated)
            if code is grpc.StatusCode.OK:
                assert read_path(door.calls[-1][2], access.subject) == subject


async def test_what_is_in_no_table_is_called_by_nobody() -> None:
    """The seeded hole: a method that somebody forgot to list must not be anybody's."""
    everything = Everything()
    name = "headrace.query.v1.QueryService/Get"
    handler = everything.handler(name, METHOD_DESCRIPTORS[name])
    generic = grpc.method_handlers_generic_handler("headrace.query.v1.QueryService", {"Get": handler})
    forgetful: dict[str, Access] = {method: access for method, access in METHODS.items() if method != name}
    servicer = Servicer(lambda _, server: server.add_generic_rpc_handlers((generic,)), object(), "none")
    admission = Admission(BELIEVED.verifier(), methods=forgetful)
    async with (
        open_grpc_server("127.0.0.1:0", [servicer], drain_seconds=0, admission=admission) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        for role in CALLERS:
            code = await Door(channel, everything).call(name, request_of(name), token_of(role))
            assert code is grpc.StatusCode.PERMISSION_DENIED
    assert everything.calls == []


async def test_a_method_that_streams_requests_is_called_by_nobody() -> None:
    async def count(requests: Any, context: Any) -> Any:
        del requests

    handler = grpc.stream_unary_rpc_method_handler(count)
    generic = grpc.method_handlers_generic_handler("headrace.query.v1.QueryService", {"Get": handler})
    servicer = Servicer(lambda _, server: server.add_generic_rpc_handlers((generic,)), object(), "none")
    async with (
        open_grpc_server(
            "127.0.0.1:0", [servicer], drain_seconds=0, admission=Admission(BELIEVED.verifier())
        ) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = channel.stream_unary("/headrace.query.v1.QueryService/Get")(
            iter([b""]), metadata=[("authorization", f"Bearer {signed()}")], timeout=10
        )
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
