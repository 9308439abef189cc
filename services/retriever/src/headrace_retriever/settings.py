"""What the retriever can be told."""

from __future__ import annotations

from headrace_runtime.settings import StatefulSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace_retriever.domain import Tuning

_DEFAULTS = Tuning()


class Settings(StatefulSettings):
    """The environment, HEADRACE_RETRIEVER_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_RETRIEVER_")

    embedder: str = Field("127.0.0.1:7403", description="The embedder's gRPC address, host:port.", pattern=r"^.+:\d+$")
    connections: int = Field(10, ge=2, le=100, description="How many connections to Postgres.")
    top_k: int = Field(8, ge=1, le=100, description="How many passages a query is given.")
    candidates: int = Field(
        _DEFAULTS.candidates, ge=1, le=1000, description="How many each of the two searches contributes."
    )
    rrf_k: int = Field(_DEFAULTS.rrf_k, ge=1, le=10_000, description="The constant of reciprocal rank fusion.")
    exact_below: int = Field(
        _DEFAULTS.exact_below, ge=0, description="With fewer visible chunks than this all of them are looked at."
    )
    ef_search: int = Field(_DEFAULTS.ef_search, ge=1, le=1000, description="How many neighbours HNSW keeps in view.")
    scan_tuples: int = Field(
        _DEFAULTS.scan_tuples, ge=1, le=2**31 - 1, description="Where an HNSW scan for a rare tenant gives up."
    )
    text_matches: int = Field(
        _DEFAULTS.text_matches, ge=1, le=1_000_000, description="About how many full-text matches are scored."
    )

    @property
    def tuning(self) -> Tuning:
        """How searches are done."""
        return Tuning(
            candidates=self.candidates,
            rrf_k=self.rrf_k,
            exact_below=self.exact_below,
            ef_search=self.ef_search,
            scan_tuples=self.scan_tuples,
            text_matches=self.text_matches,
        )
