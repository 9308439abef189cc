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


def leaks(hits: Iterable[Hit]) -> list[Hit]:
    """Returns those that are nowhere allowed."""
    return [hit for hit in hits if not any(re.fullmatch(pattern, hit.place) for pattern in ALLOWED)]
