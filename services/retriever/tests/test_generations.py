"""Indexes of the tenants' own embedders, on a real Postgres: begun, filled, switched to, kept up to date, and gone."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from dataclasses import replace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from headrace import topics
from headrace.training.v1 import models_pb2, training_pb2
from headrace_database import Database
from headrace_embedded import testing
from headrace_privacy import Text, Tier
from headrace_retriever import handlers
from headrace_retriever.adapters.generations import end_in
from headrace_retriever.adapters.postgres import PostgresIndex
from headrace_retriever.consumers import ModelConsumer
from headrace_retriever.domain import Found, Lookup, OwnChunks, Question, Tuning, VectorSearch
from headrace_retriever.generations import MOST_KEPT, Unusable
from headrace_retriever.own import FIRST_REST, LONGEST_REST
from headrace_retriever.testing import (
    BLINDING,
    SMALL,
    FakeOwnEmbedder,
    document,
    own_vector_of,
    put,
    text_of,
    towards,
)
from headrace_runtime.errors import Conflict, NotFound, Overloaded, Unavailable
from headrace_stream import Ledger
from headrace_stream.memory import delivered

from services.retriever.tests.generations import FIRST, SECOND, THIRD, Home, watched

pytestmark = pytest.mark.real


@pytest.fixture
def home(store: Database) -> Home:
    return Home(store)


# --- begun ------------------------------------------------------------------------------------------------------------


async def test_it_is_begun_once(home: Home) -> None:
    for _ in range(3):
        await home.prepare()
    assert await home.states() == {FIRST: ("preparing", 0, 0)}


async def test_another_model_of_its_name_is_refused(home: Home) -> None:
    which = await home.prepare()
    with pytest.raises(Conflict, match=f"{FIRST} has other files here"):
        await home.books.prepare(replace(which, files={"model.safetensors": "1" * 64}), now=home.now)
    await home.books.prepare(replace(which, address="memory://elsewhere"), now=home.now)
    found = await home.books.find(home.tenant, FIRST)
    assert found is not None
    assert found.trained.address == "memory://elsewhere"


async def test_no_more_are_kept_than_may_be(home: Home) -> None:
    for number in range(MOST_KEPT):
        await home.prepare(f"own@{number}")
    with pytest.raises(Conflict, match="kept already"):
        await home.prepare("own@9")


async def test_another_tenant_knows_nothing_of_it(home: Home, store: Database) -> None:
    await home.put("a", "one")
    await home.ready()
    stranger = Home(store)
    assert await stranger.states() == {}
    assert await stranger.books.find(stranger.tenant, FIRST) is None
    with pytest.raises(NotFound):
        await stranger.switch(FIRST)
    assert await stranger.count("trained_vectors") == 0


# --- filled -----------------------------------------------------------------------------------------------------------


async def test_every_chunk_gets_its_vector_and_then_it_is_ready(home: Home) -> None:
    await home.put("a", *(f"text {i}" for i in range(100)))
    await home.put("b", "sealed", tier=Tier.TIER_2)
    await home.prepare()
    assert await home.states() == {FIRST: ("preparing", 0, 101)}
    await home.fill()
    assert await home.states() == {FIRST: ("ready", 101, 101)}
    assert sorted(home.embedded()) == sorted([*(f"text {i}" for i in range(100)), "sealed"])
    assert {urgency for _, _, urgency in home.embedder.asked} == {"in_turn"}


async def test_an_empty_index_is_ready_at_once(home: Home) -> None:
    await home.live()
    assert await home.states() == {FIRST: ("live", 0, 0)}
    await home.put("a", "one")
    assert await home.states() == {FIRST: ("live", 1, 1)}


async def test_it_is_filled_by_one_instance_at_a_time(home: Home) -> None:
    texts = [f"text {i}" for i in range(300)]
    await home.put("a", *texts)
    await home.prepare()
    others = [home.beside() for _ in range(3)]

    async def fill_on(one: Home) -> None:
        while (await home.states())[FIRST][0] != "ready":
            await one.filler.turn(one.tenant)

    async with asyncio.timeout(60):
        await asyncio.gather(*(fill_on(one) for one in others))
    assert sorted(home.embedded()) == sorted(texts)


async def test_what_is_put_replaced_and_deleted_meanwhile_is_right_in_the_end(home: Home) -> None:
    for i in range(40):
        await home.put(f"d{i}", *(f"d{i} v1 {j}" for j in range(5)))
    await home.prepare()
    chance = random.Random(7)

    async def change() -> None:
        for version in range(2, 6):
            for i in chance.sample(range(40), 15):
                name = f"d{i}"
                if chance.random() < 0.3:
                    await home.delete(name, version=version)
                else:
                    await home.put(
                        name, *(f"{name} v{version} {j}" for j in range(chance.randint(1, 8))), version=version
                    )

    await watched(change, lambda: home.filler.turn(home.tenant))
    await home.fill()
    assert await vectors_of(home) == await expected_vectors(home)
    state, filled, chunks = (await home.states())[FIRST]
    assert (state, filled) == ("ready", chunks)


async def vectors_of(home: Home) -> dict[str, list[float]]:
    """By text: each chunk's vector in the one generation."""
    async with home.database.transaction(tenant=home.tenant) as connection:
        rows = await connection.fetch(
            "SELECT chunk_id, embedding::real[] AS vector FROM trained_vectors WHERE tenant = $1", home.tenant
        )
    texts = await texts_of(home)
    return {texts[row["chunk_id"]]: [round(x, 2) for x in row["vector"]] for row in rows}


