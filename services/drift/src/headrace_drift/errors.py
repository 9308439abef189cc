"""What can go wrong here besides what libs know.

headrace_runtime.errors.Failure
└── Conflict            FAILED_PRECONDITION
    └── NoBaseline      there is nothing to measure against yet; the text says how much is missing
"""

from __future__ import annotations

from headrace_runtime.errors import Conflict


class NoBaseline(Conflict):
    """There is nothing to measure against yet."""

    def __init__(self, missing: int) -> None:
        counted = "enough queries, but not for long enough" if missing <= 0 else f"{missing} queries too few"
        super().__init__(f"there is no baseline yet: {counted}; wait, or set one")
