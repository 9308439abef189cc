"""From a document to chunks: along its headings first, then by the embedder's own tokens.

A chunk's text is the document's, verbatim, without the headings' own lines. What is embedded has title and headings
before it, as far as they fit into the model's window beside the passage: a passage is never cut off to make room.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace_embedder.domain import Chunk, Section
from headrace_embedder.headings import sections
from headrace_embedder.ports import Splitter, TokenCounter

#: [CLS] and [SEP], which the model sets around a text.
MARKS = 2


@dataclass(frozen=True, slots=True)
class DocumentChunker:
    """Cuts documents. context_tokens: how many tokens title and headings may take in what is embedded."""

    splitter: Splitter
    counter: TokenCounter
    context_tokens: int

    def chunks(self, title: str, markdown: str) -> Sequence[Chunk]:
        """Returns the chunks in reading order; none for a document without text."""
        return [chunk for section in sections(markdown) for chunk in self._cut(title, section)]

    def _cut(self, title: str, section: Section) -> Iterator[Chunk]:
        texts = [_trim(piece) for piece in self.splitter.split(section.text) if piece.strip()]
        context = self._context(title, section.headings)
        for text, tokens in zip(texts, self.counter.count(texts), strict=True):
            yield Chunk(section.headings, text, tokens, context)

    def _context(self, title: str, headings: tuple[str, ...]) -> str:
        """The innermost heading and the title say most; what does not fit is left out."""
        path = [part for part in dict.fromkeys((title.strip(), *headings)) if part]
        by_weight = [*path[-1:], *path[:1], *reversed(path[1:-1])] if len(path) > 1 else path
        room, kept = self.context_tokens, set()
        for part, tokens in zip(by_weight, self.counter.count(by_weight), strict=True):
            if tokens <= room:
                room -= tokens
                kept.add(part)
        return "\n".join(part for part in path if part in kept)


def _trim(piece: str) -> str:
    """Takes blank lines off both ends; the first line keeps its indentation, which means something in code."""
    start = len(piece) - len(piece.lstrip())
    line_start = max(piece.rfind("\n", 0, start), piece.rfind("\r", 0, start)) + 1
    return piece[line_start:].rstrip()
