"""Which topics a service consumes and emits, read from its source.

The rule that makes this possible: a service names a topic as `topics.QUERY_ACCEPTED`, at the place where it uses it.

    bus.subscribe(topics.X, …)     consumes it: every event takes effect
    bus.watch(topics.X, …)         shows it: what may be lost
    trim(topics.X, …), left(…)     cuts it off behind what was read, and looks at what is left of it
    anything(…, topics.X, …)       emits it
    (topics.X, topics.Y)           lists it, for its dead letters
    topics.X.name, topics.X.…      asks about it
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headrace import topics as generated

#: From the constant to the topic: QUERY_ACCEPTED to query.accepted.
NAMES = {name: topic.name for name, topic in vars(generated).items() if isinstance(topic, generated.Topic)}


@dataclass
class Edges:
    """What a service's source says, by names of topics; `unclear` is what cannot be told."""

    subscribed: set[str] = field(default_factory=set)
    watched: set[str] = field(default_factory=set)
    emitted: set[str] = field(default_factory=set)
    unclear: list[str] = field(default_factory=list)

    @property
    def consumed(self) -> set[str]:
        return self.subscribed | self.watched


def edges_of(folder: Path) -> Edges:
    """Reads every module under a folder."""
    return read([path.read_text() for path in sorted(folder.rglob("*.py"))])


def read(sources: Iterable[str]) -> Edges:
    """Reads modules."""
    found = Edges()
    for source in sources:
        tree = ast.parse(source)
        found.unclear += _imports(tree)
        for mention, parent in _mentions(tree):
            _sort(mention, parent, found)
    return found


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "headrace.topics":
            for name in node.names:
                if name.name in NAMES:
                    yield f"line {node.lineno}: write `from headrace import topics` and `topics.{name.name}`"


def _mentions(tree: ast.Module) -> Iterator[tuple[ast.Attribute, ast.AST]]:
    """Each `topics.X` with the node that it stands in; a keyword's value stands in its call."""
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "topics":
            parent = parents[node]
            yield node, parents[parent] if isinstance(parent, ast.keyword) else parent


def _sort(mention: ast.Attribute, parent: ast.AST, found: Edges) -> None:
    name = NAMES.get(mention.attr)
    if name is None:
        if mention.attr != "ALL":
            found.unclear.append(f"line {mention.lineno}: there is no topics.{mention.attr}")
        return
    match parent:
        case ast.Call(func=ast.Attribute(attr="subscribe")):
            found.subscribed.add(name)
        case ast.Call(func=ast.Attribute(attr="watch")):
            found.watched.add(name)
        case ast.Call(func=ast.Attribute(attr="trim" | "left")):
            pass
        case ast.Call():
            found.emitted.add(name)
        case ast.Tuple() | ast.List() | ast.Attribute() | ast.Starred():
            pass
        case _:
            found.unclear.append(f"line {mention.lineno}: use topics.{mention.attr} directly in the call that needs it")
