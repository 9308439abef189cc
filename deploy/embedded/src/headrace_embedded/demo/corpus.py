"""Python's own language reference, which every Python ships, as Markdown documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pydoc_data.topics import topics

TENANT = "demo"
SOURCE = "python-reference"
MEDIA_TYPE = "text/markdown"

#: The signs that underline a heading in the reference, by its depth.
_UNDERLINES = {"*": "#", "=": "##", "-": "###", "~": "####", "^": "####"}
_UNDERLINE = re.compile(r"([*=\-~^])\1{3,}")


@dataclass(frozen=True, slots=True)
class Topic:
    """One document: the topic's name in `help()`, its first heading, its text as Markdown."""

    name: str
    title: str
    markdown: str


def reference() -> list[Topic]:
    """Returns the topics by name."""
    return [_topic(name, text) for name, text in sorted(topics.items())]


def _topic(name: str, text: str) -> Topic:
    markdown = to_markdown(text)
    heading = next((line for line in markdown.splitlines() if line.startswith("#")), name)
    return Topic(name, heading.lstrip("# "), markdown)


def to_markdown(text: str) -> str:
    """Turns underlined headings into Markdown's, and takes the quotes off the words in them."""
    lines = text.splitlines()
    made: list[str] = []
    for line in lines:
        match = _UNDERLINE.fullmatch(line)
        # An underline is as long as the heading above it; anything else made of these signs is text.
        if match and made and made[-1].strip() and len(line) == len(made[-1]):
            made[-1] = f"{_UNDERLINES[match[1]]} {made[-1].replace(chr(34), '')}"
        else:
            made.append(line)
    return "\n".join(made) + "\n"
