"""What ingest can be told."""

from __future__ import annotations

from headrace_runtime.settings import DoorSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class Settings(DoorSettings):
    """Prefix HEADRACE_INGEST_."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_INGEST_", extra="ignore", frozen=True)

    parse_seconds: float = Field(60.0, gt=0, description="How long parsing one document may take.")
    replay_seconds: float = Field(
        300.0, ge=0, description="How far back a new instance reads answer chunks, so that Watch can resume on it."
    )