async def texts_of(home: Home) -> dict[Any, str]:
    found = await home.index.search(
        Question(home.tenant, text("?"), towards(0), SMALL, (), Tier.TIER_2, 10_000, by="house"), blinding=BLINDING
    )
    return {passage.chunk_id: text_of(passage) for passage in found.passages}


async def expected_vectors(home: Home) -> dict[str, list[float]]:
    half = {t: own_vector_of(FIRST, t).astype(np.float16) for t in (await texts_of(home)).values()}
    return {t: [round(float(x), 2) for x in vector] for t, vector in half.items()}


def text(words: str) -> Text:
    return Text(words, Tier.PUBLIC)


@pytest.mark.parametrize("trouble", ["missing", "corrupt", "refused", "unusable"])
async def test_weights_that_cannot_be_used_are_named_and_tried_again(home: Home, trouble: Any) -> None:
    await home.put("a", "one")
    home.embedder.failure = Unusable(trouble)
    await home.ready()
    assert await home.failure() == trouble
    assert (await home.states())[FIRST][0] == "preparing"
    home.embedder.failure = None
    await home.fill()
    assert await home.failure() == trouble, "it is left alone for a while"
    home.clock.at += 60
    await home.fill()
    assert (await home.failure(), await home.states()) == ("", {FIRST: ("ready", 1, 1)})


@pytest.mark.parametrize("failure", [Unavailable("embedder"), Overloaded("the embedder")])
async def test_it_waits_for_the_embedder(home: Home, failure: Exception) -> None:
    await home.put("a", "one")
    home.embedder.failure = failure
    await home.ready()
    assert await home.failure() == "unavailable"


async def test_an_embedder_that_comes_to_make_other_vectors_is_unusable(home: Home) -> None:
    await home.put("a", "one")
    await home.ready()
    home.embedder.dimensions = 8
    await home.put("b", "two")
    await home.fill()
    assert await home.failure() == "unusable"
    assert await home.states() == {FIRST: ("ready", 1, 2)}


async def test_what_is_erased_is_passed_over_until_it_is_gone(home: Home) -> None:
    await home.put("a", "sealed", tier=Tier.TIER_2)
    await home.put("b", *(f"text {i}" for i in range(70)))
    home.keys.is_destroyed = True
    await home.ready()
    assert await home.states() == {FIRST: ("preparing", 70, 71)}
    await home.delete("a", version=2)
    await home.fill()
    assert await home.states() == {FIRST: ("ready", 70, 70)}


