"""What the embedder can be told."""

from __future__ import annotations

from pathlib import Path

from headrace_runtime.settings import ServiceSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class Settings(ServiceSettings):
    """HEADRACE_EMBEDDER_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_EMBEDDER_")

    model: str = Field("", description="A sentence-transformers folder; empty takes the bundled all-MiniLM-L6-v2.")
    threads: int = Field(2, ge=1, le=256, description="How many threads a batch may take.")
    batch_tokens: int = Field(
        640, ge=64, le=65_536, description="The most tokens in a batch; a query waits for one batch at most."
    )
    chunk_tokens: int = Field(200, ge=16, le=8192, description="The most tokens in a chunk.")
    cached_vectors: int = Field(4096, ge=0, description="How many vectors are kept for texts that come again.")
    waiting_texts: int = Field(4096, ge=1, description="How many texts may wait before callers are turned away.")
    queries_in_flight: int = Field(64, ge=1, description="How many queries are worked on at the same time.")
    documents_in_flight: int = Field(4, ge=1, description="How many documents are worked on at the same time.")
    trained: str = Field(
        "",
        description="Where the trainer leaves models, a folder or fsspec address: no others are loaded. Empty: none.",
    )
    trained_models: int = Field(2, ge=1, le=64, description="How many of the tenants' own models are in memory.")
    cache: Path = Field(Path(".headrace/models"), description="Where fetched weights are kept.")
