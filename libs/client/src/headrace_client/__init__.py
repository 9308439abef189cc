"""Headrace's Python SDK: `Client` asks and looks after documents over gRPC, `Publisher` puts events on the bus.

The messages are those of the contracts, in the package `headrace`.
"""

from headrace_client.client import Client
from headrace_client.credentials import MintedTokens, TokenFile, find_credentials
from headrace_client.endpoints import Endpoints, find_endpoints
from headrace_client.errors import (
    Conflict,
    DeadLettered,
    Denied,
    Faulty,
    HeadraceError,
    NotConfigured,
    NotFound,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    Violation,
)
from headrace_client.publisher import Encoding, Publisher, Receipt
from headrace_client.updates import Answered, Progress, Restarted, Text, Update

__all__ = [
    "Answered",
    "Client",
    "Conflict",
    "DeadLettered",
    "Denied",
    "Encoding",
    "Endpoints",
    "Faulty",
    "HeadraceError",
    "MintedTokens",
    "NotConfigured",
    "NotFound",
    "Overloaded",
    "Progress",
    "Publisher",
    "Receipt",
    "Refused",
    "Restarted",
    "Text",
    "TimedOut",
    "TokenFile",
    "Unavailable",
    "Unreachable",
    "Update",
    "Violation",
    "find_credentials",
    "find_endpoints",
]
