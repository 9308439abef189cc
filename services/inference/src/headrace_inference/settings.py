"""What inference can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from headrace_runtime.settings import StatefulSettings
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict


class Settings(StatefulSettings):
    """HEADRACE_INFERENCE_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_INFERENCE_")

    backends: Path | None = Field(
        None,
        description="A YAML file of several backends; unset takes one, made of the settings below."
        " See docs/how-to/prompts.md.",
    )
    backend: Literal["engine", "openai"] = Field(
        "engine", description="engine runs the model in this process; openai asks a server."
    )
    model: str = Field(
        "",
        description="engine: a Hugging Face folder; empty takes the bundled SmolLM2."
        " openai: the server's model; empty takes the first that it lists.",
    )
    embedder: str = Field("127.0.0.1:7403", description="The embedder's gRPC address, host:port.", pattern=r"^.+:\d+$")
    trials: int = Field(
        4, ge=1, le=256, description="How many answers that nobody waits for are written at the same time."
    )
    cache: Path = Field(Path(".headrace/models"), description="Where converted weights are kept.")
    slots: int = Field(16, ge=1, le=256, description="How many completions share the model at the same time.")
    context: int = Field(1280, ge=256, le=131_072, description="The most tokens of prompt and completion together.")
    threads: int = Field(2, ge=1, le=256, description="How many threads a step of the model may take.")
    waiting: int = Field(256, ge=0, description="How many completions may wait before callers are turned away.")
    trained_models: int = Field(
        3, ge=0, le=64, description="How many models that the trainer made are in memory beside the backends' own."
    )
    rolled_back_seconds: float = Field(
        600.0, ge=0, description="How long a model that was rolled back stays in memory, in case it is wanted again."
    )
    openai_url: str = Field("", description="The server's base, for example http://127.0.0.1:8000/v1.")
    openai_key: SecretStr = Field(SecretStr(""), description="The server's key, if it asks for one.")
    openai_timeout: float = Field(60.0, gt=0, description="Seconds until a silent server counts as down.")

    @model_validator(mode="after")
    def _server_has_an_address(self) -> Settings:
        if self.backend == "openai" and not self.openai_url:
            raise ValueError("backend openai needs HEADRACE_INFERENCE_OPENAI_URL")
        return self
