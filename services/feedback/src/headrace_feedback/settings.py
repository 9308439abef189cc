"""What the feedback logger can be told."""

from __future__ import annotations

from headrace_runtime.settings import DoorSettings
from pydantic_settings import SettingsConfigDict


class Settings(DoorSettings):
    """HEADRACE_FEEDBACK_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_FEEDBACK_")
