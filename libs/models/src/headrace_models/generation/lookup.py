"""Prompt lookup: guess the next tokens where the text so far repeats itself (Saxena 2023).

A grounded answer quotes its passages, so the words that followed the same words before are a good guess. The model
checks all guessed tokens in one step and keeps those that it would have chosen: the text is exactly the same.
"""

from collections.abc import Sequence

# Three tokens in a row are rarely a coincidence; with two most guesses are refused and cost more than they save.
_NGRAM = 3


class Lookup:
    """The places where each n-gram of one sequence was seen last."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        for token in tokens:
            self.append(token)

    def append(self, token: int) -> None:
        """The sequence goes on. Its newest n-gram counts only once something has followed it."""
        if len(self._tokens) >= _NGRAM:
            self._after[tuple(self._tokens[-_NGRAM:])] = len(self._tokens)
        self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """At most `most` tokens that may follow; none where nothing repeats."""
        place = self._after.get(tuple(self._tokens[-_NGRAM:]))
        return [] if place is None else self._tokens[place : place + most]
