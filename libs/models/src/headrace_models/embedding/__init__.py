"""Turning texts into vectors with the weights of a sentence-transformers folder, on the CPU.

Read in this order: folder (what the folder holds, and whether it can be run here), tokens, packing (rows of tokens into
batches without padding), network (the forward pass), encoder (texts to vectors), cache, engine (many callers, one
compute thread). Importing this package imports no torch; encoder and network do.
"""

from headrace_models.embedding.engine import EmbeddingEngine, Embeddings, Limits, Priority, open_beside, open_engine
from headrace_models.embedding.errors import EmbeddingError, Overloaded, UnsupportedModel
from headrace_models.embedding.folder import BUNDLED_NAME, Identity, ModelFolder, find_bundled, read_folder

__all__ = [
    "BUNDLED_NAME",
    "EmbeddingEngine",
    "EmbeddingError",
    "Embeddings",
    "Identity",
    "Limits",
    "ModelFolder",
    "Overloaded",
    "Priority",
    "UnsupportedModel",
    "find_bundled",
    "open_beside",
    "open_engine",
    "read_folder",
]
