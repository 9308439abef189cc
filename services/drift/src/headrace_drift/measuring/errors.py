"""What measuring refuses.

ValueError
├── Broken         bytes that are no sketch, or one of a version that this code does not know
└── Incompatible   two sketches that cannot be put together, for example of vectors of different lengths
"""

from __future__ import annotations


class Broken(ValueError):
    """These bytes are no sketch. The text says which part, never what it held."""


class Incompatible(ValueError):
    """These two cannot be put together or compared."""
