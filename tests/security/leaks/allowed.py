"""The places where people's words may stand in the clear. Each with why; what is not here is a leak."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.security.leaks.scanning import Hit

#: By a pattern of the place.
ALLOWED: dict[str, str] = {
    r"topic (query|document|feedback)\.submitted": "As the outside sent it: masked and sealed by who reads it, and "
    "taken off the topic a day later, or by an erasure. Only ingest and feedback may read it.",
    r"file kafka/data/(query|document|feedback)\.submitted-\d+/.*": "The broker's own files of the same.",
}

#: What developers write for the model and for judges. It is TIER_1: clear in their own tables, and nowhere else.
AUTHORED: dict[str, str] = {
    r"table inference\.(tenant_prompts|prompt_labels|kinds|routes)": "Prompts, why a label or a route was moved, and "
    "the examples of kinds.",
    r"table feedback\.rubrics": "What experts judge by.",
    r"file postgres/data/(base|pg_wal)/.*": "The database's own files of the same.",
}


def leaks(hits: Iterable[Hit]) -> list[Hit]:
    """Returns those that are nowhere allowed."""
    return [hit for hit in hits if not _is_allowed(hit)]


def _is_allowed(hit: Hit) -> bool:
    patterns = [*ALLOWED, *(AUTHORED if hit.canary == "authored" else ())]
    return any(re.fullmatch(pattern, hit.place) for pattern in patterns)