# --- killed in the middle ---------------------------------------------------------------------------------------------


@pytest.fixture
async def many(home: Home) -> list[str]:
    texts = [f"text {i}" for i in range(640)]
    for start in range(0, 640, 40):
        await home.put(f"d{start}", *texts[start : start + 40])
    return texts


async def test_an_instance_that_is_killed_leaves_its_place_to_another(
    home: Home, many: list[str], schema: testing.Database
) -> None:
    await home.prepare()
    command = [sys.executable, "-m", "services.retriever.tests.filling_victim", schema.dsn("retriever"), home.tenant]
    victim = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(30):
            while (await home.states())[FIRST][1] < 100:
                await asyncio.sleep(0.01)
        assert not await home.filler.turn(home.tenant), "the other one does"
        assert not home.embedder.asked
    finally:
        os.kill(victim.pid, signal.SIGKILL)
        await victim.wait()
    _, filled, _ = (await home.states())[FIRST]
    assert 100 <= filled < 640
    async with asyncio.timeout(30):
        while (await home.states())[FIRST][0] != "ready":
            await home.filler.turn(home.tenant)
    assert len(home.embedded()) <= 640 - filled
    assert await vectors_of(home) == await expected_vectors(home)


# --- switched ---------------------------------------------------------------------------------------------------------


async def test_it_is_not_switched_to_while_a_chunk_lacks_its_vector(home: Home) -> None:
    await home.put("a", "one", "two")
    await home.ready()
    await home.put("b", "three")
    with pytest.raises(Conflict, match=r"the index of own@0000000000000001 is not ready: 1 chunks have no vector"):
        await home.switch(FIRST)
    await home.fill()
    assert (await home.switch(FIRST)).live == FIRST
    assert await home.states() == {FIRST: ("live", 3, 3)}


async def test_one_whose_embedder_was_never_heard_of_is_not_ready(home: Home) -> None:
    await home.prepare()
    with pytest.raises(Conflict, match="is not ready: 0 chunks"):
        await home.switch(FIRST)


async def test_who_believes_another_to_be_live_is_told(home: Home) -> None:
    await home.live(FIRST)
    await home.ready(SECOND)
    with pytest.raises(Conflict, match=f"{FIRST} is live, not the house's embedder"):
        await home.switch(SECOND)
    with pytest.raises(Conflict, match=f"{FIRST} is live, not {THIRD}"):
        await home.switch(SECOND, expected=THIRD)
    assert (await home.switch(SECOND, expected=FIRST)).before == FIRST


async def test_switching_again_changes_nothing(home: Home) -> None:
    await home.ready()
    first = await home.switch(FIRST)
    again = await home.switch(FIRST, expected=THIRD)
    assert (again.before, again.live, again.at) == (FIRST, FIRST, first.at)
    nobody = await home.switch("", expected=FIRST)
    assert (nobody.before, nobody.live) == (FIRST, "")
    assert (await home.switch("")).at is None


async def test_what_answered_stands_by_and_what_stood_by_goes(home: Home) -> None:
    await home.put("a", "one")
    for model in (FIRST, SECOND, THIRD):
        await home.ready(model)
    await home.switch(FIRST)
    await home.switch(SECOND, expected=FIRST)
    assert {m: s for m, (s, _, _) in (await home.states()).items()} == {
        FIRST: "standing_by", SECOND: "live", THIRD: "ready",
    }  # fmt: skip
    await home.switch(FIRST, expected=SECOND)
    assert {m: s for m, (s, _, _) in (await home.states()).items()} == {
        FIRST: "live", SECOND: "standing_by", THIRD: "ready",
    }  # fmt: skip
    await home.switch(THIRD, expected=FIRST)
    assert (await home.states())[SECOND][0] == "gone"
    await home.fill()
    assert await home.states() == {
        FIRST: ("standing_by", 1, 1), SECOND: ("gone", 0, 1), THIRD: ("live", 1, 1),
    }  # fmt: skip
    with pytest.raises(NotFound):
        await home.switch(SECOND, expected=THIRD)
    await home.ready(SECOND)
    assert (await home.states())[SECOND] == ("ready", 1, 1), "one that is gone may begin again"


