"""The Kafka edge of what measures: answers that nobody waits for, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from headrace import topics
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import TRIAL_KIND_SHADOW
from headrace_privacy import Tier, Vault, owner_of_query, strictest
from headrace_runtime.errors import Denied, Overloaded, Rejected, Unavailable
from headrace_stream import Delivery, Event, Ledger, Unit
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import describe
from opentelemetry.trace import get_current_span

from headrace_inference import translate, trials
from headrace_inference.consumers import Answered, admits, arriving, completed
from headrace_inference.domain import FAILED, WITHHELD, Answer, Question, Sending
from headrace_inference.erasing import Askers, NoAskers
from headrace_inference.handlers import answer_question
from headrace_inference.ports import AnswerIndex, Answers, Gate
from headrace_inference.reading import read
from headrace_inference.route_choosing import Answerer, Broken, NotYet, Router
from headrace_inference.routing import Chosen

#: How long a trial waits for a model that is down. Then it has failed, or it would hold up the trials behind it.
PATIENCE = timedelta(seconds=120)
#: Shadows are measured by feedback: what it may not evaluate, no shadow answers.
MEASURER = "service:feedback"


@dataclass(frozen=True, slots=True)
class TrialConsumer:
    """Answers trials: each by the variant that it names, and shown to nobody.

    evaluation: whether text of a tier may be used to measure, beyond answering whoever asked.
    """

    ledger: Ledger
    answers_on: Callable[[Unit], Answers]
    index: AnswerIndex
    router: Router
    evaluation: Gate
    vault: Vault
    now: Callable[[], datetime]
    askers: Askers = NoAskers()  # noqa: RUF009 - it has no state

    async def on_trial(self, delivery: Delivery[QueryRetrieved]) -> Sequence[Event[Any]]:
        """query.shadowed → answer.trialed. What cannot be had is answered too, as failed or withheld: a run ends.

        Raises Erased.
        """
        message, query_id = delivery.message, translate.query_id(delivery.message)
        if await self.index.is_answered(message.query.tenant, query_id):
            return ()
        opener = await self.vault.opener_for(message)
        question = translate.question(message, opener)
        seal = await self.vault.seal_like(message.text, owner_of_query(message.query))
        table = await self.router.tables.of(message.query.tenant)
        found = self.router.recognise(arriving(message, question, opener), table)
        version = table.kinds_version if found.confidence else 0
        known = Chosen(found.kind, found.confidence, version, kinds_model=found.model)
        chosen = replace(known, route=_route_of(message), reason="trial")
        answered = await self._answer(delivery, question, chosen)
        describe(get_current_span(), {"headrace.query.id": message.query.query_id, "headrace.kind": chosen.kind})
        tenant, answer = message.query.tenant, answered.answer
        event = delivery.follow(
            topics.ANSWER_TRIALED,
            completed(delivery, answered, seal, finished_at=self.now()),
            tenant=tenant,
            tier=answer.tier,
        )
        async with self.ledger.once(delivery, tenant=tenant) as unit:
            if unit is not None and await self.answers_on(unit).add(
                tenant, query_id, answer, event_id=event.event_id, variant=trials.variant_of(message.query.trial),
                at=self.now(), chosen=answered.chosen, trial=True,
            ):  # fmt: skip
                await self.askers.note(unit, message.query)
                unit.emit(event)
        self.router.spending.note(tenant, chosen.route, answer.spent.cost_micro_usd)
        counter("headrace.trials").add(1, {"headrace.outcome": _outcome(answer)})
        return ()

    async def _answer(self, delivery: Delivery[QueryRetrieved], question: Question, chosen: Chosen) -> Answered:
        query = delivery.message.query
        try:
            answerer = await self.router.answerers.of(query.tenant, trials.variant_of(query.trial))
        except Broken as error:
            if isinstance(error, NotYet) and self.now() - delivery.arrival.published_at < PATIENCE:
                raise Unavailable("the model") from error
            nobody = await self.router.answerers.of(query.tenant, self.router.default)
            return Answered(trials.no_answer(question, FAILED), nobody.named(trials.variant_of(query.trial)), chosen)
        try:
            answer = await self._answer_by(delivery, question, answerer)
        except Denied:
            answer = trials.no_answer(question, WITHHELD)
        except Rejected:  # its server does not take what this variant asks
            answer = trials.no_answer(question, FAILED)
        except (Unavailable, Overloaded) as error:
            if self.now() - delivery.arrival.published_at < PATIENCE:
                raise Unavailable("the model") from error
            answer = trials.no_answer(question, FAILED)
        return Answered(answer, answerer, replace(chosen, backend=answerer.backend))

    async def _answer_by(self, delivery: Delivery[QueryRetrieved], question: Question, answerer: Answerer) -> Answer:
        query, trial = delivery.message.query, delivery.message.query.trial
        if trial.kind == TRIAL_KIND_SHADOW and not await self._may_measure(delivery.message, question):
            return trials.no_answer(question, WITHHELD)

        async def admit(tier: Tier, sources: Sequence[str]) -> bool:
            return await admits(answerer.gate, query, tier, sources)

        variant = trials.with_setting(answerer.variant, trial)
        asked = read(trials.without_passages(question, trial), variant)
        if trials.is_unchecked(trial):
            return await trials.answer_unchecked(asked, variant, model=answerer.model, admit=admit)
        return await answer_question(asked, variant, model=answerer.model, admit=admit, emit=_to_nobody)

    async def _may_measure(self, message: QueryRetrieved, question: Question) -> bool:
        """A copy is no answer to the one who asked: what the policy lets be evaluated, a shadow may see."""
        tier = strictest(question.tier, *(p.tier for p in question.passages))
        sources = sorted({p.collection for p in question.passages})
        records = (message.query.trial.case_id,)
        return await self.evaluation.admits(
            Sending(MEASURER, MEASURER, message.query.tenant, tier, sources=sources, records=records)
        )


async def _to_nobody(piece: str) -> None:
    del piece


def _route_of(message: QueryRetrieved) -> str:
    """The route whose shadow this is: its cost is that route's. A run's is nobody's."""
    return message.query.trial.run_id.removeprefix("shadow:") if message.query.trial.kind == TRIAL_KIND_SHADOW else ""


def _outcome(answer: Answer) -> str:
    return answer.spent.reason if answer.spent.reason in {FAILED, WITHHELD} else answer.grounding.value
