"""What the feedback logger can be told."""

from __future__ import annotations

from headrace_runtime.settings import DoorSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class Settings(DoorSettings):
    """HEADRACE_FEEDBACK_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_FEEDBACK_")

    inference: str = Field(
        "", description="Inference, host:port: it knows the variants that a run asks, and its models judge."
    )
