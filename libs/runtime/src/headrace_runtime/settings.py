"""What every service can be told, and how a wrong setting is reported."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="ServiceSettings")

#: Settings whose value is nobody's to read off a terminal or a log: passwords, keys, and the addresses that hold one.
_SECRET = re.compile(r"password|secret|token|key|database|dsn", re.IGNORECASE)


class ServiceSettings(BaseSettings):
    """The settings that all services share. Each has the prefix HEADRACE_<SERVICE>_."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    kafka: str = Field("127.0.0.1:9092", description="Kafka's bootstrap servers, host:port, separated by commas.")
    kafka_username: str = Field("", description="The service's name at Kafka (SASL); empty stays nameless.")
    kafka_password: SecretStr = Field(SecretStr(""), description="Its password there.")
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="How the password is shown to Kafka."
    )
    kafka_authority: Path | None = Field(
        None, description="What Kafka's certificate is verified with, PEM; unset speaks with Kafka without TLS."
    )
    listen: str = Field(
        "127.0.0.1:0", description="Where gRPC is served, host:port; port 0 takes a free one.", pattern=r"^.+:\d+$"
    )
    traces: str = Field("", description="An OTLP collector, http://host:port; empty sends no spans there.")
    drain_seconds: float = Field(15.0, ge=0, description="How long work under way may take when the service stops.")
    identities: str = Field(
        "",
        description="Whose tokens are believed: the JSON Web Key Set, a path or an http(s) address. Needed to start.",
    )
    issuer: str = Field("headrace", min_length=1, description="The issuer that tokens must name.")
    audience: str = Field("headrace", min_length=1, description="The audience that tokens must name.")
    leeway_seconds: float = Field(30.0, ge=0, le=60, description="How far two clocks may be apart.")
    service_key: Path | None = Field(
        None, description="The service's own private key, a JWK or PEM, for its calls of other services."
    )
    classifier: str = Field("", description="The classifier, host:port: it has the data keys and says what is allowed.")
    policy: Path | None = Field(None, description="The policy's YAML file; unset takes the one that is shipped.")
    tls_certificate: Path | None = Field(None, description="The server's certificate chain, PEM; with tls_key.")
    tls_key: Path | None = Field(None, description="The certificate's private key, PEM.")
    tls_authority: Path | None = Field(
        None, description="What other services' certificates are verified with, PEM; unset calls them without TLS."
    )


class StatefulSettings(ServiceSettings):
    """The settings of a service that owns tables."""

    database: str = Field(description="The DSN of the service's own role, postgresql://….")


class DoorSettings(StatefulSettings):
    """The settings of a service that takes events from outside."""

    publishers: Literal["signed", "broker"] = Field(
        "signed",
        description="Who is believed to publish what comes from outside: whoever signs it with a key among the "
        "identities, or whoever the broker lets write.",
    )


def load(settings: type[S]) -> S:
    """Reads the settings once. A wrong one ends the process with its name, its value and what was expected."""
    try:
        return settings()
    except ValidationError as error:
        _explain(settings, error)


def service_name(settings: ServiceSettings) -> str:
    """Returns the service's short name, as its variables have it: "ingest"."""
    return settings.model_config.get("env_prefix", "").removeprefix("HEADRACE_").removesuffix("_").lower()


def variable(settings: ServiceSettings, name: str) -> str:
    """Returns the variable that sets a setting: "HEADRACE_INGEST_IDENTITIES"."""
    return f"{settings.model_config.get('env_prefix', '')}{name}".upper()


def _explain(settings: type[ServiceSettings], error: ValidationError) -> NoReturn:
    prefix = settings.model_config.get("env_prefix", "")
    for problem in error.errors(include_url=False):
        name = f"{prefix}{'_'.join(map(str, problem['loc']))}".upper()
        if problem["type"] == "missing":
            sys.stderr.write(f"{name} is not set. {_purpose(settings, str(problem['loc'][0]))}\n")
        else:
            sys.stderr.write(f"{name}{_shown(name, problem['input'])} is wrong: {problem['msg']}.\n")
    sys.exit(2)


def _shown(name: str, value: object) -> str:
    """Returns "=value" where a value may be shown: one of a secret's, or an address with a password in it, may not."""
    return "" if _SECRET.search(name) or "@" in str(value) else f"={value!r}"


def _purpose(settings: type[ServiceSettings], name: str) -> str:
    field = settings.model_fields.get(name)
    return (field.description if field else None) or ""