async def test_of_two_that_switch_at_once_one_is_told_that_it_was_late(home: Home) -> None:
    await home.put("a", "one")
    await home.ready(FIRST)
    await home.ready(SECOND)
    outcomes = await asyncio.gather(home.switch(FIRST), home.switch(SECOND), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Switched"]
    assert sorted(state for state, _, _ in (await home.states()).values()) == ["live", "ready"]


# --- nothing lacks in what is live ------------------------------------------------------------------------------------


async def gaps_in_live(home: Home, switch: Any, apply: Any) -> int:
    """Documents come and go while it is filled and switched to. Counts the moments at which a chunk lacked its vector
    in what was live."""
    for i in range(10):
        await home.put(f"d{i}", *(f"d{i} {j}" for j in range(4)))
    await home.prepare()
    versions = iter(range(2, 10_000))

    async def write_on() -> None:
        after = 0
        while after < 20:  # so many more puts when it is live
            version = next(versions)
            name, texts = f"d{version % 10}", [f"{version} {j}" for j in range(3)]
            which = document(name, tenant=home.tenant, version=version)
            await apply(put(which, texts, [towards(j) for j in range(3)]))
            after += (await home.states())[FIRST][0] == "live"
            await asyncio.sleep(0.01)

    async def switch_on() -> None:
        while True:
            await home.filler.turn(home.tenant)
            try:
                await switch()
            except Conflict:
                await asyncio.sleep(0)
            else:
                return

    async with asyncio.timeout(60):
        seen = await watched(lambda: asyncio.gather(write_on(), switch_on()), home.lacking_in_live)
    return sum(1 for lacking in [*seen, await home.lacking_in_live()] if lacking)


async def test_at_no_moment_does_a_chunk_lack_its_vector_in_what_is_live(home: Home) -> None:
    assert await gaps_in_live(home, lambda: home.switch(FIRST), home.apply) == 0
    assert (await home.states())[FIRST][0] == "live"


async def test_the_check_catches_a_switch_that_does_not_look(home: Home) -> None:
    async def switch() -> None:
        async with home.database.transaction(tenant=home.tenant) as connection:
            await connection.execute("UPDATE generations SET state = 'live' WHERE tenant = $1", home.tenant)

    assert await gaps_in_live(home, switch, home.apply) > 0


async def test_the_check_catches_a_put_that_leaves_its_vectors_to_others(home: Home) -> None:
    async def apply(change: Any) -> None:
        await home.write(replace(change, own=OwnChunks()))

    assert await gaps_in_live(home, lambda: home.switch(FIRST), apply) > 0


# --- while it is live -------------------------------------------------------------------------------------------------


async def test_what_is_put_replaced_and_deleted_while_it_is_live_needs_nobody_to_fill(home: Home) -> None:
    await home.put("a", "one")
    await home.live()
    await home.put("b", "two", "three")
    await home.put("a", "four", version=2)
    assert await home.lacking_in_live() == 0
    assert await home.states() == {FIRST: ("live", 3, 3)}
    assert await vectors_of(home) == await expected_vectors(home)
    await home.delete("b", version=2)
    assert await home.states() == {FIRST: ("live", 1, 1)}
    assert await home.count("trained_vectors") == 1


async def test_a_document_that_the_embedder_could_not_be_had_for_is_found_by_words_until_it_is_filled(
    home: Home,
) -> None:
    await home.put("a", "one", "two")
    await home.live()
    await home.ask("anything")
    home.embedder.failure = Unavailable("embedder")
    await home.put("b", "sluice")
    assert await home.lacking_in_live() == 1
    home.embedder.failure = None
    home.clock.at += LONGEST_REST
    found = await home.ask("sluice")
    assert found.embedder is not None
    assert found.embedder.name == FIRST
    assert [(text_of(p), p.vector_rank, p.text_rank) for p in found.passages if p.document.document_id == "b"] == [
        ("sluice", 0, 1)
    ]
    await home.fill()
    assert await home.lacking_in_live() == 0


# --- searched by one embedder -----------------------------------------------------------------------------------------


async def test_a_question_is_searched_by_what_is_live_and_similarity_stays_the_houses(home: Home) -> None:
    await home.put("a", *(f"text {i}" for i in range(12)))
    before = await home.ask("a question")
    await home.live()
    found = await home.ask("a question")
    assert [text_of(p) for p in by_rank(found)] == nearest(FIRST, "a question", [f"text {i}" for i in range(12)])
    assert (found.embedder and found.embedder.name, before.embedder) == (FIRST, SMALL)
    similarities = {p.chunk_id: round(p.similarity, 4) for p in before.passages}
    assert all(similarities.get(p.chunk_id, round(p.similarity, 4)) == round(p.similarity, 4) for p in found.passages)
    assert [round(p.similarity, 2) for p in found.passages if text_of(p) in ("text 0", "text 8")] != []
    await home.switch("", expected=FIRST)
    again = await home.ask("a question")
    assert [p.chunk_id for p in again.passages] == [p.chunk_id for p in before.passages]


def by_rank(found: Found) -> list[Any]:
    return sorted((p for p in found.passages if p.vector_rank), key=lambda p: p.vector_rank)


def nearest(model: str, asked: str, texts: list[str], *, most: int = 8) -> list[str]:
    """By a tenant's own embedder: the texts nearest to a question, in half precision as they are compared."""
    vector = own_vector_of(model, asked).astype(np.float16).astype(np.float64)

    def distance(other: str) -> float:
        mine = own_vector_of(model, other).astype(np.float16).astype(np.float64)
        return -float(mine @ vector / np.linalg.norm(mine))

    return sorted(texts, key=distance)[:most]


async def test_a_search_sees_no_tier_above_its_askers(home: Home) -> None:
    await home.put("open", "one")
    await home.put("inner", "two", tier=Tier.TIER_1)
    await home.put("sealed", "three", tier=Tier.TIER_2)
    await home.live()
    for tier, seen in (
        (Tier.PUBLIC, {"open"}),
        (Tier.TIER_1, {"open", "inner"}),
        (Tier.TIER_2, {"open", "inner", "sealed"}),
    ):
        found = await home.ask("what", max_tier=tier)
        assert found.embedder is not None
        assert found.embedder.name == FIRST
        assert {p.document.document_id for p in found.passages} == seen


async def test_a_search_is_limited_to_its_sources(home: Home) -> None:
    await home.put("a", "one")
    await home.live()
    assert [len((await home.ask("what", sources=(s,))).passages) for s in ("docs", "wiki")] == [1, 0]


async def strangers(home: Home, index: Any) -> tuple[int, int]:
    """Switches to and fro while others search. Counts the searches, and those whose nearest are not, in order, what one
    embedder finds: the one that the search names, which was live at some moment of it."""
    texts = [f"text {i}" for i in range(30)]
    await home.put("a", *texts)
    for model in (FIRST, SECOND):
        await home.ready(model)
    home.index = index
    outcomes: list[bool] = []
    begun, ended = [""], [""]  # which were switched to

    async def look() -> None:
        asked, was_switching, switches = f"question {len(outcomes)}", len(begun) > len(ended), len(begun)
        found = await home.ask(asked, top_k=8)
        is_still = not was_switching and switches == len(begun)
        name = found.embedder.name if found.embedder else ""
        own = name if name != SMALL.name else ""
        is_right = not own or [text_of(p) for p in by_rank(found)] == only_found(
            found, nearest(own, asked, texts, most=40)
        )
        outcomes.append(is_right and (not is_still or own == ended[-1]))

    async def switch_on() -> None:
        order = ["", FIRST, SECOND, "", SECOND, FIRST] * 5
        for expected, model in zip(order, [*order[1:], ""], strict=True):
            begun.append(model)
            await home.switch(model, expected=expected)
            ended.append(model)
            await home.fill()
            await home.prepare(FIRST)
            await home.prepare(SECOND)
            await home.fill()
            await asyncio.sleep(0.005)

    await watched(switch_on, look)
    return len(outcomes), outcomes.count(False)


def only_found(found: Found, order: list[str]) -> list[str]:
    """Those of an order that were found by their vectors."""
    kept = {text_of(p) for p in found.passages if p.vector_rank}
    return [t for t in order if t in kept]


async def test_every_search_is_by_one_embedder_which_is_live(home: Home) -> None:
    searches, wrong = await strangers(home, home.index)
    assert wrong == 0
    assert searches > 30


class Mixing(PostgresIndex):
    """A seeded bug: the nearest of all generations together."""

    def statement(self, question: Question, how: VectorSearch, visible: int, *, blinding: Any) -> tuple[Any, ...]:
        sql, *parameters = super().statement(question, how, visible, blinding=blinding)
        return (sql.replace("generation = $10", "generation >= $10 * 0"), *parameters)


class Believing(PostgresIndex):
    """A seeded bug: what the asker believes to be live is not looked at."""

    async def search(self, question: Question, *, blinding: Any) -> Found:
        return await super().search(replace(question, by="house"), blinding=blinding)


@pytest.mark.parametrize("broken", [Mixing, Believing])
async def test_the_check_catches_what_mixes_or_does_not_look(home: Home, broken: type[PostgresIndex]) -> None:
    if broken is Believing:
        await home.put("z", "a first text")
        await home.live(THIRD)
        await home.ask("so that it is believed to be live")
        await home.switch("", expected=THIRD)
    _, wrong = await strangers(home, broken(home.database, tuning=Tuning()))
    assert wrong > 0


# --- where it cannot be had -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [Unavailable("embedder"), Overloaded("the embedder"), Unusable("missing")])
async def test_the_house_answers_where_the_tenants_own_cannot_be_had(home: Home, failure: Exception) -> None:
    await home.put("a", *(f"text {i}" for i in range(12)))
    before = await home.ask("a question")
    await home.live()
    await home.ask("so that it is known")
    home.embedder.failure = failure
    found = await home.ask("a question")
    assert found == before
    asked = len(home.embedder.asked)
    assert (await home.ask("another")).embedder == SMALL
    assert len(home.embedder.asked) == asked, "it is left alone for a while"
    home.embedder.failure = None
    home.clock.at += FIRST_REST
    again = await home.ask("a question")
    assert again.embedder is not None
    assert again.embedder.name == FIRST


async def test_many_questions_at_once_are_all_searched_by_it(home: Home) -> None:
    await home.put("a", "one")
    await home.live()
    found = await asyncio.gather(*(home.ask(f"question {i}") for i in range(20)))
    assert {one.embedder.name for one in found if one.embedder} == {FIRST}


async def test_vectors_of_another_identity_are_not_searched_with(home: Home) -> None:
    await home.put("a", "one")
    await home.live()
    await home.ask("so that it is known")
    home.embedder.dimensions = 8
    assert (await home.ask("a question")).embedder == SMALL


async def test_what_cannot_be_had_any_more_is_not_asked_for_when_another_is_live(home: Home) -> None:
    await home.put("a", "one")
    await home.live()
    await home.ask("so that it is known")
    other = home.beside(embedder=FakeOwnEmbedder())
    await other.ready(SECOND)
    await other.switch(SECOND, expected=FIRST)

    class OnlySecond(FakeOwnEmbedder):
        async def embed_as(self, trained: Any, texts: Any, *, urgency: Any) -> Any:
            if trained.model == FIRST:
                raise Unusable("missing")
            return await super().embed_as(trained, texts, urgency=urgency)

    home.own.embedder = OnlySecond()
    found = await home.ask("a question")
    assert found.embedder is not None
    assert found.embedder.name == SECOND


async def test_only_the_tenants_own_embedder_is_asked(home: Home, store: Database) -> None:
    other = Home(store, embedder=home.embedder)
    for one in (home, other):
        await one.put("a", "one")
        await one.live()
        await one.ask("a question")
    for which, _, _ in home.embedder.asked:
        assert which.tenant in (home.tenant, other.tenant)
    asked = len(home.embedder.asked)
    await home.ask("another")
    assert {which.tenant for which, _, _ in home.embedder.asked[asked:]} == {home.tenant}


# --- trials -----------------------------------------------------------------------------------------------------------


class House:
    """The house's embedder: one vector for all."""

    async def embed(self, _: Any) -> Any:
        return towards(0), SMALL


async def try_out(home: Home, model: str) -> Found:
    lookup = Lookup(home.tenant, text("a question"), (), Tier.TIER_2, 8, model)
    return await handlers.search(
        lookup, blinding=BLINDING, embedder=House(), index=home.index, own=home.own, generations=home.books
    )


async def test_an_index_that_is_ready_can_be_tried_and_no_other_answers_in_its_place(home: Home) -> None:
    await home.put("a", *(f"text {i}" for i in range(12)))
    await home.ready()
    found = await try_out(home, FIRST)
    assert [text_of(p) for p in by_rank(found)] == nearest(FIRST, "a question", [f"text {i}" for i in range(12)])
    assert (await home.ask("a question")).embedder == SMALL
    await home.switch(FIRST)
    assert (await try_out(home, "house")).embedder == SMALL
    home.embedder.failure = Unavailable("embedder")
    with pytest.raises(Unavailable):
        await try_out(home, FIRST)
    home.embedder.failure = Unusable("missing")
    with pytest.raises(Conflict, match="cannot be used: missing"):
        await try_out(home, FIRST)


async def test_what_is_not_ready_cannot_be_tried(home: Home) -> None:
    await home.put("a", "one")
    await home.prepare()
    for model, state in ((FIRST, "preparing"), (SECOND, "not there")):
        with pytest.raises(Conflict, match=f"the index of {model} is {state}, not ready"):
            await try_out(home, model)


# --- the model ends ---------------------------------------------------------------------------------------------------


async def ends(home: Home, change: str, model: str = FIRST, *, target: str = "TARGET_EMBEDDER") -> None:
    message = models_pb2.ModelChanged(
        change=models_pb2.ModelChange.Value(change),
        model=models_pb2.Model(tenant=home.tenant, model=model, target=training_pb2.Target.Value(target)),
    )
    consumer = ModelConsumer(Ledger(home.database), end=end_in, changed=home.filler.wake, now=lambda: home.now)
    await consumer(delivered(message, topics.MODEL_CHANGED, service="retriever", event_id=uuid4()))


@pytest.mark.parametrize("change", ["MODEL_CHANGE_RETIRED", "MODEL_CHANGE_DELETED"])
async def test_the_index_of_a_candidate_that_ends_goes(home: Home, change: str) -> None:
    await home.put("a", "one")
    await home.ready()
    await ends(home, change)
    assert await home.states() == {FIRST: ("gone", 0, 1)}


async def test_what_is_live_answers_on_until_its_weights_are_deleted(home: Home) -> None:
    await home.put("a", "one")
    await home.live()
    for change in ("MODEL_CHANGE_CONDEMNED", "MODEL_CHANGE_ROLLED_BACK", "MODEL_CHANGE_RETIRED"):
        await ends(home, change)
        assert await home.states() == {FIRST: ("live", 1, 1)}
    await ends(home, "MODEL_CHANGE_DELETED", target="TARGET_GENERATOR")
    assert await home.states() == {FIRST: ("live", 1, 1)}
    await ends(home, "MODEL_CHANGE_DELETED")
    assert await home.states() == {FIRST: ("gone", 0, 1)}
    assert (await home.ask("a question")).embedder == SMALL
    await ends(home, "MODEL_CHANGE_DELETED")
    await ends(home, "MODEL_CHANGE_DELETED", "never@0000000000000009")
