"""What the verbs of the privacy team share: words for purposes, states and moments, and who acts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from os import environ
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.access import ROLES
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import Purpose
from headrace_privacy import policy

from headrace_client.cli.options import endpoints_from
from headrace_client.client import Client
from headrace_client.credentials import find_credentials

PURPOSES = {purpose.label: privacy_pb2.Purpose.ValueType(purpose) for purpose in policy.Purpose}


def _purpose(word: str) -> str:
    if word and word not in PURPOSES:
        raise typer.BadParameter(f"{word!r} is not a purpose; say {', '.join(PURPOSES)}.")
    return word


def _role(word: str) -> str:
    if word and word not in ROLES:
        people = [role for role in ROLES if role != "service"]
        raise typer.BadParameter(f"{word!r} is not a role; say {', '.join(people)}.")
    return word


PurposeOption = Annotated[
    str,
    typer.Option(
        "--purpose", callback=_purpose, show_default=False, metavar="|".join(PURPOSES), help="What it is used for."
    ),
]
ActingRoleOption = Annotated[
    str,
    typer.Option(
        "--role",
        callback=_role,
        show_default=False,
        metavar="ROLE",
        help="The role that you act in, where Headrace makes its own tokens.",
    ),
]


@asynccontextmanager
async def connected(stated: str, *, person: str = "", role: str = "") -> AsyncIterator[Client]:
    """A client in the name of a person, in a role."""
    endpoints = endpoints_from(stated)
    credentials = find_credentials(environ, endpoints, person=person, role=role)
    async with Client.connect(endpoints, credentials=credentials) as client:
        yield client


def purpose_word(purpose: Purpose.ValueType) -> str:
    """ "review"; "" where nothing is said."""
    return {number: word for word, number in PURPOSES.items()}.get(purpose, "")


#: Each purpose as what one does with records.
_DOINGS = {
    "answer": "answering from",
    "log": "logging of",
    "evaluate": "evaluation of",
    "review": "review of",
    "train": "training on",
    "share": "sharing of",
}


def doing(purpose: Purpose.ValueType) -> str:
    """ "review of", "training on": to be followed by whose records."""
    return _DOINGS.get(purpose_word(purpose), "use of")


def moment(stamp: Timestamp) -> str:
    """ "2026-11-21 09:12", UTC; "" where there is none."""
    return stamp.ToDatetime(UTC).strftime("%Y-%m-%d %H:%M") if stamp.ByteSize() else ""


def json_moment(stamp: Timestamp) -> str | None:
    """RFC 3339; None where there is none."""
    return stamp.ToJsonString() if stamp.ByteSize() else None


def parse_moment(text: str) -> datetime:
    """Reads "2026-12-01" (its first moment, UTC) or "2026-12-01T09:00" with or without a zone. Raises BadParameter."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a moment; say 2026-12-01 or 2026-12-01T09:00+01:00.") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
