"""From a document to chunks: along its headings first, then by the embedder's own tokens.

Within a section neighbouring blocks fill a chunk, and one that leads in to the next stays with it; only a block that is
larger than a chunk is cut, at sentences where that is possible. A chunk's text is the document's, verbatim, without the
headings' own lines. What is embedded has title and headings before it, as far as they fit into the model's window
beside the passage: a passage is never cut off to make room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headrace_embedder.blocks import blocks, runs
from headrace_embedder.domain import Chunk, Passage, Section
from headrace_embedder.headings import sections
from headrace_embedder.ports import Splitter, TokenCounter

#: [CLS] and [SEP], which the model sets around a text.
MARKS = 2


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is not cut any further."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class DocumentChunker:
    """Cuts documents.

    chunk_tokens: the most in a passage, which the splitter was made for as well. context_tokens: how many title and
    headings may take in what is embedded.
    """

    splitter: Splitter
    counter: TokenCounter
    chunk_tokens: int
    context_tokens: int

    def chunks(self, title: str, markdown: str) -> Sequence[Chunk]:
        """Returns the chunks in reading order; none for a document without text."""
        return [chunk for section in sections(markdown) for chunk in self._cut(title, section)]

    def embedded_texts(self, passages: Sequence[Passage]) -> Sequence[str]:
        """Returns what the vectors of passages are made of: the same as when they were cut out of their documents."""
        return [self._as_chunk(passage).embedded_text for passage in passages]

    def _as_chunk(self, passage: Passage) -> Chunk:
        return Chunk(passage.headings, passage.text, 0, self._context(passage.title, passage.headings))

    def _cut(self, title: str, section: Section) -> Iterator[Chunk]:
        context = self._context(title, section.headings)
        for unit in self._gather(self._units(section.text)):
            if unit.text.strip():
                yield Chunk(section.headings, _trim(unit.text), unit.tokens, context)

    def _units(self, text: str) -> Iterator[_Unit]:
        parts = self._count(blocks(text))
        taken = 0
        for run in runs([part.text for part in parts]):
            together = parts[taken : taken + len(run)]
            taken += len(run)
            tokens = sum(part.tokens for part in together)
            if tokens <= self.chunk_tokens:
                yield _Unit("".join(run), tokens)
            else:
                for part in together:
                    yield from self._split(part)

    def _split(self, part: _Unit) -> Iterable[_Unit]:
        return [part] if part.tokens <= self.chunk_tokens else self._count(self.splitter.split(part.text))

    def _count(self, texts: Sequence[str]) -> list[_Unit]:
        return [_Unit(text, tokens) for text, tokens in zip(texts, self.counter.count(texts), strict=True)]

    def _gather(self, units: Iterable[_Unit]) -> Iterator[_Unit]:
        """Joins neighbours as long as they fit. Tokens end at white space, so counts add up across blocks."""
        gathered = _Unit("", 0)
        for unit in units:
            if gathered.text and gathered.tokens + unit.tokens > self.chunk_tokens:
                yield gathered
                gathered = _Unit("", 0)
            gathered = _Unit(gathered.text + unit.text, gathered.tokens + unit.tokens)
        yield gathered

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
