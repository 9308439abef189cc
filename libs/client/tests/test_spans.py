from __future__ import annotations

import random

from headrace_client.spans import WaterfallSpan, folded
from headrace_client.waterfall import waterfall

from libs.client.tests.test_waterfall import MS, span


def drawn(*spans: WaterfallSpan) -> list[str]:
    return [line.plain for line in waterfall(spans, 90, most=0)]


def rows(calls: int) -> list[WaterfallSpan]:
    """A run whose gate asks, each call with a statement below it."""
    run = [span("gate", "", 0, 100, service="trainer")]
    for place in range(calls):
        run.append(span(f"c{place}", "gate", 10 * place, 10 * place + 4, service="trainer", name="call"))
        run.append(span(f"s{place}", f"c{place}", 10 * place + 1, 10 * place + 3, service="feedback", name="SELECT"))
    return run


def test_spans_that_are_alike_are_one_with_what_they_took_together() -> None:
    gate, call, select, said = drawn(*rows(5))
    assert gate.endswith(" 100 ms")
    assert (call.split("  ")[0], call.split()[-2]) == ("└ trainer: call ×5", "20.0")
    assert (select.split(" █")[0], select.split()[-2]) == ("  └ feedback: SELECT ×5", "10.0")
    assert said == "11 spans, 2 services, 100 ms; in 80.0 ms of it no span was at work"


def test_one_that_failed_stands_by_itself() -> None:
    lines = drawn(*rows(3), span("bad", "gate", 50, 55, service="trainer", name="call", failed=True))
    assert lines[1].startswith("├ trainer: call ×3 ")
    assert lines[2].startswith("│ └ feedback: SELECT ×3 ")
    assert lines[3].startswith("└ ✗ trainer: call ")
    assert lines[-1] == "✗ 1 span failed"


def test_one_that_links_to_another_query_stands_by_itself() -> None:
    lines = drawn(*rows(2), span("link", "gate", 50, 55, service="trainer", name="call", links=("f" * 16,)))
    assert sum("trainer: call" in line and "links" not in line for line in lines) == 2
    assert f"↗ trainer: call links to span {'f' * 16} of another trace" in lines


def test_hops_whose_parents_are_folded_link_to_nothing_else() -> None:
    hops = [span("a", "", 0, 9)]
    for place in range(3):
        hops.append(span(f"send{place}", "a", place, place + 0.5, name="send"))
        hops.append(
            span(f"p{place}", f"send{place}", place, 5, service=f"of {place}", name="p", links=(f"send{place}",))
        )
    assert not [line for line in drawn(*hops) if "↗" in line]


def test_those_of_two_roots_that_are_not_kept_stay_apart() -> None:
    assert len(folded([span("a", "gone", 0, 1, name="x"), span("b", "lost", 0, 1, name="x")])) == 2


def test_nothing_is_lost_whatever_hangs_where() -> None:
    chance = random.Random(6)
    for _ in range(200):
        count = chance.randrange(1, 30)
        ids = [f"{place}" for place in range(count)]
        spans = [
            span(one, chance.choice([*ids, "", "gone"]), chance.random() * 9, 9, name=chance.choice("ab"))
            for one in ids
        ]
        short = folded(spans)
        assert sum(one.times for one in short) == count
        assert len({one.span_id for one in short}) == len(short)
        assert max(one.end_ns for one in short) == 9 * MS
        assert waterfall(spans, 90, most=0)
