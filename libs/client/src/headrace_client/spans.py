"""The spans of a trace, and a long trace made short: those alike that hang from the same one become one. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

#: A trace of more spans than this is folded unless each is wanted: a query's has thirty or so, a run's hundreds.
LONG = 60

#: What makes spans alike: service, name, whether it failed, and whether it links to more than its parent.
_Kind = tuple[str, str, bool, bool]


@dataclass(frozen=True, slots=True)
class WaterfallSpan:
    """One span. Times in nanoseconds since 1970; `parent_id` is empty for a root.

    times: so many spans alike that were folded into it; it lasts from the begin of the first to the end of the last.
    took_ns: what they took together, where that is not what lies between the two.
    """

    span_id: str
    parent_id: str
    service: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool = False
    links: tuple[str, ...] = ()
    times: int = 1
    took_ns: int | None = None

    @property
    def duration_ns(self) -> int:
        """What it took. A span whose clock was set back while it ran took no time."""
        return max(0, self.end_ns - self.start_ns) if self.took_ns is None else self.took_ns


def folded(spans: Sequence[WaterfallSpan]) -> list[WaterfallSpan]:
    """The same trace with spans that are alike told once, with how many there were and what they took together.

    What hangs from them is put together and folded in turn. A span that failed is never folded into one that did not,
    nor one that links to another query into one that does not. Spans that hang in a circle are left as they are.
    """
    by_id = {span.span_id: span for span in spans}
    children: dict[str, list[WaterfallSpan]] = defaultdict(list)
    roots: dict[str, list[WaterfallSpan]] = defaultdict(list)
    for span in spans:
        (children if span.parent_id in by_id else roots)[span.parent_id].append(span)
    reached: set[str] = set()
    done = [
        one
        for parent_id, under in roots.items()
        for one in _folded(under, parent_id=parent_id, children=children, reached=reached)
    ]
    return [*done, *(span for span in spans if span.span_id not in reached)]


def _folded(
    spans: Iterable[WaterfallSpan],
    *,
    parent_id: str,
    children: Mapping[str, list[WaterfallSpan]],
    reached: set[str],
) -> Iterator[WaterfallSpan]:
    alike: dict[_Kind, list[WaterfallSpan]] = defaultdict(list)
    for span in sorted(spans, key=lambda one: (one.start_ns, one.span_id)):
        reached.add(span.span_id)
        alike[_kind(span)].append(span)
    for group in alike.values():
        one = _together(group, parent_id)
        yield one
        below = [child for span in group for child in children.get(span.span_id, ()) if child.span_id not in reached]
        yield from _folded(below, parent_id=one.span_id, children=children, reached=reached)


def _kind(span: WaterfallSpan) -> _Kind:
    return span.service, span.name, span.failed, any(link != span.parent_id for link in span.links)


def _together(group: Sequence[WaterfallSpan], parent_id: str) -> WaterfallSpan:
    first = group[0]
    if len(group) == 1:
        # Its parent may have been folded into another one, to which it then links as a hop does.
        links = tuple(parent_id if link == first.parent_id else link for link in first.links)
        return replace(first, parent_id=parent_id, links=links)
    beyond = {link: None for span in group for link in span.links if link != span.parent_id}
    return replace(
        first,
        parent_id=parent_id,
        end_ns=max(span.end_ns for span in group),
        links=tuple(beyond),
        times=sum(span.times for span in group),
        took_ns=sum(span.duration_ns for span in group),
    )
