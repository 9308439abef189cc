"""What routing adds to a query: opening its vector, telling its kind, weighing who may answer, choosing.

All is real but the models and the tables, which are in memory, as they are in a service that is warm: 32 kinds of 25
examples each, a route of four variants with two fallbacks and a shadow, every limit set, two backends with a hundred
answers behind each variant. The question is an end user's, so its vector comes sealed, with the key at hand.

Two peers tell kinds from the same vectors: the cosine to every example, the five nearest of a kind added up, as
semantic routers do (in numpy), and scikit-learn's NearestCentroid. Quality is on questions that none of them has seen.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any, cast

import numpy as np
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import Query
from headrace.retrieval.v1.retrieval_pb2 import EmbedderIdentity
from headrace_inference import route_translate, translate
from headrace_inference.adapters.answerers import CatalogueAnswerers
from headrace_inference.adapters.backends import Backends, Opening, open_backends
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.gate import PolicyGate
from headrace_inference.adapters.memory_routes import MemoryEmbedder, MemoryRouteBooks, MemorySpending
from headrace_inference.adapters.memory_variants import MemoryVariantBooks
from headrace_inference.backend_file import ServerBackend
from headrace_inference.domain import Versioned
from headrace_inference.kinds import OTHER, Kind, Recogniser, learn, learn_from, texts_of
from headrace_inference.route_choosing import Arriving, Router
from headrace_inference.route_records import KindSet, RouteRecord
from headrace_inference.route_tables import RouteTables
from headrace_inference.routing import ANY, Arm, Limits, Route, Shadow
from headrace_inference.variant_catalogue import open_catalogue
from headrace_models.embedding import find_bundled, read_folder
from headrace_models.embedding.encoder import load_encoder
from headrace_models.kinds import BACKGROUND
from headrace_privacy import Owner, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.policy import load_policy
from sklearn.neighbors import NearestCentroid

from bench.harness import Budget, Row, paired
from services.inference.tests.kinds_of_questions import EXAMPLES, OTHERS, UNSEEN

GROUP = "routing"
TENANT = "bench"
KINDS, EXAMPLES_A_KIND, DIMENSIONS = 32, 25, 384
#: The 99th percentile that a query may cost more, in milliseconds.
GOAL_MS = 1.0
#: Of each kind, so many of the nearest examples are added up by the peer.
NEAREST = 5


def rows(budget: Budget) -> list[Row]:
    """Measures the whole, recognising beside its peers, and how often each is right."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    count = budget.pick(quick=300, full=5_000)
    return [
        asyncio.run(_whole(count)),
        asyncio.run(_without_routes(count)),
        *_recognising(budget),
        *_right(),
    ]


# --- the whole --------------------------------------------------------------------------------------------------------


async def _whole(count: int) -> Row:
    async with _router() as (router, embedder):
        messages, vault = await _messages(embedder, count=64)
        for i in range(200):
            await _once(router, vault, messages[i % len(messages)])
        taken, cpu = [], []
        for i in range(count):
            begin = time.thread_time()
            taken.append(await _once(router, vault, messages[i % len(messages)]))
            cpu.append((time.thread_time() - begin) * 1000)
    (middle, worst), worst_cpu = (median(taken), quantiles(taken, n=100)[98]), quantiles(cpu, n=100)[98]
    return Row(
        GROUP, "added to a query by routing, p99", worst, None, "ms", None, goal=GOAL_MS, higher_is_better=False,
        goal_of="ours", note=f"vector opened, kind told, variant chosen; p50 {middle:.2f}; CPU p99 {worst_cpu:.2f}",
        extra={"p50_ms": middle, "p99_ms": worst, "p99_cpu_ms": worst_cpu, "examples": KINDS * EXAMPLES_A_KIND},
    )  # fmt: skip


async def _without_routes(count: int) -> Row:
    """For a tenant that has defined neither kinds nor routes."""
    async with _router() as (router, embedder):
        messages, vault = await _messages(embedder, count=64, tenant="nobody")
        taken = [await _once(router, vault, messages[i % len(messages)]) for i in range(count)]
    return Row(
        GROUP, "added where there are no routes, p50", median(taken), None, "ms", None, higher_is_better=False,
        note="the vector opened, the default of the house found", extra={"p99_ms": quantiles(taken, n=100)[98]},
    )  # fmt: skip


