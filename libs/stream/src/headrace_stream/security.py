"""How a client shows the broker who it is, and knows that it speaks with the broker.

Without a name the broker has to let anybody in: that is the bus of one machine. With one, the broker knows every
client by its name (SASL) and lets it read and write what its access-control list says.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from headrace_runtime.errors import Conflict
from headrace_runtime.settings import ServiceSettings

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_FASTSTREAM = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


@dataclass(frozen=True)
class BusSecurity:
    """A client's name and password at the broker, and the certificate that the broker's is verified with.

    Without a username the client stays nameless; without an authority (a PEM file) it speaks without TLS.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    mechanism: Mechanism = "PLAIN"
    authority: Path | None = None

    def options(self) -> dict[str, Any]:
        """Returns what aiokafka's clients are told. Raises Conflict for an authority that cannot be used."""
        told: dict[str, Any] = {"security_protocol": self._protocol, "ssl_context": self._tls}
        if self.username:
            told["sasl_mechanism"] = self.mechanism
            told["sasl_plain_username"] = self.username
            told["sasl_plain_password"] = self.password
        return told

    def faststream(self) -> BaseSecurity:
        """Returns the same for FastStream's broker. Raises as options."""
        if not self.username:
            return BaseSecurity(ssl_context=self._tls)
        return _FASTSTREAM[self.mechanism](self.username, self.password, ssl_context=self._tls)

    @property
    def _protocol(self) -> str:
        return ("SASL_" if self.username else "") + ("SSL" if self.authority else "PLAINTEXT")

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        if self.authority is None:
            return None
        try:
            return ssl.create_default_context(cafile=self.authority)
        except OSError as error:  # an ssl.SSLError is one
            raise Conflict(f"{self.authority} cannot be used to verify Kafka's certificate") from error


#: Nobody in particular, in the clear.
OPEN = BusSecurity()


def bus_security(settings: ServiceSettings) -> BusSecurity:
    """Returns how a service's settings have it speak with the broker."""
    return BusSecurity(
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        mechanism=settings.kafka_mechanism,
        authority=settings.kafka_authority,
    )
