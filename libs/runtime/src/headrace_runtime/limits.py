"""How large a message may be, on both ends of a call."""

from __future__ import annotations

#: A document's file may have 4 MiB, and its envelope a little more.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
