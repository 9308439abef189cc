import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from headrace_drift.measuring import Sketch, Windows, bucket_of, is_late, window_at

from services.drift.tests.measuring.traffic import World

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WORLD = World(1, 40)


def sketch(queries: int) -> Sketch:
    made, rng = Sketch(), random.Random(queries)
    while made.queries < queries:
        for one in WORLD.hour(12, rng, queries=20)[: queries - made.queries]:
            made.add(one)
    return made


def test_an_event_belongs_to_the_bucket_of_its_own_time() -> None:
    windows = Windows()
    assert bucket_of(NOON + timedelta(minutes=59), windows) == NOON
    assert bucket_of(NOON, windows) == NOON
    elsewhere = timezone(timedelta(hours=5, minutes=30))
    assert bucket_of((NOON + timedelta(minutes=59)).astimezone(elsewhere), windows) == NOON
    assert bucket_of(NOON + timedelta(seconds=25), Windows(bucket=timedelta(seconds=10), hop=HOUR)).second == 20


def test_a_late_event_is_counted_while_its_bucket_can_wait() -> None:
    windows = Windows(lateness=2 * HOUR)
    assert not is_late(NOON - 2 * HOUR, NOON, windows)
    assert is_late(NOON - 2 * HOUR - timedelta(seconds=1), NOON, windows)
    assert not is_late(NOON + HOUR, NOON, windows)


def test_a_window_holds_the_newest_whole_buckets() -> None:
    buckets = {NOON + n * HOUR: sketch(n + 1) for n in range(-30, 3) if n >= -1 or n == -25}
    buckets = {at: one for at, one in buckets.items() if one.queries}
    buckets[NOON - 25 * HOUR] = sketch(5)
    window = window_at(buckets, NOON + HOUR, Windows())
    assert (window.begins, window.ends) == (NOON - 23 * HOUR, NOON + HOUR)
    assert window.sketch.queries == buckets[NOON].queries


def test_a_window_of_so_many_queries_takes_no_more_buckets_than_it_needs() -> None:
    minute = timedelta(minutes=1)
    windows = Windows(bucket=minute, span=HOUR, hop=minute, queries=25)
    buckets = {NOON + n * minute: sketch(10) for n in range(10)}
    window = window_at(buckets, NOON + 10 * minute, windows)
    assert window.sketch.queries == 30
    assert window.begins == NOON + 7 * minute
    few = window_at({NOON: sketch(10)}, NOON + minute, windows)
    assert (few.sketch.queries, few.begins) == (10, NOON)
    none = window_at({}, NOON, windows)
    assert (none.sketch.queries, none.begins) == (0, NOON - HOUR)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket": timedelta(0)},
        {"bucket": 25 * HOUR},
        {"hop": timedelta(minutes=90)},
    ],
)
def test_windows_that_cannot_be_are_refused(wrong: dict[str, timedelta]) -> None:
    with pytest.raises(ValueError, match="bucket"):
        Windows(**wrong)
