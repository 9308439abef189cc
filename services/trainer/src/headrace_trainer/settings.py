"""What the trainer can be told."""

from __future__ import annotations

from pathlib import Path

from headrace_runtime.settings import StatefulSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class Settings(StatefulSettings):
    """HEADRACE_TRAINER_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_TRAINER_")

    feedback: str = Field(
        "", description="The feedback logger, host:port: it builds the datasets, and runs what the gate asks."
    )
    inference: str = Field(
        "", description="Inference, host:port: it has the prompts and the variants, and loads the models."
    )
    retriever: str = Field(
        "", description="The retriever, host:port: it keeps trained embedders' indexes, and switches between them."
    )
    embedder: str = Field("", description="The embedder, host:port: it makes the vectors that kinds are learned from.")
    work: Path = Field(
        Path(".headrace/training"), description="A folder for checkpoints, one folder a run; deleted when it ends."
    )
    models: str = Field(
        ".headrace/models-trained",
        description="Where models rest: a folder, or an address that fsspec knows (s3://…).",
    )
    launcher: str = Field(
        "",
        description="What starts the worker of models that write answers, for several devices: "
        '"accelerate launch --multi_gpu --num_processes 2 -m headrace_trainer.learning". Empty: this Python.',
    )
    gate: Path | None = Field(None, description="The gate's rules, a YAML file; unset takes the one that is shipped.")
    bases: Path | None = Field(
        None, description="A folder of models, a folder each, that may be named as a base beside Headrace's own."
    )
    cache: Path = Field(Path(".headrace/models"), description="Where Headrace's own model is converted.")
    threads: int = Field(1, ge=1, le=256, description="How many threads a worker computes with.")
