"""A trace as a waterfall: the tree of spans on the left, their time on one axis on the right. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace_client.spans import LONG, WaterfallSpan, folded

#: A span with children that covers this share of the trace waits for them: it is no work when gaps are looked for.
_WAITING = 0.9

#: So many links of one span to other traces are named.
_FEW = 3

#: Clocks of two machines that agree this well are not worth a word, in milliseconds.
_SKEW_MS = 0.5


@dataclass(frozen=True, slots=True)
class WaterfallLine:
    """One line: `tree` and `bar` are padded to their columns. `service` is "" for a line that is no span."""

    tree: str
    bar: str
    duration: str
    service: str
    failed: bool = False

    @property
    def plain(self) -> str:
        """The line without colours."""
        return f"{self.tree} {self.bar} {self.duration}".rstrip()


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time that the bars share."""

    start_ns: int
    end_ns: int
    cells: int

    def bar(self, span: WaterfallSpan) -> str:
        """The span's bar. What is shorter than a cell is a thin mark."""
        scale = self.cells / max(1, self.end_ns - self.start_ns)
        first = min(self.cells - 1, int((span.start_ns - self.start_ns) * scale))
        length = min(round((_end(span) - span.start_ns) * scale), self.cells - first)
        return (" " * first + ("█" * length or "▏")).ljust(self.cells)


@dataclass(frozen=True, slots=True)
class _Node:
    span: WaterfallSpan
    prefix: str = ""  # the branches drawn before the name
    below: str = ""  # those that go on before the names of what hangs below


@dataclass(frozen=True, slots=True)
class _Branches:
    """What the tree is drawn with."""

    fork: str
    end: str
    line: str
    blank: str


_WIDE = _Branches("├ ", "└ ", "│ ", "  ")
_NARROW = _Branches("├", "└", "│", " ")


