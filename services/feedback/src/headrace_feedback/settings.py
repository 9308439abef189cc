"""What the feedback logger can be told."""

from __future__ import annotations

from headrace_runtime.settings import DoorSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class Settings(DoorSettings):
    """HEADRACE_FEEDBACK_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_FEEDBACK_")

    retriever: str = Field(
        "",
        description="The retriever, host:port: it has the passages that answers are measured against, and that rows of "
        "documents are made of.",
    )
    embedder: str = Field("", description="The embedder, host:port: relevance is measured by its vectors.")
    datasets: str = Field(
        ".headrace/datasets",
        description="Where snapshots of datasets rest, sealed: a folder, or an address that fsspec knows (s3://…).",
    )
    inference: str = Field(
        "", description="Inference, host:port: it knows the variants that a run asks, and its models judge."
    )
