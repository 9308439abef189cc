"""The gRPC edge."""

from __future__ import annotations

from typing import Any

from grpc.aio import ServicerContext
from headrace.privacy.v1.service_pb2 import ClassifyRequest, ClassifyResponse
from headrace.privacy.v1.service_pb2_grpc import PrivacyServiceServicer
from headrace_privacy.policy import Policy

from headrace_classifier import translate
from headrace_classifier.handlers import NO_DECISIONS, NO_DICTIONARIES, classify
from headrace_classifier.ports import Dictionaries, Inspector
from headrace_classifier.tier_decisions import Decisions


class PrivacyServicer(PrivacyServiceServicer):
    """Serves headrace.privacy.v1.PrivacyService."""

    def __init__(
        self,
        policy: Policy,
        inspector: Inspector,
        *,
        decisions: Decisions = NO_DECISIONS,
        dictionaries: Dictionaries = NO_DICTIONARIES,
    ) -> None:
        """Takes the policy, the decisions and the dictionaries in force, and the inspector."""
        self._policy = policy
        self._inspector = inspector
        self._decisions = decisions
        self._dictionaries = dictionaries

    async def Classify(
        self,
        request: ClassifyRequest,
        context: ServicerContext[Any, Any],
    ) -> ClassifyResponse:
        """Classifies one text as the pipeline would. Raises Rejected with each wrong field."""
        submission = translate.request_submission(request)
        verdict = await classify(
            submission,
            policy=self._policy,
            inspector=self._inspector,
            decisions=self._decisions,
            dictionaries=self._dictionaries,
        )
        return translate.classify_response(verdict)
