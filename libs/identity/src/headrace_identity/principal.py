"""Who is asking: a role, a tenant, a subject. Set by the gRPC edge, read by whoever has to know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from headrace.access import ROLES

#: The tenant of a token that speaks for all of them.
EVERYBODY = "*"

#: Every service's role begins so, "service:retriever".
SERVICE = "service:"

#: The roles whose tokens may speak for all tenants; every service may too.
OF_ALL_TENANTS = frozenset({"privacy", "sre"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. tenant: one tenant, or "*" for all. subject: the end user or the colleague; may be empty."""

    role: str
    tenant: str
    subject: str

    @property
    def is_of_all_tenants(self) -> bool:
        """Whether it speaks for every tenant."""
        return self.tenant == EVERYBODY


_current: ContextVar[Principal] = ContextVar("headrace_principal")


def current_principal() -> Principal:
    """Returns who makes the call that is being served. Raises LookupError outside of a call."""
    return _current.get()


def enter(principal: Principal) -> None:
    """Makes the principal the current one for the rest of this task."""
    _current.set(principal)


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Makes the principal the current one within the block."""
    token = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(token)


def is_role(role: str) -> bool:
    """Says whether there is such a role: one of the table of access, or a service's."""
    if role.startswith(SERVICE):
        return len(role) > len(SERVICE)
    return role in ROLES and role != "service"


def may_speak_for_all(role: str) -> bool:
    """Says whether a token of this role may name all tenants."""
    return role in OF_ALL_TENANTS or role.startswith(SERVICE)
