"""What embedding refuses.

EmbeddingError
├── Overloaded         the queue is full: try again later
└── UnsupportedModel   this folder cannot be run here; the text names the file and what is in the way
"""


class EmbeddingError(Exception):
    """The root of what embedding refuses. Its text holds no user text."""


class Overloaded(EmbeddingError):
    """The queue is full."""


class UnsupportedModel(EmbeddingError):
    """This folder cannot be run here."""
