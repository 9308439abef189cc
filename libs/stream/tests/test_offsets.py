"""The committable offset is the lowest that is not finished, whatever the order; beginnings are counted in commits."""

from __future__ import annotations

import pytest
from headrace_stream.offsets import CAREFUL_AFTER, CRASHES_AT_MOST, Beginnings, OffsetTracker
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test


class Model(RuleBasedStateMachine):
    """A tracker beside the plainest description of what it should say."""

    tracker_type = OffsetTracker

    def __init__(self) -> None:
        super().__init__()
        self.tracker = self.tracker_type(10)
        self.last = 9
        self.open: list[int] = []

    @rule(gap=st.integers(1, 3))
    def begin(self, gap: int) -> None:
        """Offsets rise, with gaps where a compacted or transactional record stood."""
        self.last += gap
        self.tracker.begin(self.last)
        self.open.append(self.last)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(self.open))
        self.open.remove(offset)
        self.tracker.finish(offset)

    @invariant()
    def the_lowest_unfinished_is_committed(self) -> None:
        assert self.tracker.committable == (min(self.open) if self.open else self.last + 1)
        assert self.tracker.under_way >= len(self.open)


TestOffsetTracker = Model.TestCase


def test_a_tracker_that_commits_what_finished_last_is_caught() -> None:
    """A seeded bug: what is still under way below would be lost with a crash."""

    class Hasty(OffsetTracker):
        def finish(self, offset: int) -> None:
            self._begun = [begun for begun in self._begun if begun > offset]

    class Broken(Model):
        tracker_type = Hasty

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken)


@given(st.permutations(range(8)))
def test_when_all_is_finished_everything_is_committed_and_nothing_kept(order: list[int]) -> None:
    tracker = OffsetTracker(0)
    for offset in range(8):
        tracker.begin(offset)
    for offset in order:
        tracker.finish(offset)
    assert (tracker.committable, tracker.under_way, tracker._finished) == (8, 0, set())


@given(st.integers(0, 2**62), st.integers(0, 1000))
def test_a_beginning_comes_back_from_its_commit(offset: int, count: int) -> None:
    began = Beginnings(offset, count)
    assert Beginnings.read(offset, began.metadata()) == began


@given(st.text() | st.sampled_from(["", "{}", "null", "[]", "1", '{"begun": null}', '{"begun": "x"}', '{"begun": []}']))
def test_what_others_wrote_into_a_commit_counts_as_none(metadata: str) -> None:
    assert Beginnings.read(7, metadata).offset == 7


def test_a_process_grows_careful_and_then_gives_up() -> None:
    began, told = Beginnings(5, 0), []
    for _ in range(CRASHES_AT_MOST + 1):
        began = began.again()
        told.append((began.is_suspicious, began.is_hopeless))
    assert told.index((True, False)) == CAREFUL_AFTER
    assert told[-1] == (True, True)
    assert (True, True) not in told[:-1]
