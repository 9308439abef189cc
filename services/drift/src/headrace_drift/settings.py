"""What the drift monitor can be told."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from headrace_runtime.settings import StatefulSettings
from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from headrace_drift.baselines import Claim
from headrace_drift.looking import Plan
from headrace_drift.measuring import Rules, Windows

_WEEK = 7 * 24 * 3600


class Settings(StatefulSettings):
    """HEADRACE_DRIFT_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_DRIFT_")

    feedback: str = Field("", description="The feedback logger, host:port: it knows the answers of a dataset.")
    hop_seconds: int = Field(
        3600, ge=1, le=_WEEK, description="How often one looks, by the events' own time; a sketch holds so much."
    )
    window_seconds: int = Field(
        24 * 3600,
        ge=1,
        le=5 * _WEEK,
        description="How long a window is. It should hold whole days, or the hour shows as a change.",
    )
    window_queries: int = Field(
        0,
        ge=0,
        description="Above 0, a window is as short as it can be with so many queries, within window_seconds.",
    )
    lateness_seconds: int = Field(
        600,
        ge=0,
        le=_WEEK,
        description="How late an event may come behind the slowest partition, and count.",
    )
    idle_seconds: float = Field(
        60.0, gt=0, description="After so long without progress nobody waits for a partition that has records."
    )
    baseline_seconds: int = Field(
        _WEEK, ge=1, description="What becomes the baseline by itself: the first period that is so long, …"
    )
    baseline_of: Literal["live_model", "nobody"] = Field(
        "live_model", description="live_model: the dataset of a model that comes into service becomes the baseline."
    )
    baseline_queries: int = Field(500, ge=1, description="… and has so many queries.")
    minimum_queries: int = Field(50, ge=10, description="A slice with fewer queries in the window is not measured.")
    false_alarms: float = Field(
        0.05, gt=0, lt=1, description="At most this share of a tenant's weeks sees any alert though nothing changed."
    )
    looks_per_week: int = Field(
        0, ge=0, description="How many looks that is planned for; later ones decide more strictly. 0: one for each hop."
    )
    in_a_row: int = Field(2, ge=1, le=100, description="So many looks in a row open an alert, and close it.")
    nothing_close: float = Field(
        0.35, ge=-1, le=1, description="A query whose nearest passage has a cosine below this has found nothing close."
    )
    keep_days: int = Field(35, ge=1, description="How long sketches and looks are kept. A baseline's own stay.")
    commit_seconds: float = Field(0.25, ge=0, le=5, description="How long an event waits for others.")
    commit_events: int = Field(500, ge=1, le=10_000, description="How many events are counted together at most.")

    @model_validator(mode="after")
    def _windows_fit(self) -> Settings:
        if self.window_seconds % self.hop_seconds:
            raise ValueError("HEADRACE_DRIFT_WINDOW_SECONDS is a multiple of HEADRACE_DRIFT_HOP_SECONDS")
        if self.keep_days * 86_400 < self.window_seconds + self.lateness_seconds:
            raise ValueError("HEADRACE_DRIFT_KEEP_DAYS is longer than a window")
        return self

    def plan(self) -> Plan:
        """How traffic is looked at."""
        hop = timedelta(seconds=self.hop_seconds)
        windows = Windows(
            bucket=hop,
            span=timedelta(seconds=self.window_seconds),
            hop=hop,
            lateness=timedelta(seconds=self.lateness_seconds),
            queries=self.window_queries,
        )
        rules = Rules(
            false_alarms=self.false_alarms,
            looks_per_week=self.looks_per_week or _WEEK // self.hop_seconds,
            minimum_queries=self.minimum_queries,
            in_a_row=self.in_a_row,
            nothing_close=self.nothing_close,
        )
        return Plan(
            windows,
            rules,
            Claim(timedelta(seconds=self.baseline_seconds), self.baseline_queries),
            idle=timedelta(seconds=self.idle_seconds),
            keep=timedelta(days=self.keep_days),
        )
