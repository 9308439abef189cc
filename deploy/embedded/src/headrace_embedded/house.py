"""Where this package and what it deploys lie: the embedded deployment runs from a checkout."""

from __future__ import annotations

from pathlib import Path

#: deploy/embedded
HOUSE = Path(__file__).parents[2]

#: The whole.
CHECKOUT = HOUSE.parents[1]
