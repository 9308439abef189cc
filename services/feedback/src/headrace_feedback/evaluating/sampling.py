"""Which answers are drawn, by a hash: the same ones on every instance and at every repetition. Pure."""

from __future__ import annotations

import hashlib
from typing import Literal

#: What is drawn for: independent of each other. "calibrate" splits what experts labelled; from 1/2 on it is held out.
Draw = Literal["evaluate", "judge", "calibrate", "swap"]

HELD_OUT_FROM = 0.5


def drawn(what: Draw, tenant: str, identity: str) -> float:
    """Returns a number in [0, 1), evenly spread over ids: the first 8 bytes of SHA-256 over what, tenant and id.

    The three are joined by a unit separator (U+001F), which none of them holds; the bytes are read big-endian and
    divided by 2^64. An id is in a share when its number is below the share.
    """
    digest = hashlib.sha256("\x1f".join((what, tenant, identity)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_held_out(tenant: str, query_id: str) -> bool:
    """Says whether an answer that experts labelled belongs to the half that a judge is calibrated on."""
    return drawn("calibrate", tenant, query_id) >= HELD_OUT_FROM
