"""Engines share the process's threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from headrace_models.generation.cores import Cores, Seat, aside


@pytest.fixture(autouse=True)
def _four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@contextmanager
def thread() -> Iterator[Callable[[Callable[[], object]], object]]:
    """Does things in one thread, as an engine does."""
    with ThreadPoolExecutor(1) as executor:
        yield lambda work: executor.submit(work).result()


def test_an_engine_alone_computes_on_all_threads_and_on_its_share_beside_others() -> None:
    cores = Cores()
    one, other = Seat(cores), Seat(cores)
    with thread() as in_one, thread() as in_other:
        in_one(one.take)
        assert in_one(torch.get_num_threads) == 4
        in_other(other.take)
        in_one(one.take)
        assert [in_one(torch.get_num_threads), in_other(torch.get_num_threads)] == [2, 2]
        in_one(one.leave)
        in_other(other.take)
        assert in_other(torch.get_num_threads) == 4


def test_nobody_is_left_without_a_thread() -> None:
    cores = Cores()
    seats = [Seat(cores) for _ in range(6)]
    for seat in seats:
        with thread() as within:
            within(seat.take)
    assert cores.share(4) == 1


def test_who_leaves_twice_or_takes_twice_counts_once() -> None:
    cores = Cores()
    with thread() as within:
        seat = Seat(cores)
        for act in (seat.leave, seat.take, seat.take):
            within(act)
        assert cores.share(4) == 4
        for act in (seat.leave, seat.leave):
            within(act)
        other = Seat(cores)
        within(other.take)
        assert cores.share(4) == 4


def test_a_thread_that_begins_while_others_share_computes_on_its_own_share() -> None:
    """A new thread begins with the number that was set last, whoever set it."""
    cores = Cores()
    one, other, late = Seat(cores), Seat(cores), Seat(cores)
    with thread() as first, thread() as second:
        first(one.take)
        second(other.take)
        first(one.leave)
        second(other.leave)
    with thread() as third:
        third(late.take)
        assert third(torch.get_num_threads) == 4


async def test_what_computes_aside_leaves_no_thread_behind() -> None:
    found = await aside(threading.current_thread)
    found.join(timeout=10)
    assert not found.is_alive()
    assert found is not threading.current_thread()


async def test_what_fails_aside_says_so() -> None:
    with pytest.raises(ZeroDivisionError):
        await aside(lambda: 1 // 0)
