"""The prompts and variants that come with the package, one file a version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from headrace_inference.domain import Decoding, Prompt, Variant, Versioned
from headrace_inference.variant_catalogue import House
from headrace_inference.variant_records import PromptRecord, Reading, VariantRecord, Wiring

DEFAULT = Versioned("default", "1")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: what it is, its name and version, its content, and the hash that keeps it as it is."""

    kind: str
    key: Versioned
    content: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every version of every prompt and variant."""

    entries: tuple[Entry, ...]

    def variant(self, key: Versioned) -> Variant:
        """A variant with its prompt. Raises LookupError."""
        found = self._content("variant", key)
        prompt = Versioned(**found["prompt"])
        return Variant(
            name=key.name,
            version=key.version,
            prompt=self._prompt(prompt),
            decoding=Decoding(**found["decoding"]),
            passages=found["passages"],
            passage_tokens=found["passage_tokens"],
        )

    def house(self) -> House:
        """All of it as records, as a tenant's own are."""
        prompts = {
            e.key: PromptRecord(self._prompt(e.key), is_built_in=True) for e in self.entries if e.kind == "prompt"
        }
        variants = {e.key: self._record(e.key) for e in self.entries if e.kind == "variant"}
        return House(prompts, variants)

    def _record(self, key: Versioned) -> VariantRecord:
        found = self._content("variant", key)
        wiring = Wiring(
            prompt=found["prompt"]["name"],
            prompt_version=int(found["prompt"]["version"]),
            prompt_label="",
            backend="",
            model_version="",
            reading=Reading(found["passages"], found["passage_tokens"]),
            decoding=Decoding(**found["decoding"]),
        )
        return VariantRecord(key, wiring, is_built_in=True)

    def _prompt(self, key: Versioned) -> Prompt:
        found = self._content("prompt", key)
        examples = tuple((e["asked"], e["answered"]) for e in found["examples"])
        return Prompt(key.name, key.version, found["system"], examples, found["question"])

    def _content(self, kind: str, key: Versioned) -> Mapping[str, Any]:
        for entry in self.entries:
            if (entry.kind, entry.key) == (kind, key):
                parsed: Mapping[str, Any] = yaml.safe_load(entry.content)
                return parsed
        raise LookupError(f"no {kind} {key.name} {key.version}")


def read_catalogue() -> Catalogue:
    """Read the package's files."""
    folder = resources.files("headrace_inference") / "catalogue"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return Catalogue(tuple(_entry(f.read_text()) for f in files))


def _entry(text: str) -> Entry:
    parsed = yaml.safe_load(text)
    key = Versioned(parsed["name"], parsed["version"])
    return Entry(parsed["kind"], key, text, hashlib.sha256(text.encode()).hexdigest())
