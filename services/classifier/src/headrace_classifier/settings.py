"""The classifier's environment."""

from __future__ import annotations

from pathlib import Path

from headrace_runtime.settings import StatefulSettings
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class Settings(StatefulSettings):
    """All settings of the classifier."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_CLASSIFIER_", extra="ignore", frozen=True)

    audit_key: Path = Field(description="The file of the audit chain's key: 64 hex digits.")
    checkpoints: Path = Field(
        description="The folder outside the database that the audit log's checkpoints and seals go to."
    )
    master_key_file: Path | None = Field(
        None, description="The file of the master keys that wrap the data keys; made where there is none yet."
    )
    master_key: SecretStr = Field(
        SecretStr(""), description="Instead of a file: 32 bytes in base64; several, by commas, while one takes over."
    )
    threads: int = Field(2, ge=1, le=64, description="Texts inspected at a time, of queries and of documents each.")
    detection_seconds: float = Field(5.0, gt=0, description="How long detection may take on any text.")
    detection_seconds_per_mebibyte: float = Field(10.0, gt=0, description="How much longer on each MiB of it.")
    queries_in_flight: int = Field(64, ge=1, description="Queries under way at a time.")
    documents_in_flight: int = Field(8, ge=1, description="Documents under way at a time.")
