"""The Kafka edge: what is taken off the bus, and what is put there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace import topics
from headrace.document.v1.document_pb2 import DocumentAccepted
from headrace.query.v1.events_pb2 import QueryAccepted
from headrace_privacy import Vault, owner_of_document, owner_of_query
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Rejected, Violation
from headrace_stream import Bus, Delivery, Event
from headrace_stream.erasures import forget_erased
from headrace_telemetry.tracing import describe
from opentelemetry.trace import get_current_span

from headrace_classifier import translate
from headrace_classifier.handlers import NO_DECISIONS, NO_DICTIONARIES, classify, tier_by_provenance
from headrace_classifier.ports import Dictionaries, Inspector
from headrace_classifier.submission import Submission
from headrace_classifier.tier_decisions import Decisions
from headrace_classifier.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Consumers:
    """The classifier's subscriptions. Stateless: a replay makes the same event again, with the same id.

    Queries and documents have inspectors of their own, so that a long document never holds up a short question.
    """

    policy: Policy
    queries: Inspector
    documents: Inspector
    vault: Vault
    now: Callable[[], datetime]
    decisions: Decisions = NO_DECISIONS
    dictionaries: Dictionaries = NO_DICTIONARIES

    def subscribe(self, bus: Bus, *, queries_in_flight: int, documents_in_flight: int) -> None:
        """Subscribes to queries and documents, and lets go of keys when somebody is erased."""
        forget_erased(bus, self.vault.forget)
        bus.subscribe(topics.QUERY_ACCEPTED, self.on_query, in_flight=queries_in_flight)
        bus.subscribe(topics.DOCUMENT_ACCEPTED, self.on_document, in_flight=documents_in_flight)

    async def on_query(self, delivery: Delivery[QueryAccepted]) -> Sequence[Event[Any]]:
        """query.accepted → query.classified. Raises Erased."""
        submission = translate.query_submission(delivery.message, await self.vault.opener_for(delivery.message))
        verdict = await self._classify(submission, self.queries)
        query_id, found = delivery.message.query.query_id, len(verdict.findings)
        describe(
            get_current_span(),
            {"headrace.query.id": query_id, "headrace.tier": verdict.tier.label, "headrace.findings": found},
        )
        seal = await self.vault.seal_like(delivery.message.raw, owner_of_query(delivery.message.query))
        message = translate.query_classified(
            delivery.message, verdict, seal, received_at=delivery.received_at, finished_at=self.now()
        )
        return [delivery.follow(topics.QUERY_CLASSIFIED, message, tier=verdict.tier)]

    async def on_document(self, delivery: Delivery[DocumentAccepted]) -> Sequence[Event[Any]]:
        """document.accepted → document.classified. Raises Rejected when the event says neither text nor deletion, and
        Erased."""
        message = delivery.message
        if message.WhichOneof("change") == "deletion":
            return [self._pass_deletion(delivery)]
        if message.HasField("raw") or message.WhichOneof("change") == "markdown":
            return [await self._classify_document(delivery)]
        raise Rejected(Violation("change", "missing", "The event holds neither a text nor a deletion."))

    async def _classify(self, submission: Submission, inspector: Inspector) -> Verdict:
        return await classify(
            submission,
            policy=self.policy,
            inspector=inspector,
            decisions=self.decisions,
            dictionaries=self.dictionaries,
        )

    async def _classify_document(self, delivery: Delivery[DocumentAccepted]) -> Event[Any]:
        submission = translate.document_submission(delivery.message, await self.vault.opener_for(delivery.message))
        verdict = await self._classify(submission, self.documents)
        describe(get_current_span(), {"headrace.tier": verdict.tier.label, "headrace.findings": len(verdict.findings)})
        seal = await self.vault.seal_like(delivery.message.raw, owner_of_document(delivery.message.document))
        message = translate.document_classified(delivery.message, verdict, seal)
        return delivery.follow(topics.DOCUMENT_CLASSIFIED, message, tier=verdict.tier)

    def _pass_deletion(self, delivery: Delivery[DocumentAccepted]) -> Event[Any]:
        decision = tier_by_provenance(
            translate.document_provenance(delivery.message), policy=self.policy, decisions=self.decisions
        )
        message = translate.document_deleted(delivery.message, decision, policy_version=self.policy.version)
        return delivery.follow(topics.DOCUMENT_CLASSIFIED, message, tier=decision.tier)
