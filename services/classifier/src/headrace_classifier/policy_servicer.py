"""The gRPC edge of the policy, and of what is decided beside it. Who may call what is decided before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from grpc.aio import ServicerContext
from headrace.privacy.v1 import policy_pb2
from headrace.privacy.v1.policy_pb2_grpc import PolicyServiceServicer
from headrace_identity import Principal
from headrace_privacy import Owner, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Rejected
from headrace_telemetry.tracing import trace_id

from headrace_classifier import policy_translate as translate
from headrace_classifier.approval_translate import check_tenant
from headrace_classifier.deciding import decide_tier, put_dictionary, take_back
from headrace_classifier.dictionaries import StoredDictionary, pack
from headrace_classifier.registry import Register, Registry

Context = ServicerContext[Any, Any]


class PolicyServicer(PolicyServiceServicer):
    """Serves headrace.privacy.v1.PolicyService. `refresh` brings this instance's memory up to what was committed."""

    def __init__(
        self,
        registry: Registry,
        policy: Policy,
        vault: Vault,
        *,
        refresh: Callable[[], Awaitable[None]],
        caller: Callable[[], Principal],
        now: Callable[[], datetime],
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._vault = vault
        self._refresh = refresh
        self._caller = caller
        self._now = now

    async def Explain(self, request: policy_pb2.ExplainRequest, context: Context) -> policy_pb2.ExplainResponse:
        """Raises Rejected."""
        return translate.explained(request, self._policy)

    async def DecideTier(
        self, request: policy_pb2.DecideTierRequest, context: Context
    ) -> policy_pb2.DecideTierResponse:
        """Raises Rejected, Denied; NotFound for a decision that is to be taken back and is not there."""
        wish = translate.read_wish(request)
        async with self._registry.open(wish.about.tenant) as register:
            decision = await self._decide(wish, register)
        await self._refresh()
        return policy_pb2.DecideTierResponse(decision=decision)

    async def _decide(self, wish: translate.Wish, register: Register) -> policy_pb2.TierDecision:
        by, version, now, trace = self._caller(), self._policy.version, self._now(), trace_id()
        if wish.tier is None:
            await take_back(wish.about, register, by=by, policy_version=version, now=now, trace_id=trace)
            return translate.taken_back(wish)
        decision = await decide_tier(
            wish.about,
            wish.tier,
            register,
            reason=wish.reason,
            by=by,
            policy_version=version,
            now=now,
            trace_id=trace,
        )
        return translate.to_decision(decision)

    async def ListTierDecisions(
        self, request: policy_pb2.ListTierDecisionsRequest, context: Context
    ) -> policy_pb2.ListTierDecisionsResponse:
        """By tenant, kind and name."""
        async with self._registry.open(request.tenant or self._caller().tenant) as register:
            decisions = await register.tier_decisions()
        return policy_pb2.ListTierDecisionsResponse(decisions=map(translate.to_decision, decisions))

    async def PutDictionary(
        self, request: policy_pb2.PutDictionaryRequest, context: Context
    ) -> policy_pb2.PutDictionaryResponse:
        """Raises Rejected, Denied."""
        identifiers = translate.read_identifiers(request)
        seal = await self._vault.seal_for(Owner.index(request.tenant))
        dictionary = StoredDictionary(
            tenant=request.tenant,
            identifiers=len(identifiers),
            sealed=seal.close(pack(identifiers)).SerializeToString(),
            changed_by=self._caller().subject,
            changed_at=self._now(),
        )
        async with self._registry.open(request.tenant) as register:
            await put_dictionary(
                dictionary, register, by=self._caller(), policy_version=self._policy.version, trace_id=trace_id()
            )
        await self._refresh()
        return policy_pb2.PutDictionaryResponse(identifiers=len(identifiers))

    async def GetDictionary(
        self, request: policy_pb2.GetDictionaryRequest, context: Context
    ) -> policy_pb2.GetDictionaryResponse:
        """Raises Rejected."""
        if wrong := list(check_tenant(request.tenant)):
            raise Rejected(*wrong)
        async with self._registry.open(request.tenant) as register:
            return translate.to_size(await register.dictionary(request.tenant))
