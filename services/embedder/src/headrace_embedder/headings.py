"""Finding a document's headings, so that each passage knows which it stands under.

Three ways of writing a heading count: `# ATX` and underlined (setext) as CommonMark 0.31 has them, and a line
underlined in full with `*`, `~`, `^`, `"`, `+` or `#` as reStructuredText has it, with or without the same line above.
Nothing counts inside fenced code, in a line of more than 200 characters, or in an indented line: plain text indents its
code by three spaces, and CommonMark would take a comment there for a heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from headrace_embedder.domain import Section

LONGEST_HEADING = 200

_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}(?=[^`]*$)|~{3,})")
_ATX = re.compile(r"(?P<marks>#{1,6})[ \t]+(?P<title>\S.*?)(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r"(?P<mark>[-=*~^\"+#])(?P=mark)*[ \t]*$")
# What may stand above an underline without being a heading: list items, quotes, tables, other rules, indented text.
_NO_TITLE = re.compile(r"[-*+>|#][ \t|>+=-]|\d{1,9}[.)][ \t]|[ \t]|[-=*~^\"+#]+[ \t]*$")

# How deep an underlined heading is, beside ATX's 1 to 6, after the order in Python's own documentation.
_DEPTHS = {"#": -1, "*": 0, "=": 1, "-": 2, "~": 3, "^": 4, '"': 5, "+": 6}


@dataclass(frozen=True, slots=True, repr=False)
class _Heading:
    """title at depth; takes the lines first .. last."""

    title: str
    depth: int
    first: int
    last: int


def sections(text: str) -> Iterator[Section]:
    """Cuts a document at its headings.

    The headings' own lines are left out of the texts. A heading with nothing under it is a section with the heading as
    its text, so that nothing of the document is lost. Blank sections are left out.
    """
    lines = text.splitlines(keepends=True)
    path: list[_Heading] = []
    start = 0
    for heading in _headings(lines):
        yield from _section(path, lines[start : heading.first], is_leaf=bool(path) and heading.depth <= path[-1].depth)
        path = [*(above for above in path if above.depth < heading.depth), heading]
        start = heading.last + 1
    yield from _section(path, lines[start:], is_leaf=bool(path))


def _section(path: list[_Heading], lines: list[str], *, is_leaf: bool) -> Iterator[Section]:
    text = "".join(lines)
    titles = tuple(heading.title for heading in path)
    if text.strip():
        yield Section(titles, text)
    elif is_leaf:
        yield Section(titles[:-1], titles[-1])


def _headings(lines: list[str]) -> Iterator[_Heading]:
    after = 0
    for index in outside_fences(lines):
        if index < after:
            continue
        heading = _atx(lines[index], index) or _underlined(lines, index, after)
        if heading is not None:
            yield heading
            after = heading.last + 1


def outside_fences(lines: Iterable[str]) -> Iterator[int]:
    """The indexes of the lines that are in no fenced code; an unclosed fence goes on to the end."""
    fence = ""
    for index, line in enumerate(lines):
        found = _FENCE.match(line)
        if not fence and found:
            fence = found["fence"]
        elif not fence:
            yield index
        elif found and found["fence"].startswith(fence) and not line[found.end() :].strip():
            fence = ""


def _atx(line: str, index: int) -> _Heading | None:
    found = _ATX.match(line.rstrip("\r\n")) if len(line) <= LONGEST_HEADING else None
    return _Heading(found["title"], len(found["marks"]), index, index) if found else None


def _underlined(lines: list[str], index: int, after: int) -> _Heading | None:
    """A heading whose title is the line at `index`, a paragraph of its own, and whose underline is the next.

    after: the first line after the heading before.
    """
    title, underline = lines[index].rstrip(), _line(lines, index + 1)
    found = _UNDERLINE.match(underline)
    if found is None or not _is_title(title) or not _reaches(underline, found["mark"], title):
        return None
    first = index - 1 if index > after and _is_overline(_line(lines, index - 1), underline) else index
    if first > after and not _ends_paragraph(_line(lines, first - 1)):
        return None
    return _Heading(title, _DEPTHS[found["mark"]], first, index + 1)


def _is_overline(line: str, underline: str) -> bool:
    """Not of hyphens: between two lines of those stands a document's metadata."""
    return bool(line.strip()) and line.rstrip() == underline.rstrip() and not line.startswith("-")


def _ends_paragraph(line: str) -> bool:
    return not line.strip() or _FENCE.match(line) is not None


def _line(lines: list[str], index: int) -> str:
    return lines[index].rstrip("\r\n") if 0 <= index < len(lines) else ""


def _is_title(line: str) -> bool:
    return bool(line.strip()) and len(line) <= LONGEST_HEADING and _NO_TITLE.match(line) is None


def _reaches(underline: str, mark: str, title: str) -> bool:
    """CommonMark takes = and - at any length; the other marks mean something else unless they reach the title's end."""
    return mark in "=-" or len(underline.strip()) >= max(3, len(title.strip()))
