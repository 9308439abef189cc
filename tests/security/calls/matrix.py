"""The cells of the matrix, and what is wrong with a house that answers them otherwise.

    principal (role, whose token, or a token that proves nothing) × method × whose request

`refusals` are the cells where the door must say no; `admissions` those that the table of access lists. `twins` compares
what one tenant is told of another's things with what it is told of things that nobody has.
"""

from __future__ import annotations

import asyncio
import random
import re
import statistics
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from headrace.access import METHODS

from tests.security.calls import drifting, learning, modelling, samples, training
from tests.security.calls.house import Outcome
from tests.security.calls.principals import ROLES_OF_ALL, Tokens, tenants_of
from tests.security.calls.sampling import SAMPLES, Sample, named, naming
from tests.security.calls.world import Side
from tests.security.methods import descriptors

#: Importing them is what fills the table of samples.
_TABLES = (samples, learning, drifting, training, modelling)


class Callee(Protocol):
    """What can be called: a house, or a stand-in for one."""

    @property
    def methods(self) -> list[str]:
        """Full names."""

    async def call(self, method: str, request: Message, token: str) -> Outcome:
        """How a call ends."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One call that must be refused, and with which code. reason: "role", "tenant" or "token"."""

    method: str
    role: str
    tenant: str
    reason: str
    request: Message
    token: str
    code: grpc.StatusCode

    def __str__(self) -> str:
        return f"{self.method} by {self.role} of {self.tenant} ({self.reason})"


def refusals(methods: Sequence[str], tokens: Tokens, *, own: str, other: str) -> Iterator[Cell]:
    """Every cell that must be refused, for requests of the tenant `own`."""
    for method in methods:
        access, request = METHODS[method], bare_request(method, own)
        for role in ROLES_OF_ALL:
            if role not in access.roles:
                for tenant in tenants_of(role, own):
                    token = tokens.of(role, tenant)
                    yield Cell(method, role, tenant, "role", request, token, grpc.StatusCode.PERMISSION_DENIED)
            elif access.tenant:
                token = tokens.of(role, other)
                yield Cell(method, role, other, "tenant", request, token, grpc.StatusCode.PERMISSION_DENIED)
        for role in sorted(access.roles):
            for flaw, token in tokens.useless(role, own).items():
                yield Cell(method, role, own, flaw, request, token, grpc.StatusCode.UNAUTHENTICATED)


def bare_request(method: str, tenant: str) -> Message:
    """A request that names a tenant where the method has one, and nothing else."""
    request: Any = GetMessageClass(descriptors()[method].input_type)()
    return naming(request, METHODS[method].tenant, tenant) if METHODS[method].tenant else request


async def wrongly_answered(callee: Callee, cells: Sequence[Cell]) -> list[str]:
    """The cells that were not refused as they must be."""
    outcomes = await asyncio.gather(*(callee.call(cell.method, cell.request, cell.token) for cell in cells))
    return [
        f"{cell}: {outcome.code.name}, not {cell.code.name}"
        for cell, outcome in zip(cells, outcomes, strict=True)
        if outcome.code is not cell.code or outcome.responses
    ]


def missing_samples(methods: Sequence[str]) -> list[str]:
    """What is served and has no sample, with the mend."""
    return [
        f"{method}: add a sample, as tests/security/calls/sampling.py tells"
        for method in methods
        if method not in SAMPLES
    ]


def with_samples(methods: Sequence[str]) -> list[str]:
    """Those that have one: the others are told of elsewhere."""
    return [method for method in methods if method in SAMPLES]


def unnamed_ids(methods: Sequence[str], known: Mapping[str, Sample] = SAMPLES) -> list[str]:
    """Fields that name something by their name, and of which the sample does not say what."""
    found = []
    for method in filter(known.__contains__, methods):
        sample = known[method]
        said = {METHODS[method].tenant, *sample.chosen, *(path for path, _ in sample.asked())}
        found += [f"{method}: {path}" for path in id_paths(descriptors()[method].input_type) if path not in said]
    return found


def id_paths(message: Descriptor, path: str = "") -> Iterator[str]:
    """The paths of a message's fields that end with _id or _ids."""
    for field in message.fields:
        here = f"{path}{field.name}"
        if field.message_type is not None and field.message_type.full_name.startswith("headrace."):
            yield from id_paths(field.message_type, f"{here}.")
        elif field.name.endswith(("_id", "_ids")):
            yield here


async def wrongly_refused(callee: Callee, side: Side, tokens: Tokens) -> list[str]:
    """The cells that the table lists and that did not end as the sample says."""

    async def one(method: str, role: str, tenant: str) -> str:
        sample = SAMPLES[method]
        try:
            request = await sample.make(side)
        except AssertionError as error:
            return f"{method} by {role} of {tenant} cannot be asked for: {error}"
        outcome = await callee.call(method, request, tokens.of(role, tenant))
        said = f"{method} by {role} of {tenant}: {outcome.code.name} {outcome.words}"
        return "" if sample.is_well(outcome.code, role) else said

    cells = [
        (method, role, tenant)
        for method in with_samples(callee.methods)
        for role in sorted(METHODS[method].roles)
        for tenant in tenants_of(role, side.tenant)
    ]
    return [wrong for wrong in await asyncio.gather(*(one(*cell) for cell in cells)) if wrong]


