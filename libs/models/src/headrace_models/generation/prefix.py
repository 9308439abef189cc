"""Keys and values of prompts' fixed parts, computed once."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

# A shorter prefix costs less to compute again than to look after.
_SHORTEST = 16


class PrefixCache:
    """The least recently used of at most `entries` saved prefixes makes room. Keys are the exact token ids."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._saved: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def worth(self, tokens: Sequence[int]) -> bool:
        """Whether this prefix should be saved and is not."""
        return self._entries > 0 and len(tokens) >= _SHORTEST and tuple(tokens) not in self._saved

    def find(self, tokens: Sequence[int]) -> Any | None:
        """What was saved for exactly this prefix."""
        key = tuple(tokens)
        if key in self._saved:
            self._saved.move_to_end(key)
        return self._saved.get(key)

    def put(self, tokens: Sequence[int], saved: Any) -> None:
        """Keep what a stepper saved."""
        self._saved[tuple(tokens)] = saved
        if len(self._saved) > self._entries:
            self._saved.popitem(last=False)