async def _once(router: Router, vault: Vault, message: QueryRetrieved) -> float:
    # The text's key is fetched and its passages are opened whether or not a query is routed.
    opener = await vault.opener_for(message)
    begin = time.perf_counter()
    query = message.query
    arriving = Arriving(
        query.tenant,
        query.query_id,
        query.conversation_id,
        Tier.TIER_2,
        query.accepted_at.ToDatetime(tzinfo=UTC),
        translate.vector(message, opener),
        translate.embedder(message.embedder),
    )
    way = await router.way(arriving)
    route_translate.from_chosen(way.taken(way.choice))
    return (time.perf_counter() - begin) * 1000


@asynccontextmanager
async def _router() -> AsyncIterator[tuple[Router, MemoryEmbedder]]:
    embedder = MemoryEmbedder()
    embedder.identity = replace(embedder.identity, dimensions=DIMENSIONS)
    books, variant_books = MemoryRouteBooks(), MemoryVariantBooks()
    tables = RouteTables(books, embedder, time.monotonic, _now)
    await _define(tables)
    entries = [
        ServerBackend.model_validate({"name": name, "kind": "openai", "url": "http://127.0.0.1:9/v1", "context": 4096})
        for name in ("one", "two")
    ]
    policy, house = load_policy(None), read_catalogue().house()
    opening = Opening(lambda name: PolicyGate(policy, name, cast("Any", None)), {}, Path(), 16, 1280, 2, 256)
    async with (
        open_catalogue(house, variant_books, clock=time.monotonic) as catalogue,
        open_backends(entries, opening) as backends,
    ):
        await _add_variants(variant_books, backends)
        answerers = CatalogueAnswerers(catalogue, backends)
        yield Router(tables, answerers, MemorySpending(), DEFAULT, _now), embedder


def _words(kind: int, i: int) -> str:
    return f"how do I do thing{kind} with part{kind * 7 % 11} in case {i} of {i * 13 % 17}"


async def _define(tables: RouteTables) -> None:
    kinds = tuple(Kind(f"kind-{k}", "", tuple(_words(k, i) for i in range(EXAMPLES_A_KIND))) for k in range(KINDS))
    arms = tuple(Arm(Versioned(f"v{i}", "1"), weight) for i, weight in enumerate((70, 15, 10, 5)))
    limits = Limits(10_000_000, 10_000_000_000, 60_000, Tier.TIER_2)
    fallbacks = (Versioned("v4", "1"), Versioned("v5", "1"))
    route = Route(ANY, 1, arms, fallbacks, (Shadow(Versioned("v5", "1"), 0.1),), limits)
    async with tables.books.open(TENANT) as book:
        await book.add_kinds(KindSet(1, kinds), by="bench", at=_now())
        await book.add_route(RouteRecord(route, "bench", _now()))
    await tables.learn(TENANT, KindSet(1, kinds))


async def _add_variants(books: MemoryVariantBooks, backends: Backends) -> None:
    built_in = read_catalogue().house().variants[DEFAULT]
    async with books.open(TENANT) as book:
        for i in range(6):
            key, backend = Versioned(f"v{i}", "1"), ("one", "two")[i % 2]
            wiring = replace(built_in.wiring, backend=backend)
            await book.add_variant(replace(built_in, key=key, wiring=wiring, is_built_in=False))
            model = cast("Any", backends.by_name[backend].model_for(TENANT, key, prompt=key)).model
            for n in range(100):
                for meter in model.meters:
                    meter.note(800.0 + n, 300)


async def _messages(
    embedder: MemoryEmbedder, *, count: int, tenant: str = TENANT
) -> tuple[list[QueryRetrieved], Vault]:
    vault = Vault(MemoryKeyring(), clock=time.monotonic)
    seal = await vault.seal_for(Owner.subject(tenant, "user-17"))
    made_by = embedder.identity
    identity = EmbedderIdentity(name=made_by.name, dimensions=made_by.dimensions, hash=made_by.hash)
    messages = []
    for i in range(count):
        talk = f"c{i % 9}"
        query = Query(query_id=f"q{i}", tenant=tenant, product="bench", subject="user-17", conversation_id=talk)
        query.accepted_at.FromDatetime(_now())
        vector = seal.protect_vector(embedder.vector(_words(i % KINDS, 99)).astype("<f4").tobytes(), Tier.TIER_2)
        messages.append(QueryRetrieved(query=query, vector=vector, embedder=identity))
    return messages, vault


def _now() -> datetime:
    return datetime.now(UTC)


# --- recognising ------------------------------------------------------------------------------------------------------


