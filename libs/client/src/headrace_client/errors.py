"""What can go wrong when talking to Headrace. Every message is one or two sentences for people, with the mend.

HeadraceError
├── NotConfigured   nobody said where Headrace is
├── Unreachable     nothing answers at the address
├── Unavailable     the service answers, but what it needs does not; ask again later
├── TimedOut        the deadline passed; what was asked for may still happen
├── Overloaded      too much is queued; ask again later
├── Refused         the request is wrong: `violations` names each field
├── Denied          the policy forbids it
├── NotFound        this tenant has no such thing
├── Conflict        the state of things does not allow it
├── DeadLettered    a service could not handle the query: see `headrace dlq list`
└── Faulty          a fault in the service; its logs have more
"""

from __future__ import annotations

from dataclasses import dataclass


class HeadraceError(Exception):
    """The root of the tree."""


class NotConfigured(HeadraceError):
    """Nobody said where Headrace, or the part of it that is needed, can be reached."""


class Unreachable(HeadraceError):
    """Nothing answers at the address, or the connection broke."""

    def __init__(self, what: str, address: str) -> None:
        super().__init__(f"Nothing answers at {address} ({what}). Start Headrace with `headrace up`.")
        self.what = what
        self.address = address


class Unavailable(HeadraceError):
    """The service answers but cannot work now."""


class TimedOut(HeadraceError):
    """The deadline passed before the answer came."""


class Overloaded(HeadraceError):
    """Too much is queued."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: the field's path and a sentence for people."""

    field: str
    description: str


class Refused(HeadraceError):
    """The request is wrong; `violations` says where, and may be empty when the server did not say."""

    def __init__(self, summary: str, *violations: Violation) -> None:
        super().__init__("\n".join([summary, *(f"  {v.field or 'request'}: {v.description}" for v in violations)]))
        self.violations = violations


class Denied(HeadraceError):
    """The policy forbids it."""


class NotFound(HeadraceError):
    """This tenant has no such thing, or not yet."""


class Conflict(HeadraceError):
    """The state of things does not allow it."""


class DeadLettered(HeadraceError):
    """A service could not handle the query; it waits among the dead letters."""


class Faulty(HeadraceError):
    """A fault in the service."""
