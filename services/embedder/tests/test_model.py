"""The real model behind the embedder's port: its spans, its sharing, and what it cannot run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from headrace_embedder.adapters.engine import EngineEmbedder, open_embedder, read_model
from headrace_models.embedding import Limits
from headrace_runtime.errors import Conflict, Overloaded
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture(scope="module")
async def embedder() -> AsyncIterator[EngineEmbedder]:
    async with open_embedder(read_model(""), threads=2, limits=Limits(waiting=2)) as opened:
        yield opened


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    """The spans that end in this process; added to the provider that another test may have set."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.mark.models
async def test_says_what_made_the_vectors(embedder: EngineEmbedder) -> None:
    assert (embedder.identity.name, embedder.identity.dimensions) == ("all-MiniLM-L6-v2", 384)
    assert len(embedder.identity.hash) == 16


@pytest.mark.models
async def test_means_the_same_by_other_words(embedder: EngineEmbedder) -> None:
    question, near, far = await embedder.embed_soon(
        ["How do I catch an error?", "The except clause handles exceptions.", "Rome lies on the Tiber."]
    )
    assert question.values @ near.values > question.values @ far.values + 0.1
    assert question.tokens == 9
    assert np.isclose(np.linalg.norm(question.values), 1, atol=1e-5)


@pytest.mark.models
async def test_makes_the_span_of_the_conventions(embedder: EngineEmbedder, spans: InMemorySpanExporter) -> None:
    spans.clear()
    await embedder.embed_soon(["a canary sings"])
    (ended,) = [span for span in spans.get_finished_spans() if span.name == "embeddings all-MiniLM-L6-v2"]
    attributes = dict(ended.attributes or {})
    assert attributes["gen_ai.operation.name"] == "embeddings"
    assert attributes["gen_ai.request.model"] == "all-MiniLM-L6-v2"
    assert attributes["gen_ai.embeddings.dimension.count"] == 384
    assert attributes["gen_ai.usage.input_tokens"] == 5
    assert "canary" not in ended.to_json()


@pytest.mark.models
async def test_turns_callers_away_when_too_many_wait(embedder: EngineEmbedder) -> None:
    calls = [embedder.embed_soon([f"question {n} of many"]) for n in range(8)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(result, Overloaded) for result in results)
    assert (await embedder.embed_soon(["one more question"]))[0].tokens == 5


def test_refuses_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"cannot be used: .* has no modules\.json"):
        read_model(str(tmp_path))


def test_torch_is_loaded_late_enough_to_be_told_how_to_wait() -> None:
    program = "import sys, headrace_embedder.app; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.models
def test_the_process_stays_small() -> None:
    """torch, tokenizers and safetensors are enough; the large libraries around them must not come in."""
    program = (
        "import sys, headrace_embedder.app, headrace_models.embedding.encoder; "
        "print([name for name in ('transformers', 'sentence_transformers', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
