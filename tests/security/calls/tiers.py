"""Who reads what of which tier, as the policy file says: role × tier × purpose, on records that are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from headrace.access import METHODS
from headrace.feedback.v1 import service_pb2 as feedback
from headrace.query.v1 import service_pb2 as queries
from headrace.retrieval.v1 import service_pb2 as retrieval
from headrace_privacy import Tier
from headrace_privacy.policy import Policy, Purpose, RulingKind

from tests.security.calls.matrix import Callee
from tests.security.calls.principals import Tokens
from tests.security.calls.world import SOURCE, Side

GET_ANSWER = "headrace.query.v1.QueryService/Get"
WATCH = "headrace.query.v1.QueryService/Watch"
GET_INTERACTION = "headrace.feedback.v1.FeedbackService/Get"
EXPORT = "headrace.feedback.v1.FeedbackService/Export"
SEARCH = "headrace.retrieval.v1.RetrievalService/Search"
#: Measures where passages are found, among all tiers, and reads none.
MEASURES = "service:trainer"
#: What interactions are exported for; the others are done, not read.
EXPORTED = (Purpose.EVALUATE, Purpose.REVIEW, Purpose.TRAIN, Purpose.SHARE)


@dataclass(frozen=True, slots=True)
class Reading:
    """One record, asked for by one role, and whether the policy lets it."""

    method: str
    role: str
    tier: Tier
    request: Message
    is_allowed: bool


def readings(side: Side, policy: Policy) -> Iterator[Reading]:
    """Answers and interactions of each tier, by each role that may ask for one."""
    for tier in Tier:
        about: dict[str, Any] = {"tenant": side.tenant, "query_id": side.queries[tier]}
        for method, request in (
            (GET_ANSWER, queries.GetRequest(**about)),
            (WATCH, queries.WatchRequest(**about)),
            (GET_INTERACTION, feedback.GetRequest(**about)),
        ):
            for role in sorted(METHODS[method].roles):
                is_answer = role == "product" or method != GET_INTERACTION
                purpose = Purpose.ANSWER if is_answer else Purpose.REVIEW
                yield Reading(method, role, tier, request, _allows(policy, purpose, tier, role))


def _allows(policy: Policy, purpose: Purpose, tier: Tier, role: str) -> bool:
    return policy.ruling(purpose, tier, role).kind is RulingKind.ALLOW


async def read_against_the_policy(callee: Callee, side: Side, tokens: Tokens, policy: Policy) -> list[str]:
    """The readings that ended otherwise than the policy says. Nobody has a grant."""
    cells = [*readings(side, policy)]
    outcomes = await asyncio.gather(
        *(callee.call(cell.method, cell.request, tokens.of(cell.role, side.tenant)) for cell in cells)
    )
    expected = {True: grpc.StatusCode.OK, False: grpc.StatusCode.PERMISSION_DENIED}
    return [
        f"{cell.method} of {cell.tier.label} by {cell.role}: {outcome.code.name}"
        for cell, outcome in zip(cells, outcomes, strict=True)
        if outcome.code is not expected[cell.is_allowed]
    ]


async def exported_against_the_policy(callee: Callee, side: Side, tokens: Tokens, policy: Policy) -> AsyncIterator[str]:
    """The exports that held a tier that the policy does not open to the role for the purpose, or lacked one."""
    for purpose in EXPORTED:
        for role in sorted(METHODS[EXPORT].roles):
            request = feedback.ExportRequest(tenant=side.tenant, purpose=int(purpose))  # type: ignore[arg-type]
            outcome = await callee.call(EXPORT, request, tokens.of(role, side.tenant))
            opened = {tier for tier in Tier if _allows(policy, purpose, tier, role)}
            responses: Any = outcome.responses
            held = {Tier(one.tier) for response in responses for one in response.interactions}
            code = grpc.StatusCode.OK if opened else grpc.StatusCode.PERMISSION_DENIED
            if held != opened or outcome.code is not code:
                yield f"{purpose.label} by {role}: {sorted(held)}, not {sorted(opened)} ({outcome.code.name})"


async def found_against_the_policy(callee: Callee, side: Side, tokens: Tokens, policy: Policy) -> AsyncIterator[str]:
    """The searches that found documents above what the role may be answered from, or not all below; of whoever is told
    places alone, those that say more."""
    for role in sorted(METHODS[SEARCH].roles):
        for asked in Tier:
            request = retrieval.SearchRequest(
                tenant=side.tenant, text="Which weir holds back the water?", top_k=20, sources=[SOURCE],
                max_tier=int(asked),  # type: ignore[arg-type]
            )  # fmt: skip
            outcome = await callee.call(SEARCH, request, tokens.of(role, side.tenant))
            responses: Any = outcome.responses
            found = {Tier(chunk.reference.tier) for response in responses for chunk in response.chunks}
            if role == MEASURES:
                told = [chunk for response in responses for chunk in response.chunks]
                if not told or any(chunk.HasField("text") or chunk.reference.title for chunk in told):
                    yield f"{role} up to {asked.label} is told what passages say, or nothing ({outcome.code.name})"
                continue
            opened = {tier for tier in Tier if tier <= asked and _allows(policy, Purpose.ANSWER, tier, role)}
            if found != opened:
                yield f"{role} up to {asked.label}: {sorted(found)}, not {sorted(opened)} ({outcome.code.name})"
