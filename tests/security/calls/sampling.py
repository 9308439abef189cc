"""A request of each method that is fine, and which of its fields name something that a tenant has.

To add a method: in samples.py, or in learning.py for what measures answers, write

    @sample("package.v1.Service/Method", ids=(...))

above a coroutine that takes a Side and returns a request that one of that tenant may make; `side.once` makes what
several need. The matrix calls it for every role that the table of access lists. What the request names (its `ids`:
paths of fields, as in access.yaml) must be what only that side has, since the matrix asks one side for the other's too;
"query_id|trace_id" names one thing by either. A field that ends with _id and names nothing, since the caller chooses
it, stands in `chosen`. If a good call ends otherwise than with OK, say how by `code`, HOWEVER where that depends; roles
that the table of access lists and the policy file does not are `refused`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from tests.security.calls.world import Side

#: Let in; what it finds there is another test's.
HOWEVER = None
_NOT_LET_IN = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}

Make = Callable[[Side], Awaitable[Message]]


@dataclass(frozen=True, slots=True)
class Sample:
    """A method's request, and what is known of it; see above."""

    make: Make
    ids: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    code: grpc.StatusCode | None = grpc.StatusCode.OK
    refused: tuple[str, ...] = ()

    def is_well(self, code: grpc.StatusCode, role: str) -> bool:
        """Whether a good call of a role that the table lists may end so."""
        if role in self.refused:
            return code is grpc.StatusCode.PERMISSION_DENIED
        return code not in _NOT_LET_IN if self.code is HOWEVER else code is self.code

    def asked(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each field that names something, with those that say the same otherwise."""
        for names in self.ids:
            for name in names.split("|"):
                yield name, tuple(other for other in names.split("|") if other != name)


SAMPLES: dict[str, Sample] = {}


def sample(
    method: str,
    *,
    ids: tuple[str, ...] = (),
    chosen: tuple[str, ...] = (),
    code: grpc.StatusCode | None = grpc.StatusCode.OK,
    refused: tuple[str, ...] = (),
) -> Callable[[Make], Make]:
    """Notes the request of a method."""

    def noted(make: Make) -> Make:
        SAMPLES[method] = Sample(make, ids, chosen, code, refused)
        return make

    return noted


def named(request: Any, path: str) -> str:
    """What a request names at a path; where there are several on the way, by the first."""
    value = request
    for name in path.split("."):
        value = _first(getattr(value, name))
    return str(value)


def naming(request: Message, path: str, value: str) -> Message:
    """The same request, but for what it names at a path."""
    changed: Any = type(request)()
    changed.CopyFrom(request)
    *parents, last = path.split(".")
    holder = changed
    for name in parents:
        holder = _first(getattr(holder, name))
    if isinstance(getattr(holder, last), str):
        setattr(holder, last, value)
    else:
        del getattr(holder, last)[:]
        getattr(holder, last).append(value)
    return changed  # type: ignore[no-any-return]


def _first(value: Any) -> Any:
    """The first of several, "" where there is none."""
    if isinstance(value, str | Message):
        return value
    return value[0] if len(value) else ""