# Another's ids, and ids that nobody has


@dataclass(frozen=True, slots=True)
class Twins:
    """Two requests of one tenant: for what another has, and for what nobody has."""

    method: str
    path: str
    foreign: Message
    unknown: Message
    token: str

    def __str__(self) -> str:
        return f"{self.method}: {self.path}"


async def twins_of(method: str, sample: Sample, ours: Side, theirs: Side, tokens: Tokens) -> AsyncIterator[Twins]:
    """For each field that names something, and each role that may ask for one tenant.

    None where what the sample needs cannot be made: that is told of where each cell is let in.
    """
    for path, others in sample.asked():
        try:
            foreign, request = named(await sample.make(theirs), path), await sample.make(ours)
        except AssertionError:
            return
        foreign = foreign or theirs.known[path]
        for other in others:
            request = naming(request, other, "")
        for role in sorted(METHODS[method].roles):
            yield Twins(
                method,
                path,
                naming(request, path, foreign),
                naming(request, path, nobodys(foreign)),
                tokens.of(role, ours.tenant),
            )


def nobodys(foreign: str) -> str:
    """An id of the same form and length that nothing has."""
    try:
        UUID(foreign)
    except ValueError:
        return f"{foreign[:-6]}{uuid4().hex[:6]}" if len(foreign) > 6 else uuid4().hex[: len(foreign)]
    return uuid4().hex if len(foreign) == 32 else str(uuid4())


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")


def told(outcome: Outcome, value: str) -> tuple[str, str, bytes, tuple[str, ...]]:
    """What a caller learns, without the id that it asked for, other ids, and numbers; of a stream how it ends, since
    what is seen of a query on its way is a matter of when one looks."""
    return (
        outcome.code.name,
        _masked(outcome.words, value),
        outcome.details.replace(value.encode(), b"?"),
        tuple(_masked(text_format.MessageToString(response), value) for response in outcome.responses[-1:]),
    )


def _masked(text: str, value: str) -> str:
    return re.sub(r"\d+", "N", _UUID.sub("U", text.replace(value, "?")))


async def differences(callee: Callee, twins: Sequence[Twins]) -> list[str]:
    """Those of which a caller can tell which is another's."""
    outcomes = await asyncio.gather(
        *(callee.call(pair.method, request, pair.token) for pair in twins for request in (pair.foreign, pair.unknown))
    )
    found = []
    for pair, foreign, unknown in zip(twins, outcomes[::2], outcomes[1::2], strict=True):
        theirs, nobody = told(foreign, named(pair.foreign, pair.path)), told(unknown, named(pair.unknown, pair.path))
        if theirs != nobody:
            found.append(f"{pair}: {theirs} of another's, {nobody} of nobody's")
    return found


#: How many times each of two requests is made to compare how long they take.
ROUNDS = 24
#: Two series differ when one is faster in more than this share of all pairs; by chance that is 6 standard deviations.
TELLING = 0.95
#: And when their medians are further apart than this, in seconds: less cannot be told across a network.
APPARENT = 0.003


async def lookups(callee: Callee, twins: Sequence[Twins]) -> list[Twins]:
    """One of each field by which something is looked up: what nobody has is not found, and nothing comes of asking."""
    each = [*{str(pair): pair for pair in twins}.values()]
    outcomes = await asyncio.gather(*(callee.call(pair.method, pair.unknown, pair.token) for pair in each))
    return [pair for pair, outcome in zip(each, outcomes, strict=True) if outcome.code is grpc.StatusCode.NOT_FOUND]


async def slower_or_faster(callee: Callee, pair: Twins) -> str:
    """What a caller could tell by the clock, gross differences only; "" for nothing.

    Requests are mixed at random, and each asks for another id that nobody has, as a caller who guesses would.
    """
    order = [True] * ROUNDS + [False] * ROUNDS
    random.Random(pair.method).shuffle(order)
    seconds: dict[bool, list[float]] = {True: [], False: []}

    async def one(is_foreign: bool) -> None:
        fresh = naming(pair.unknown, pair.path, nobodys(named(pair.foreign, pair.path)))
        outcome = await callee.call(pair.method, pair.foreign if is_foreign else fresh, pair.token)
        seconds[is_foreign].append(outcome.seconds)

    await asyncio.gather(*map(one, order))
    share = _share_faster(seconds[True], seconds[False])
    apart = statistics.median(seconds[True]) - statistics.median(seconds[False])
    if max(share, 1 - share) > TELLING and abs(apart) > APPARENT:
        return f"{pair}: another's takes {apart * 1e3:+.1f} ms, told right in {max(share, 1 - share):.0%} of pairs"
    return ""


def _share_faster(one: Sequence[float], other: Sequence[float]) -> float:
    """In which share of all pairs the first is faster: Mann and Whitney's U over its largest value."""
    return sum(a < b for a in one for b in other) / (len(one) * len(other))
