"""What each version of a prompt came to in live traffic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace_feedback.interaction import Versioned


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Whose prompts: one by its name, or all where it is empty; of answers completed from `since` on."""

    tenant: str
    name: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class PromptFigures:
    """Counts of one version. borne_out, extracted: answers in the model's own words and in the sources' sentences."""

    prompt: Versioned
    answers: int
    borne_out: int
    extracted: int
    refused: int
    thumbs_up: int
    thumbs_down: int
