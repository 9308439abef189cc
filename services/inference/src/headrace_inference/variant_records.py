"""What is stored of prompts and variants: versions that never change, labels that move, and who did it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime

from headrace_inference.domain import Decoding, Prompt, Variant, Versioned

#: The label that is followed where a variant names neither a version nor a label.
PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class PromptRecord:
    """A version of a prompt as it is stored. created_at: None for one that comes with Headrace."""

    prompt: Prompt
    note: str = ""
    created_by: str = ""
    created_at: datetime | None = None
    is_built_in: bool = False

    @property
    def number(self) -> int:
        """Its version as a number."""
        return int(self.prompt.version)

    def numbered(self, version: int) -> PromptRecord:
        """The same under another version."""
        return replace(self, prompt=replace(self.prompt, version=str(version)))


def sha256_of(prompt: Prompt) -> str:
    """The hash of what a model is shown, 64 hex digits: neither name, version nor note are in it."""
    shown = [prompt.system, [list(example) for example in prompt.examples], prompt.question]
    return hashlib.sha256(json.dumps(shown, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class LabelMove:
    """A label names a version from now on; 0: none."""

    name: str
    label: str
    version: int
    reason: str
    moved_by: str
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """What of the retrieved passages a variant reads. See domain.Variant."""

    passages: int = 3
    passage_tokens: int = 700
    minimum_similarity: float | None = None
    vector_weight: float | None = None
    text_weight: float | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a variant is made of. prompt_version: 0 follows the label. backend: "" is the default one.

    model_version: "" takes what the backend serves.
    """

    prompt: str
    prompt_version: int
    prompt_label: str
    backend: str
    model_version: str
    reading: Reading
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class VariantRecord:
    """A version of a variant as it is stored. created_at: None for one that comes with Headrace."""

    key: Versioned
    wiring: Wiring
    created_by: str = ""
    created_at: datetime | None = None
    is_built_in: bool = False

    @property
    def number(self) -> int:
        """Its version as a number."""
        return int(self.key.version)

    def with_prompt(self, prompt: Prompt) -> Variant:
        """What answers, once its prompt is known."""
        reading = self.wiring.reading
        return Variant(
            name=self.key.name,
            version=self.key.version,
            prompt=prompt,
            decoding=self.wiring.decoding,
            passages=reading.passages,
            passage_tokens=reading.passage_tokens,
            minimum_similarity=-1.0 if reading.minimum_similarity is None else reading.minimum_similarity,
            vector_weight=reading.vector_weight,
            text_weight=reading.text_weight,
        )
