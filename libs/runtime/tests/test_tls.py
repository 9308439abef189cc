"""TLS with a certificate of one's own making, and what a service knows others by."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from headrace_identity.testing import Issuer
from headrace_runtime.admission import Admission, open_admission
from headrace_runtime.errors import Conflict
from headrace_runtime.grpc_client import open_channel, own_credentials
from headrace_runtime.grpc_server import open_grpc_server
from headrace_runtime.health import is_serving
from headrace_runtime.settings import ServiceSettings
from headrace_runtime.tls import certificate_of, read_pem
from pydantic_settings import SettingsConfigDict
from structlog.testing import capture_logs

ISSUER = Issuer()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A certificate of 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "headrace")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, SHA256())
    )
    (folder / "tls.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"tls_certificate": folder / "tls.pem", "tls_key": folder / "tls.key"}


async def test_a_server_with_a_certificate_talks_to_who_trusts_it(house: Mapping[str, Path]) -> None:
    certificate = certificate_of(ServiceSettings(**house))  # type: ignore[arg-type]
    admission = Admission(ISSUER.verifier())
    async with open_grpc_server(
        "127.0.0.1:0", [], drain_seconds=0, admission=admission, certificate=certificate
    ) as server:
        await server.set_serving()
        address = f"127.0.0.1:{server.port}"
        async with open_channel(address, authority=house["tls_certificate"]) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert await asyncio.to_thread(is_serving, address, house["tls_certificate"])
        assert not await asyncio.to_thread(is_serving, address)
        async with open_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_half_a_certificate_is_none(house: Mapping[str, Path]) -> None:
    assert certificate_of(ServiceSettings()) is None
    with pytest.raises(Conflict, match="go together"):
        certificate_of(ServiceSettings(tls_key=house["tls_key"]))


def test_what_is_no_certificate_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("nonsense")
    with pytest.raises(Conflict, match="is not PEM"):
        read_pem(tmp_path / "x")
    with pytest.raises(Conflict, match="cannot be read"):
        read_pem(tmp_path / "none")


class Settings(ServiceSettings):
    """A service's."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_INGEST_")


@pytest.mark.parametrize(
    ("identities", "why"),
    [
        ("", "HEADRACE_INGEST_IDENTITIES is not set: name the JSON Web Key Set"),
        ("/no/such/file", "HEADRACE_INGEST_IDENTITIES: the set of keys /no/such/file cannot be read"),
    ],
)
async def test_a_service_that_can_know_nobody_does_not_start(identities: str, why: str) -> None:
    with pytest.raises(Conflict, match=why):
        async with open_admission(Settings(identities=identities)):
            pass


async def test_a_service_shows_others_its_own_key(tmp_path: Path) -> None:
    settings = Settings(**ISSUER.settings(tmp_path))
    token = own_credentials(settings).token("", health_pb2.HealthCheckRequest())
    principal = await ISSUER.verifier().verify(token)
    assert (principal.role, principal.tenant) == ("service:ingest", "*")
    with pytest.raises(Conflict, match="HEADRACE_INGEST_SERVICE_KEY is not set"):
        own_credentials(Settings())
    with pytest.raises(Conflict, match="cannot be read"):
        own_credentials(Settings(service_key=tmp_path / "none"))


async def test_a_refusal_is_logged_without_the_token_or_the_subject() -> None:
    admission = Admission(ISSUER.verifier())
    tokens = [ISSUER.token("product", tenant="acme", subject="ann-the-end-user"), "canary-token"]
    with capture_logs() as logs:
        for token in tokens:
            with pytest.raises(Exception, match=r"token|role"):
                await admission.admit(
                    "headrace.privacy.v1.KeyService/Rotate",
                    health_pb2.HealthCheckRequest(),
                    [("authorization", f"Bearer {token}")],
                )
    assert [(log["event"], log["reason"]) for log in logs] == [
        ("call denied", "role"),
        ("call not authenticated", "malformed"),
    ]
    assert not any(secret in str(logs) for secret in ("ann-the-end-user", "canary-token", tokens[0]))
