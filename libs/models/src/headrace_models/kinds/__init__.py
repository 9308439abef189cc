"""Kinds of query: what is of none of them, and a trained head that tells them by a question's vector."""

from headrace_models.kinds.background import BACKGROUND
from headrace_models.kinds.head import LABELS, OTHER, WEIGHTS, Embedder, Head, UnusableHead, read_head, write_head

__all__ = [
    "BACKGROUND",
    "LABELS",
    "OTHER",
    "WEIGHTS",
    "Embedder",
    "Head",
    "UnusableHead",
    "read_head",
    "write_head",
]
