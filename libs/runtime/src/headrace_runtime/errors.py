"""The ways in which work can end other than well.

    Failure
    ├── Unauthenticated  nobody knows who is asking: UNAUTHENTICATED
    ├── Denied         the one who asks may not: dead letter; PERMISSION_DENIED
    ├── Rejected       it can never work: dead letter; INVALID_ARGUMENT with the fields
    ├── NotFound       no such thing for this tenant: NOT_FOUND
    ├── Conflict       two things that must agree don't: dead letter; FAILED_PRECONDITION
    ├── Aborted        it was given up on elsewhere: ABORTED
    ├── Overloaded     too much is waiting: RESOURCE_EXHAUSTED
    ├── TooLate        it did not happen in time: DEADLINE_EXCEEDED
    └── Unavailable    a dependency is down: the consumer waits and tries again; UNAVAILABLE

Anything else is a bug: tried again twice, then a dead letter; INTERNAL with the trace's id. No message of a Failure may
hold user text: they are shown, logged and kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Reason = Literal[
    "missing",
    "empty",
    "too_long",
    "malformed",
    "not_a_uuid",
    "not_utf8",
    "has_nul",
    "undecodable",
    "unknown_version",
    "unknown_value",
    "too_large",
    "out_of_range",
    "unsupported",
    "unauthenticated",
    "erased",
]


class Failure(Exception):
    """An expected way to end. Its text is safe to show."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a message.

    field: its path, for example "question.text"; empty for the message as a whole. reason: one of a few fixed words.
    description: a sentence for people, which never holds the value.
    """

    field: str
    reason: Reason
    description: str

    def __str__(self) -> str:
        return f"{self.field or 'message'}: {self.reason}"


class Unauthenticated(Failure):
    """Nobody knows who is asking; the text says what is wrong with the token, and never holds it."""


class Denied(Failure):
    """The one who asks may not. The text says what would be needed, and never whether anything is there."""


class Rejected(Failure):
    """It can never work."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = violations


#: What a name or an id looks like: a few lower-case words, or one of any letters. Sentences and people's names do not.
_IDENTITY = re.compile(r"[!-~]{1,600}|[a-z0-9_.@/:,-]{1,600}( [a-z0-9_.@/:,-]{1,100}){0,11}")


class NotFound(Failure):
    """There is no such thing, or it is another tenant's: the answer is the same.

    Whoever asks may have put words where a name belongs: those are not repeated.
    """

    def __init__(self, kind: str, identity: str) -> None:
        super().__init__(f"no such {kind}: {identity if _IDENTITY.fullmatch(identity) else '…'}")


class Conflict(Failure):
    """Two things that must agree don't; the text names both."""


class Aborted(Failure):
    """It was given up on elsewhere; the text says where to look."""


class Overloaded(Failure):
    """Too much is waiting; try again later."""

    def __init__(self, what: str) -> None:
        super().__init__(f"too much is waiting for {what}; try again later")


class TooLate(Failure):
    """It did not happen in time."""


class Unavailable(Failure):
    """A dependency is down; what needs it waits."""

    def __init__(self, dependency: str) -> None:
        super().__init__(f"{dependency} cannot be reached")
        self.dependency = dependency


def place_of(error: BaseException) -> str:
    """Returns where a bug was raised, "file:line": what may be logged of it, never its text."""
    traceback = error.__traceback__
    while traceback and traceback.tb_next:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}" if traceback else "unknown"
