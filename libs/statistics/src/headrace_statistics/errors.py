"""What a statistic refuses.

ValueError
└── TooFew   the data cannot carry the statistic: the text says what is missing, in counts and never in values
"""

from __future__ import annotations


class TooFew(ValueError):
    """Too little data, or none that varies, for an interval that means anything."""
