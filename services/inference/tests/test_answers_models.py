"""The whole way from question to answer on real models: Python's language reference, MiniLM, SmolLM2.

Retrieval here is a stand-in of some lines for the retriever's: nearest vectors and rarest words, fused.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import pytest_asyncio
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.engine import EngineModel, open_engine_model
from headrace_inference.domain import Answer, Grounding, Passage, Question
from headrace_inference.grounding import Checker, Source
from headrace_inference.handlers import answer_question
from headrace_privacy import Tier
from numpy.typing import NDArray

from services.inference.tests import questions
from services.inference.tests.passages import anything

pytestmark = [pytest.mark.models, pytest.mark.timeout(600)]
CACHE = Path(__file__).parents[3] / "build" / "models"
CHARACTERS = 900  # about 200 tokens, as the embedder cuts


def chunked(text: str) -> list[str]:
    """Paragraphs, put together until a chunk is full."""
    chunks = [""]
    for paragraph in re.split(r"\n\s*\n", text):
        if chunks[-1] and len(chunks[-1]) + len(paragraph) > CHARACTERS:
            chunks.append("")
        chunks[-1] += f"{paragraph}\n\n"
    return chunks


@dataclass(frozen=True)
class Library:
    """All chunks with their vectors, and the questions'."""

    titles: list[str]
    texts: list[str]
    vectors: NDArray[np.float32]
    asked: dict[str, NDArray[np.float32]]

    @cached_property
    def words(self) -> list[set[str]]:
        return [set(re.findall(r"\w+", t.lower())) for t in self.texts]

    def find(self, question: str, *, top: int = 8) -> list[Passage]:
        similarity = self.vectors @ self.asked[question]
        words = set(re.findall(r"\w{3,}", question.lower()))
        rarity = {w: math.log(len(self.words) / (1 + sum(w in have for have in self.words))) for w in words}
        overlap = [sum(rarity[w] for w in words & have) for have in self.words]
        fused = np.zeros(len(self.texts))
        for ranking in (np.argsort(-similarity)[:40], np.argsort(-np.array(overlap))[:40]):
            fused[ranking] += 1 / (61 + np.arange(len(ranking)))
        best = np.argsort(-fused)[:top]
        return [
            Passage(n, self.texts[i], self.titles[i], "python-reference", float(similarity[i]), Tier.PUBLIC)
            for n, i in enumerate(best)
        ]


ASKED = (*questions.ANSWERABLE, *questions.UNANSWERABLE, *questions.HELD_ANSWERABLE, *questions.HELD_UNANSWERABLE)


@pytest.fixture(scope="module")
def library() -> Library:
    from headrace_models.embedding import find_bundled, read_folder
    from headrace_models.embedding.encoder import load_encoder

    encoder = load_encoder(read_folder(find_bundled()), threads=2)
    cut = [(text.strip().split("\n")[0], chunk) for text in topics.values() for chunk in chunked(text)]
    texts = [chunk for _, chunk in cut]

    def embed(batch: Sequence[str]) -> NDArray[np.float32]:
        rows = encoder.tokenize(batch)
        return np.concatenate([encoder.run(rows[i : i + 8]) for i in range(0, len(rows), 8)])

    return Library([t for t, _ in cut], texts, embed(texts), dict(zip(ASKED, embed(ASKED), strict=True)))


def says_something(library: Library, question: str) -> bool:
    """Whether an answer of any kind would be given. Whatever the model writes, these are the only sentences that may
    come out: supported ones of these passages, or theirs."""
    sources = [Source(p.text, p.about, p.similarity, p.collection) for p in library.find(question)]
    checker = Checker(question, sources)
    return checker.is_answerable and bool(checker.extract())


@pytest.mark.parametrize(
    ("asked", "most"), [(questions.UNANSWERABLE, 0), (questions.HELD_UNANSWERABLE, 0)], ids=["chosen on", "held out"]
)
def test_what_the_reference_does_not_say_is_not_answered(library: Library, asked: tuple[str, ...], most: int) -> None:
    answered = [q for q in asked if says_something(library, q)]
    assert len(answered) <= most, answered


@pytest.mark.parametrize(
    ("asked", "least"), [(questions.ANSWERABLE, 0.9), (questions.HELD_ANSWERABLE, 0.9)], ids=["chosen on", "held out"]
)
def test_what_the_reference_says_is_answered(library: Library, asked: tuple[str, ...], least: float) -> None:
    refused = [q for q in asked if not says_something(library, q)]
    assert len(refused) <= (1 - least) * len(asked), refused


@pytest_asyncio.fixture(scope="module")
async def model() -> AsyncIterator[EngineModel]:
    async with open_engine_model("", cache=CACHE, slots=8, context=1536, threads=2, waiting=64) as opened:
        yield opened


async def ask(library: Library, model: EngineModel, question: str) -> tuple[list[Passage], Answer]:
    passages = library.find(question)

    async def emit(piece: str) -> None: ...

    asked = Question(question, Tier.PUBLIC, passages)
    return passages, await answer_question(
        asked, read_catalogue().variant(DEFAULT), model=model, admit=anything, emit=emit
    )


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What does the nonlocal statement do?", "enclosing"),
        ("What is a context manager?", "runtime context"),
        ("What does the pass statement do?", "null operation"),
        ("What is a lambda expression?", "function"),
    ],
)
async def test_an_answer_says_it_and_cites_it(library: Library, model: EngineModel, question: str, said: str) -> None:
    passages, answer = await ask(library, model, question)
    assert answer.grounding is not Grounding.NOT_IN_SOURCES
    assert said in answer.text
    assert answer.citations
    cited = " ".join(" ".join(passages[c.passage].text.split()) for c in answer.citations)
    assert said in cited
    assert answer.spent.output_tokens > 0


@pytest.mark.parametrize(
    "question", [questions.HELD_UNANSWERABLE[0], questions.HELD_UNANSWERABLE[-1], questions.UNANSWERABLE[19]]
)
async def test_the_model_is_not_even_asked_what_the_sources_do_not_say(
    library: Library, model: EngineModel, question: str
) -> None:
    _, answer = await ask(library, model, question)
    assert answer.grounding is Grounding.NOT_IN_SOURCES
    assert answer.spent.input_tokens == 0
