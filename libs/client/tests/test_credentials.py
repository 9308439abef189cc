"""Who calls: the token of each call, where it comes from, and what signs events."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import headrace.embedding.v1.service_pb2
import headrace.inference.v1.service_pb2
import headrace.privacy.v1.approvals_pb2
import headrace.privacy.v1.audit_pb2
import headrace.privacy.v1.erasure_pb2
import headrace.privacy.v1.keys_pb2
import headrace.privacy.v1.policy_pb2
import headrace.retrieval.v1.service_pb2  # noqa: F401 - so that their services are known
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from headrace.access import METHODS
from headrace.document.v1 import service_pb2 as documents
from headrace.feedback.v1 import service_pb2 as feedbacks
from headrace.query.v1 import service_pb2 as queries
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace.trace.v1.service_pb2 import GetTraceRequest
from headrace_client import Endpoints, MintedTokens, NotConfigured, find_credentials
from headrace_client.calls import Channels
from headrace_client.cli.app import build_app
from headrace_client.endpoints import parse_endpoints
from headrace_client.signing import find_signer, signed
from headrace_identity import Principal, TokenMaker, key_set, new_key
from headrace_identity.credentials import GivenToken
from headrace_identity.signatures import SIGNATURE, SignatureVerifier
from headrace_identity.testing import Issuer
from headrace_stream.publishers import about
from typer.testing import CliRunner

ISSUER = Issuer()


def minted(*, person: str = "pat", role: str = "") -> MintedTokens:
    return MintedTokens(TokenMaker(ISSUER.key, issuer="headrace", audience="headrace"), person=person, role=role)


async def caller(method: str, request: Message, *, role: str = "") -> Principal:
    return await ISSUER.verifier().verify(minted(role=role).token(method, request))


@pytest.mark.parametrize(
    ("method", "request_", "expected"),
    [
        (
            "headrace.query.v1.QueryService/Ask",
            queries.AskRequest(question=queries.Question(tenant="acme", subject="ann")),
            Principal("product", "acme", "ann"),
        ),
        ("headrace.query.v1.QueryService/Get", queries.GetRequest(tenant="acme"), Principal("product", "acme", "")),
        ("headrace.query.v1.QueryService/Tally", queries.TallyRequest(), Principal("sre", "*", "pat")),
        (
            "headrace.document.v1.DocumentService/Put",
            documents.PutRequest(tenant="acme"),
            Principal("steward", "acme", "pat"),
        ),
        (
            "headrace.feedback.v1.FeedbackService/Tally",
            feedbacks.TallyRequest(tenant="acme"),
            Principal("sre", "acme", "pat"),
        ),
        ("headrace.trace.v1.TraceService/GetTrace", GetTraceRequest(), Principal("sre", "*", "pat")),
    ],
)
async def test_each_call_has_the_role_that_its_method_is_there_for(
    method: str, request_: Message, expected: Principal
) -> None:
    assert await caller(method, request_) == expected


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_that_people_may_call_gets_a_token_that_passes(method: str) -> None:
    access = METHODS[method]
    if all(role.startswith("service:") for role in access.roles):
        pytest.skip("for services only")
    service, _, name = method.partition("/")
    described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    principal = await caller(method, GetMessageClass(described.input_type)())
    assert principal.role in access.roles


async def test_a_role_of_ones_own_choice_is_taken() -> None:
    asked = await caller("headrace.feedback.v1.FeedbackService/Get", feedbacks.GetRequest(tenant="a"), role="reviewer")
    assert asked == Principal("reviewer", "a", "pat")


def test_a_token_is_made_once_for_a_while() -> None:
    tokens = minted()
    request = queries.GetRequest(tenant="acme")
    made = {tokens.token("headrace.query.v1.QueryService/Get", request) for _ in range(5)}
    assert len(made) <= 2  # the while may have ended in between


def keys_in(folder: Path) -> Endpoints:
    (folder / "issuer.jwk").write_text(json.dumps(ISSUER.key.jwk()))
    (folder / "publisher.jwk").write_text(json.dumps(ISSUER.key.jwk()))
    return Endpoints(keys=str(folder))


def test_a_token_that_is_given_wins(tmp_path: Path) -> None:
    endpoints, request = keys_in(tmp_path), queries.GetRequest(tenant="acme")
    path = tmp_path / "token"
    path.write_text("from a file\n")

    def token(environ: dict[str, str]) -> str:
        credentials = find_credentials(environ, endpoints)
        assert credentials is not None
        return credentials.token("headrace.query.v1.QueryService/Get", request)

    assert token({"HEADRACE_TOKEN": "given ", "HEADRACE_TOKEN_FILE": str(path)}) == "given"
    assert token({"HEADRACE_TOKEN_FILE": str(path)}) == "from a file"
    path.write_text("renewed")
    assert token({"HEADRACE_TOKEN_FILE": str(path)}) == "renewed"
    assert token({}).count(".") == 2
    assert find_credentials({}, Endpoints()) is None


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"No token can be made.*HEADRACE_TOKEN"):
        find_credentials({}, Endpoints(keys=str(tmp_path)))
    with pytest.raises(NotConfigured, match=r"Events cannot be signed.*HEADRACE_PUBLISHER_KEY"):
        find_signer({}, Endpoints(keys=str(tmp_path)))
    missing = find_credentials({"HEADRACE_TOKEN_FILE": str(tmp_path / "none")}, Endpoints())
    assert missing is not None
    with pytest.raises(NotConfigured, match="HEADRACE_TOKEN_FILE"):
        missing.token("", GetTraceRequest())


def test_endpoints_name_keys_and_authority() -> None:
    endpoints = parse_endpoints("kafka=a:1,ingest=b:2,keys=/k,authority=/a.pem", origin="x")
    assert (endpoints.keys, endpoints.authority, dict(endpoints.services)) == ("/k", "/a.pem", {"ingest": "b:2"})


def test_an_authority_that_is_not_there_is_said() -> None:
    channels = Channels(Endpoints(services={"ingest": "a:1"}, authority="/no/such.pem"), GivenToken("t"))
    with pytest.raises(NotConfigured, match=r"/no/such.pem cannot be read"):
        channels.callee("ingest", "headrace.query.v1.QueryService")


async def test_an_event_is_signed_with_the_key_that_is_found(tmp_path: Path) -> None:
    query = QuerySubmitted(tenant="acme", product="shop", subject="ann", text="?")
    value = query.SerializeToString()
    other = new_key("other")
    (tmp_path / "other.jwk").write_text(json.dumps(other.jwk()))
    verifier = SignatureVerifier(Issuer(other).identities(), audience="headrace")
    for environ in ({"HEADRACE_PUBLISHER_KEY": str(tmp_path / "other.jwk")}, {}):
        signer = find_signer(environ, keys_in(tmp_path))
        header = signed(signer, "query.submitted", query, value=value, now=time.time())[SIGNATURE]
        if environ:
            signature = await verifier.verify(
                header, value, topic="query.submitted", roles={"product"}, now=time.time()
            )
            assert signature == about("query.submitted", query)
    assert signed(None, "query.submitted", query, value=value, now=0.0) == {}


def invoke(*arguments: str, endpoints: Path) -> Any:
    return CliRunner().invoke(build_app(), ["token", *arguments, "--endpoints", str(endpoints)])


def read(token: str) -> Principal:
    return asyncio.run(ISSUER.verifier().verify(token.strip()))


def test_the_command_makes_tokens(tmp_path: Path) -> None:
    keys_in(tmp_path)
    (tmp_path / "identities.json").write_text(json.dumps(key_set([ISSUER.key])))
    endpoints = tmp_path / "endpoints.json"
    endpoints.write_text(json.dumps({"keys": str(tmp_path)}))
    done = invoke("--role", "reviewer", "--tenant", "demo", "--subject", "rita", endpoints=endpoints)
    assert done.exit_code == 0, done.output
    assert read(done.stdout) == Principal("reviewer", "demo", "rita")
    done = invoke("--role", "product", "--tenant", "demo", endpoints=endpoints)
    assert read(done.stdout).subject == ""
    for wrong in (["--role", "root", "--tenant", "demo"], ["--role", "product", "--tenant", "*"]):
        assert invoke(*wrong, endpoints=endpoints).exit_code == 2
    endpoints.write_text("{}")
    done = invoke("--role", "sre", "--tenant", "*", endpoints=endpoints)
    assert done.exit_code == 1
