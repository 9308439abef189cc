from __future__ import annotations

import pytest
from headrace_client.spans import WaterfallSpan
from headrace_client.waterfall import waterfall

MS = 1_000_000


def span(
    span_id: str, parent_id: str, start: float, end: float, *, service: str = "ingest", name: str = "", **more: object
) -> WaterfallSpan:
    """Times in milliseconds."""
    return WaterfallSpan(span_id, parent_id, service, name or span_id, int(start * MS), int(end * MS), **more)  # type: ignore[arg-type]


def drawn(*spans: WaterfallSpan, width: int = 80) -> list[str]:
    return [line.plain for line in waterfall(spans, width)]


def test_a_query_is_drawn_as_a_tree_beside_one_axis() -> None:
    lines = drawn(
        span("ask", "", 0, 100, name="QueryService/Ask"),
        span("send", "ask", 1, 3, name="send query.submitted"),
        span("process", "send", 10, 30, service="retriever", name="process query.embedded", links=("send",)),
        span("select", "process", 12, 20, service="retriever", name="SELECT chunks"),
        span("chat", "send", 50, 99, service="inference", name="chat SmolLM2"),
    )
    assert lines == [
        "ingest: QueryService/Ask              ████████████████████████████████    100 ms",
        "└ ingest: send query.submitted        █                                   2.0 ms",
        "  ├ retriever: process query.embedded    ██████                          20.0 ms",
        "  │ └ retriever: SELECT chunks           ███                              8.0 ms",
        "  └ inference: chat SmolLM2                           ████████████████   49.0 ms",
        "5 spans, 3 services, 100 ms; in 29.0 ms of it no span was at work",
    ]


def test_a_span_whose_parent_is_missing_is_drawn_and_marked() -> None:
    lines = drawn(span("a", "", 0, 10), span("b", "gone", 4, 8))
    assert lines[1].startswith("… ingest: b")
    assert "… 1 span with a parent that is not kept here (yet)" in lines


def test_several_roots_come_by_their_start() -> None:
    lines = drawn(span("late", "", 50, 60), span("early", "", 0, 10), span("child", "late", 51, 52))
    assert [line.split(":")[0] + line.split(":")[1].split()[0] for line in lines[:3]] == [
        "ingestearly", "ingestlate", "└ ingestchild",
    ]  # fmt: skip


def test_clocks_that_disagree_are_named_once_a_pair() -> None:
    lines = drawn(
        span("a", "", 10, 20), span("b", "a", 5, 9, service="retriever"), span("c", "a", 7, 9, service="retriever")
    )
    assert "the clock of retriever is at least 5.0 ms behind that of ingest" in lines
    assert sum("clock" in line for line in lines) == 1


def test_a_clock_set_back_makes_a_span_of_no_length() -> None:
    assert "0.0 ms" in drawn(span("a", "", 10, 20), span("b", "a", 15, 12))[1]


def test_a_failed_span_is_marked() -> None:
    lines = waterfall([span("a", "", 0, 10, failed=True)], 80)
    assert lines[0].failed
    assert lines[0].plain.startswith("✗ ingest: a")
    assert lines[-1].plain == "✗ 1 span failed"


def test_links_beyond_the_parent_are_shown() -> None:
    lines = drawn(span("a", "", 0, 10), span("b", "a", 1, 2, links=("a", "c", "f" * 16)), span("c", "a", 3, 4))
    assert "↗ ingest: b links to ingest: c" in lines
    assert f"↗ ingest: b links to span {'f' * 16} of another trace" in lines
    assert sum("↗" in line for line in lines) == 2


def test_many_links_to_other_traces_are_counted() -> None:
    lines = drawn(span("a", "", 0, 10, links=tuple(f"{place:016x}" for place in range(20))))
    assert [line for line in lines if "↗" in line] == ["↗ ingest: a links to 20 spans of other traces"]


def test_a_circle_of_parents_ends() -> None:
    lines = drawn(span("a", "b", 0, 10), span("b", "a", 1, 2))
    assert [line.split(" █")[0].strip() for line in lines[:2]] == ["ingest: a", "└ ingest: b"]


def test_one_moment_and_nothing_at_all() -> None:
    assert len(drawn(span("a", "", 5, 5))) == 2
    assert drawn() == []


@pytest.mark.parametrize("width", [20, 60, 79, 200])
def test_no_span_is_wider_than_asked(width: int) -> None:
    long = span("a", "", 0, 10, name="n" * 300)
    spans = [long, *(span(str(n), str(n - 1) if n else "a", n, n + 1) for n in range(30))]
    assert all(len(line.plain) <= max(60, width) for line in waterfall(spans, width)[:31])


def test_a_deep_trace_is_drawn_closer() -> None:
    deep = [span(str(n), str(n - 1) if n else "", n, 20, name="process query.retrieved") for n in range(12)]
    assert drawn(*deep, width=80)[11].startswith(" " * 10 + "└ingest: process query.retr")
    assert drawn(*deep, width=160)[11].startswith(" " * 20 + "└ ingest: process query.retrieved")


def test_gaps_are_counted_without_the_spans_that_only_wait() -> None:
    alone = drawn(span("a", "", 0, 100), span("b", "a", 10, 20), span("c", "a", 15, 40))
    assert alone[-1].endswith("in 70.0 ms of it no span was at work")
