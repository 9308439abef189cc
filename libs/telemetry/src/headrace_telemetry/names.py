"""The names of everything that telemetry carries. A name that is not here fails the type check.

Sources: OpenTelemetry semantic conventions 1.44 (messaging, rpc, db) and semantic-conventions-genai; `headrace.*` is
ours.
No name here ever holds user text: ids, lengths, counts, tiers and versions only.
"""

from __future__ import annotations

from typing import Literal

Attribute = Literal[
    # messaging, Kafka
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.consumer.group.name",
    "messaging.kafka.offset",
    "messaging.message.id",
    "messaging.message.conversation_id",
    "messaging.message.body.size",
    "messaging.batch.message_count",
    # rpc
    "rpc.system.name",
    "rpc.method",
    "rpc.status_code",
    "server.address",
    "server.port",
    # database
    "db.system.name",
    "db.namespace",
    "db.operation.name",
    "db.collection.name",
    "db.query.summary",
    "db.response.returned_rows",
    # generative AI
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.max_tokens",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.seed",
    "gen_ai.request.stream",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.embeddings.dimension.count",
    "gen_ai.data_source.id",
    "gen_ai.retrieval.top_k",
    "gen_ai.prompt.name",
    "gen_ai.prompt.version",
    "gen_ai.conversation.id",
    "gen_ai.evaluation.name",
    "gen_ai.evaluation.score.value",
    "gen_ai.evaluation.score.label",
    "error.type",
    # ours
    "headrace.query.id",  # the query that a span works for
    "headrace.document.key",  # tenant/source and the document's version
    "headrace.tenant",  # whose data
    "headrace.tier",  # public, tier_1 or tier_2
    "headrace.grounding",  # grounded, extracted or not_in_sources
    "headrace.passages",  # how many passages a model was given
    "headrace.chunks",  # how many chunks a document has
    "headrace.findings",  # how many places detection fired at
    "headrace.vector_search",  # hnsw or exact
    "headrace.embedder",  # whose vectors were searched: the house's, or a trained model, NAME@VERSION
    "headrace.embedder.missing",  # why the tenant's own could not be had, in a fixed word
    "headrace.variant",  # name and version of the variant
    "headrace.kind",  # what kind of query it is, by the tenant's name for it
    "headrace.routing",  # why its variant answers: share, conversation, fallback, default, trial
    "headrace.outcome",  # how a trial ended: its grounding, failed or withheld
    "headrace.attempt",  # how often this event was tried, from 1
    "headrace.duplicate",  # the event had taken effect before
    "headrace.erased",  # the event was dropped: what it is about is erased
    "headrace.evaluator.version",  # the version of what measured an answer
    "headrace.rubric",  # name and version of the rubric that a judge went by
    "headrace.cost.micro_usd",  # what an answer cost
    "headrace.model",  # a trained model, NAME@VERSION
    "headrace.run.id",  # the training run that a span works for
    "headrace.backend",  # which backend of inference, by its name in the settings
]

#: Events within a span.
EventName = Literal[
    "gen_ai.evaluation.result",  # one score of an answer, in the answer's own trace
]

MetricName = Literal[
    # Counter: events that a service finished, by topic and outcome (done, refused, dead_lettered, erased).
    "headrace.events.handled",
    # Histogram, seconds: from taking an event to its effect, by topic.
    "headrace.events.duration",
    # Gauge: records that a consumer has not reached, by topic and partition.
    "kafka.consumer_group.lag",
    # Gauge: events in work now, by topic.
    "headrace.events.in_flight",
    # Counter: events that waited because a dependency was down, by dependency.
    "headrace.events.deferred",
    # Gauge: rows that the relay has not published.
    "headrace.outbox.waiting",
    # Counter: gRPC calls refused at the edge, by reason (what is wrong with the token, role, tenant, subject).
    "headrace.calls.refused",
    # Counter: refusals of which the audit log has no row of their own: too many at once, or nowhere to tell them.
    "headrace.denials.untold",
    # Histogram, seconds: server side of a gRPC call, by method and status.
    "rpc.server.call.duration",
    # Histogram, seconds: a model's whole work on one request.
    "gen_ai.server.request.duration",
    # Histogram, seconds: from the request to its first token.
    "gen_ai.server.time_to_first_token",
    # Counter: tasks of measuring, by outcome (scored, not_allowed, erased, gone, given_up, lost, judge_failed).
    "headrace.evaluations",
    # Counter: answers, by grounding and tier.
    "headrace.answers",
    # Counter: answers that measure a variant and that nobody sees, by outcome.
    "headrace.trials",
    # Counter: times that a tenant's own embedder could not be had, by what it was for (question, document) and why.
    "headrace.embedder.missed",
    # Counter: chunks that got their vector by a tenant's own embedder in the background.
    "headrace.generations.filled",
    # Gauge: trained models in memory.
    "headrace.models.loaded",
    # Histogram, seconds: from beginning to load a trained model to its first word, by outcome (up, or why not).
    "headrace.models.loading",
    # Counter: completions that a backend was asked for, by backend and outcome (done, failed, left, turned_away).
    "headrace.backend.completions",
    # Counter, millionths of a US dollar: what they cost, by backend.
    "headrace.backend.cost",
    # Counter: training runs that ended, by outcome (done, refused, cancelled, failed).
    "headrace.training.runs",
    # Counter: tokens of rows that were learned from.
    "headrace.training.tokens",
    # Counter: events that the drift monitor counted.
    "headrace.drift.events",
    # Counter: events that came too late to be counted.
    "headrace.drift.late",
    # Gauge: alerts of drift that hold.
    "headrace.drift.alerts",
]