def _recognising(budget: Budget) -> list[Row]:
    random = np.random.default_rng(7)
    centres = random.normal(size=(KINDS, DIMENSIONS))
    vectors = [c + random.normal(size=(EXAMPLES_A_KIND, DIMENSIONS)) for c in centres]
    background = random.normal(size=(len(BACKGROUND), DIMENSIONS))
    names = [f"kind-{k}" for k in range(KINDS)]
    recogniser, _ = learn(vectors, names, background)
    questions = (centres + random.normal(size=centres.shape)).astype(np.float32)
    turns = budget.pick(quick=200, full=2_000)

    def timed(tell: Callable[[Any], Any]) -> Callable[[], float]:
        def measured() -> float:
            begin = time.perf_counter()
            for i in range(turns):
                tell(questions[i % KINDS])
            return (time.perf_counter() - begin) / turns * 1e6

        return measured

    ours, common = timed(recogniser.recognise), {"unit": "µs", "higher_is_better": False}
    cosine = paired(ours, timed(_every_example(vectors, names)), budget.repeats)
    centroid = paired(ours, timed(_nearest_centroid(vectors, names)), budget.repeats)
    note = f"{KINDS} kinds of {EXAMPLES_A_KIND} examples, {DIMENSIONS} dimensions"
    return [
        Row(GROUP, "telling a kind, beside the cosine to every example", cosine.ours, cosine.peer, ratio=cosine.ratio,
            goal=1.0, note=f"{note}; ours with a confidence", extra=cosine.extra, **common),
        Row(GROUP, "telling a kind, beside sklearn's NearestCentroid", centroid.ours, centroid.peer,
            ratio=centroid.ratio, goal=1.0, note=note, extra=centroid.extra, **common),
    ]  # fmt: skip


def _every_example(vectors: Sequence[Any], names: Sequence[str]) -> Callable[[Any], str]:
    """As semantic routers do. Without a threshold, so it never says "other"."""
    examples = np.concatenate(vectors)
    examples = (examples / np.linalg.norm(examples, axis=1, keepdims=True)).astype(np.float32)
    starts = np.cumsum([0, *(len(v) for v in vectors)])

    def tell(vector: Any) -> str:
        near = examples @ (vector / np.linalg.norm(vector))
        sums = [np.sort(near[a:b])[-NEAREST:].sum() for a, b in pairwise(starts)]
        return names[int(np.argmax(sums))]

    return tell


def _nearest_centroid(vectors: Sequence[Any], names: Sequence[str]) -> Callable[[Any], str]:
    examples = np.concatenate(vectors)
    examples /= np.linalg.norm(examples, axis=1, keepdims=True)
    labels = [name for name, v in zip(names, vectors, strict=True) for _ in v]
    model = NearestCentroid().fit(examples, labels)
    return lambda vector: str(model.predict((vector / np.linalg.norm(vector))[None])[0])


# --- how often it is right --------------------------------------------------------------------------------------------


def _right() -> list[Row]:
    encoder = load_encoder(read_folder(find_bundled()), threads=2)

    def embed(texts: Sequence[str]) -> Any:
        return np.array(encoder.encode(list(texts), batch_tokens=640), dtype=np.float64)

    asked = [Kind(name, "", questions) for name, questions in EXAMPLES.items()]
    recogniser, _ = learn_from(asked, embed(texts_of(asked)))
    vectors = [embed(kind.examples) for kind in asked]
    unseen = {name: embed(questions) for name, questions in UNSEEN.items()}
    names = [kind.name for kind in asked]
    cosine = _share_right(_every_example(vectors, names), unseen)
    mine = _share_right(lambda v: recogniser.recognise(v).kind, unseen)
    rejected = _share_right(lambda v: recogniser.recognise(v).kind, {OTHER: embed(OTHERS)})
    count = sum(map(len, UNSEEN.values()))
    return [
        Row(GROUP, "questions whose kind is told rightly", mine, cosine, "share", mine / cosine,
            note=f"{count} unseen of 4 kinds; the peer may not say other", extra=_doubts(recogniser, unseen)),
        Row(GROUP, "questions of no kind that are told as such", rejected, None, "share", None,
            note=f"{len(OTHERS)} on other subjects; the peer has no other without a threshold set by hand"),
    ]  # fmt: skip


def _share_right(tell: Callable[[Any], str], unseen: dict[str, Any]) -> float:
    told = [tell(vector) == name for name, vectors in unseen.items() for vector in vectors]
    return sum(told) / len(told)


def _doubts(recogniser: Recogniser, unseen: dict[str, Any]) -> dict[str, Any]:
    """How sure it was where it was right, and where it was wrong."""
    told = [(recogniser.recognise(v), name) for name, vectors in unseen.items() for v in vectors]
    right = [found.confidence for found, name in told if found.kind == name]
    wrong = [found.confidence for found, name in told if found.kind != name]
    return {"confidence_right": median(right), "confidence_wrong": median(wrong) if wrong else None}
