"""The model, through headrace_models' engine, with a span for each call."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headrace_models import embedding
from headrace_runtime.errors import Conflict, Overloaded
from headrace_telemetry.tracing import describe, span

from headrace_embedder.domain import Identity, Vector

if TYPE_CHECKING:
    from headrace_models.embedding.encoder import Encoder

#: Run once before the first caller: oneDNN makes its kernels on first use, for short and long batches apart.
WARM_UP = ("warm", "word " * 200)


class EngineEmbedder:
    """Embeds with a running engine."""

    def __init__(self, engine: embedding.EmbeddingEngine) -> None:
        self._engine = engine
        made_by = engine.identity
        self._identity = Identity(made_by.name, made_by.dimensions, made_by.hash)

    @property
    def engine(self) -> embedding.EmbeddingEngine:
        """What it embeds with."""
        return self._engine

    @property
    def identity(self) -> Identity:
        """What makes the vectors."""
        return self._identity

    async def embed_soon(self, texts: Sequence[str]) -> Sequence[Vector]:
        """As ports.Embedder."""
        return await self._embed(texts, embedding.Priority.QUERY)

    async def embed_in_turn(self, texts: Sequence[str]) -> Sequence[Vector]:
        """As ports.Embedder."""
        return await self._embed(texts, embedding.Priority.DOCUMENT)

    def forget(self) -> None:
        """As ports.Embedder."""
        self._engine.forget()

    async def _embed(self, texts: Sequence[str], priority: embedding.Priority) -> Sequence[Vector]:
        name = self._identity.name
        with span(f"embeddings {name}") as current:
            describe(current, {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": name})
            try:
                made = await self._engine.embed(texts, priority=priority)
            except embedding.Overloaded:
                raise Overloaded("the embedder") from None
            describe(
                current,
                {
                    "gen_ai.embeddings.dimension.count": self._identity.dimensions,
                    "gen_ai.usage.input_tokens": sum(made.tokens),
                },
            )
        return [Vector(values, tokens) for values, tokens in zip(made.vectors, made.tokens, strict=True)]


def read_model(path: str) -> embedding.ModelFolder:
    """Reads the model's folder; the bundled one where the path is empty. Raises Conflict with what is in the way."""
    try:
        if path:
            return embedding.read_folder(Path(path))
        return embedding.read_folder(embedding.find_bundled(), name=embedding.BUNDLED_NAME)
    except embedding.UnsupportedModel as unsupported:
        raise Conflict(f"the embedder's model cannot be used: {unsupported}") from None


@asynccontextmanager
async def open_embedder(
    folder: embedding.ModelFolder, *, threads: int, limits: embedding.Limits
) -> AsyncIterator[EngineEmbedder]:
    """Loads the model, warms it up, and runs it until the context is left."""
    async with embedding.open_engine(partial(_load, folder, threads), limits) as engine:
        yield EngineEmbedder(engine)


def _load(folder: embedding.ModelFolder, threads: int) -> Encoder:
    # OpenMP reads it when torch is loaded, so torch is loaded here. Threads that spin at barriers hold up the ones that
    # they wait for when other processes want the cores: 500 tokens/s against 5,000 on two cores with a load of 8.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from headrace_models.embedding.encoder import load_encoder  # noqa: PLC0415

    encoder = load_encoder(folder, threads=threads)
    for text in WARM_UP:
        encoder.run(encoder.tokenize([text]))
    return encoder