def waterfall(spans: Sequence[WaterfallSpan], width: int, *, most: int = LONG) -> list[WaterfallLine]:
    """The lines of a trace, at most `width` characters each, at least 60: one a span, parents before children, siblings
    by their start; then what is worth saying below. Any spans do: parents that are missing, clocks that disagree.

    most: of more spans, those that are alike are folded into one.
    """
    if not spans:
        return []
    width = max(60, width)
    every = {span.span_id: span for span in spans}
    by_id = {span.span_id: span for span in folded(spans)} if len(spans) > most else every
    nodes = _fitting_tree(by_id, width // 2)
    tree_cells = min(_widest(nodes, by_id), width // 2)
    axis = _Axis(min(s.start_ns for s in spans), max(map(_end, spans)), width - tree_cells - 11)
    lines = [_line(node, axis, by_id, tree_cells) for node in nodes]
    return [*lines, *(WaterfallLine(text, "", "", "") for text in _remarks(every, axis))]


def _end(span: WaterfallSpan) -> int:
    """A span whose clock was set back while it ran took no time."""
    return max(span.start_ns, span.end_ns)


def _fitting_tree(by_id: Mapping[str, WaterfallSpan], cells: int) -> list[_Node]:
    """The tree, drawn closer where it would not fit: a query's hops hang a dozen levels deep."""
    nodes = list(_tree(by_id, _WIDE))
    return nodes if _widest(nodes, by_id) <= cells else list(_tree(by_id, _NARROW))


def _widest(nodes: Iterable[_Node], by_id: Mapping[str, WaterfallSpan]) -> int:
    return max(len(_label(node, by_id)) for node in nodes)


def _tree(by_id: Mapping[str, WaterfallSpan], branches: _Branches) -> Iterator[_Node]:
    """Every span once: from the roots down, then whatever hangs in a circle."""
    children: dict[str, list[WaterfallSpan]] = defaultdict(list)
    for span in sorted(by_id.values(), key=lambda s: (s.start_ns, s.span_id)):
        children[span.parent_id if span.parent_id in by_id else ""].append(span)
    seen: set[str] = set()
    for root in children[""]:
        yield from _branch(_Node(root), children, seen, branches)
    for span in by_id.values():
        if span.span_id not in seen:
            yield from _branch(_Node(span), children, seen, branches)


def _branch(
    node: _Node, children: Mapping[str, list[WaterfallSpan]], seen: set[str], branches: _Branches
) -> Iterator[_Node]:
    seen.add(node.span.span_id)
    yield node
    following = [child for child in children.get(node.span.span_id, ()) if child.span_id not in seen]
    for child in following:
        fork, on = (branches.end, branches.blank) if child is following[-1] else (branches.fork, branches.line)
        yield from _branch(_Node(child, node.below + fork, node.below + on), children, seen, branches)


def _label(node: _Node, by_id: Mapping[str, WaterfallSpan]) -> str:
    span = node.span
    orphan = "… " if span.parent_id and span.parent_id not in by_id else ""
    mark = "✗ " if span.failed else ""
    times = f" ×{span.times}" if span.times > 1 else ""
    return f"{node.prefix}{orphan}{mark}{span.service}: {span.name}{times}"


def _line(node: _Node, axis: _Axis, by_id: Mapping[str, WaterfallSpan], cells: int) -> WaterfallLine:
    label = _label(node, by_id)
    tree = label.ljust(cells) if len(label) <= cells else label[: cells - 1] + "…"
    duration = _milliseconds(node.span.duration_ns).rjust(9)
    return WaterfallLine(tree, axis.bar(node.span), duration, node.span.service, node.span.failed)


def _milliseconds(nanoseconds: int) -> str:
    value = nanoseconds / 1e6
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms"


def _remarks(by_id: Mapping[str, WaterfallSpan], axis: _Axis) -> Iterator[str]:
    spans = list(by_id.values())
    services = len({span.service for span in spans})
    took = _milliseconds(axis.end_ns - axis.start_ns)
    idle = _milliseconds(_idle(spans, axis))
    yield f"{_count(len(spans), 'span')}, {_count(services, 'service')}, {took}; in {idle} of it no span was at work"
    failed = sum(span.failed for span in spans)
    if failed:
        yield f"✗ {_count(failed, 'span')} failed"
    orphans = sum(bool(span.parent_id) and span.parent_id not in by_id for span in spans)
    if orphans:
        yield f"… {_count(orphans, 'span')} with a parent that is not kept here (yet)"
    yield from _skews(by_id)
    yield from _links(by_id)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _idle(spans: Sequence[WaterfallSpan], axis: _Axis) -> int:
    """Nanoseconds in which no span ran, those not counted that merely wait for others: long ones with children."""
    whole = axis.end_ns - axis.start_ns
    parents = {s.parent_id for s in spans}
    working = [s for s in spans if s.span_id not in parents or _end(s) - s.start_ns < _WAITING * whole]
    idle, reached = 0, axis.start_ns
    for start, end in [*sorted((s.start_ns, _end(s)) for s in working), (axis.end_ns, axis.end_ns)]:
        idle += max(0, start - reached)
        reached = max(reached, end)
    return idle


def _skews(by_id: Mapping[str, WaterfallSpan]) -> Iterator[str]:
    """Children that begin before their parents: their machines' clocks disagree by at least so much."""
    worst: dict[tuple[str, str], float] = {}
    for span in by_id.values():
        parent = by_id.get(span.parent_id)
        early = (parent.start_ns - span.start_ns) / 1e6 if parent else 0.0
        if parent and early > _SKEW_MS:
            pair = (span.service, parent.service)
            worst[pair] = max(early, worst.get(pair, 0.0))
    for (child, parent_service), early in worst.items():
        yield f"the clock of {child} is at least {early:.1f} ms behind that of {parent_service}"


def _links(by_id: Mapping[str, WaterfallSpan]) -> Iterator[str]:
    """Links to a span's own parent go without saying: every Kafka hop has one."""
    for span in by_id.values():
        beyond = [target for target in span.links if target != span.parent_id]
        known = [other for target in beyond if (other := by_id.get(target))]
        others = [target for target in beyond if target not in by_id]
        where = [f"{other.service}: {other.name}" for other in known]
        if len(others) > _FEW:
            where.append(f"{len(others)} spans of other traces")
        else:
            where += [f"span {target} of another trace" for target in others]
        yield from (f"↗ {span.service}: {span.name} links to {one}" for one in where)
