"""Runs are conducted by anybody, one at a time, ended one way, and survive whoever conducts them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from uuid import uuid4

import pytest
from headrace import topics
from headrace.feedback.v1.datasets_pb2 import DatasetEnded, DatasetState
from headrace.training.v1.training_pb2 import RunState
from headrace_runtime.errors import Conflict, Unavailable
from headrace_trainer.running import conducting
from headrace_trainer.running.conducting import Turn
from headrace_trainer.running.failures import Died, Stopped, Word
from headrace_trainer.running.ports import Pause, Verdict
from headrace_trainer.running.runs import Cause, Run, State

from services.trainer.tests.running.house import NOW, SNAPSHOT, VERSION, House, delivery_of


async def test_a_run_goes_from_cause_to_model(house: House) -> None:
    ended = await house.finish(await house.asked())
    assert (ended.state, ended.failure, ended.snapshot) == (State.DONE, "", SNAPSHOT)
    model = f"{house.tenant}-generator@{VERSION}"
    assert ended.model == model
    assert ended.made is not None
    assert (ended.made.address, ended.made.base.name) == (f"file:///models/{model}", "tiny")
    assert [(point.step, point.loss) for point in ended.curve] == [(1, 1.0), (2, 0.5)]
    assert (ended.progress.step, ended.progress.steps, ended.progress.tokens) == (2, 2, 200)
    assert ended.progress.held_out_loss == 1.0
    assert house.registry.rolled_out == [model]
    assert house.worker.forgotten == [ended.run_id]
    (told,) = await house.endings()
    assert (told.state, told.model, told.dataset_id) == (RunState.RUN_STATE_DONE, model, SNAPSHOT.dataset_id)


async def test_what_the_gate_refuses_is_not_rolled_out(house: House) -> None:
    house.registry.verdict = Verdict(passed=False, failure="gate_refused")
    ended = await house.finish(await house.asked())
    assert (ended.state, ended.failure) == (State.REFUSED, "gate_refused")
    assert ended.model
    assert house.registry.rolled_out == []


@pytest.mark.parametrize(
    "word", ["nan_loss", "disk_full", "out_of_memory", "corrupt_base", "bad_rows", "time_limit", "unsupported"]
)
async def test_what_the_worker_cannot_do_is_said_in_a_word(house: House, word: Word) -> None:
    house.worker.script = [Stopped(word)]
    ended = await house.finish(await house.asked())
    assert (ended.state, ended.failure) == (State.FAILED, word)
    assert house.worker.attempts == 1
    assert (await house.endings())[0].failure == word


async def test_a_worker_that_dies_is_begun_again_and_given_up_on_at_last(house: House) -> None:
    house.worker.script = [Died(-11), Died(1)]
    assert (await house.finish(await house.asked())).state is State.DONE
    assert house.worker.attempts == 3
    house.worker.script = [Died(-9)] * 10
    ended = await house.finish(await house.asked())
    assert (ended.failure, ended.attempts) == ("out_of_memory", conducting.MOST_ATTEMPTS)
    house.worker.script = [Died(1)] * 10
    assert (await house.finish(await house.asked())).failure == "worker_failed"


async def test_a_corrupt_checkpoint_is_thrown_away(house: House) -> None:
    house.worker.script = [Stopped("corrupt_checkpoint")]
    run = await house.finish(await house.asked())
    assert (run.state, house.worker.attempts) == (State.DONE, 2)
    assert house.worker.forgotten == [run.run_id, run.run_id]


async def test_an_empty_dataset_and_one_that_may_not_be_used_end_the_run(house: House) -> None:
    house.datasets.snapshot = replace(SNAPSHOT, rows=0)
    assert (await house.finish(await house.asked())).failure == "empty_dataset"
    house.datasets.failing = [Stopped("not_allowed")]
    assert (await house.finish(await house.asked())).failure == "not_allowed"
    assert house.worker.attempts == 0


async def test_weights_that_are_not_what_was_written_end_the_run(house: House) -> None:
    house.shelf.failing = [Stopped("corrupt_weights")]
    assert (await house.finish(await house.asked())).failure == "corrupt_weights"


async def test_a_neighbour_that_is_down_is_waited_for(house: House) -> None:
    house.datasets.failing = [Unavailable("the feedback logger"), Unavailable("the feedback logger")]
    house.registry.raising = [Unavailable("inference")]
    ended = await house.finish(await house.asked())
    assert (ended.state, house.datasets.built, house.worker.attempts) == (State.DONE, 3, 1)
    assert len(house.registry.registered) == 1


async def test_a_neighbour_that_is_down_counts_no_attempt(house: House) -> None:
    house.layouts.failing = [Unavailable("inference") for _ in range(conducting.MOST_ATTEMPTS + 2)]
    ended = await house.finish(await house.asked())
    assert (ended.state, ended.attempts) == (State.DONE, 1)


async def test_a_gate_that_cannot_be_asked_ends_the_run(house: House) -> None:
    house.registry.raising = [Conflict("no such dataset")]
    ended = await house.finish(await house.asked())
    assert (ended.state, ended.failure) == (State.FAILED, "gate_failed")


async def test_another_instance_goes_on_where_the_first_one_died(house: House) -> None:
    """Killed in each step: what holds the turn is gone, and nothing that it had stored is lost."""
    run = await house.asked()
    for state in (State.BUILDING, State.TRAINING, State.GATING):
        await _until_killed_in(house, run, state)
    assert (await house.finish(run)).state is State.DONE
    assert [one for one, _ in house.registry.registered] == [run.run_id]
    assert len(await house.endings()) == 1


async def _until_killed_in(house: House, run: Run, state: State) -> None:
    """Conducts until the run is in a state, and then dies as by SIGKILL: nothing is tidied up."""
    await house.pass_time(10)
    instance = house.conductor()
    turn = await instance.take()
    assert turn is not None
    house.worker.script, house.registry.seconds = [9.0] if state is State.TRAINING else [], 9.0
    if state is State.BUILDING:
        await instance._begin(await house.run(run))
    else:
        work = asyncio.create_task(instance._work(turn))
        await house.until(lambda: _is_in(house, run, state))
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    assert (await house.run(run)).state is state
    house.registry.seconds = 0.0
    await house.pass_time(10)


async def _is_in(house: House, run: Run, state: State) -> bool:
    now = await house.run(run)
    return now.state is state and (state is not State.TRAINING or house.worker.working > 0)


async def test_who_lost_the_turn_lets_go(house: House) -> None:
    house.worker.script = [9.0]
    run = await house.asked()
    first = house.conductor()
    turn = await first.take()
    assert turn is not None
    work = asyncio.create_task(first.conduct(turn))
    await house.until(lambda: house.worker.working)
    await house.pass_time(10)
    second = house.conductor()
    taken = await second.take()
    if taken is None:  # the first has kept it meanwhile
        async with house.ledger.unit() as unit:
            await house.books_on(unit).pass_on(turn.holder, run.run_id, seconds=0)
        taken = await second.take()
    assert taken is not None
    await asyncio.wait_for(work, 5)
    assert house.worker.working == 0
    assert house.worker.forgotten == []
    await second.conduct(taken)
    assert (await house.run(run)).state is State.DONE


async def test_a_run_that_is_stopped_is_let_go_within_seconds(house: House) -> None:
    house.worker.script = [60.0]
    run = await house.asked()
    work = asyncio.create_task(house.conduct())
    await house.until(lambda: house.worker.working)
    async with house.ledger.unit(tenant=house.tenant) as unit:
        assert await house.loop.end(unit, run, State.CANCELLED, failure="person")
        assert not await house.loop.end(unit, run, State.CANCELLED, failure="person")
    await asyncio.wait_for(work, 3)
    assert (house.worker.working, house.worker.forgotten) == (0, [run.run_id])
    ended = await house.run(run)
    assert (ended.state, ended.failure, ended.progress.step) == (State.CANCELLED, "person", 2)
    assert not await house.conduct()


async def test_a_process_that_stops_counts_no_attempt(house: House) -> None:
    house.worker.script = [60.0]
    run = await house.asked()
    work = asyncio.create_task(house.conduct())
    await house.until(lambda: house.worker.working)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (await house.run(run)).attempts == 0
    house.worker.script = []
    assert (await house.finish(run)).state is State.DONE  # at once: the turn was given up


async def test_one_run_at_a_time_for_a_tenant(house: House) -> None:
    house.worker.script = [0.3]
    first = await house.asked()
    work = asyncio.create_task(house.conduct())
    await house.until(lambda: house.worker.working)
    second = await house.asked()
    assert second.run_id != first.run_id
    assert await house.conduct()
    assert (await house.run(second)).state is State.WAITING
    await work
    assert (await house.finish(second)).state is State.DONE


async def test_nothing_begins_while_the_loop_is_paused(house: House) -> None:
    run = await house.asked()
    for tenant in (house.tenant, ""):
        async with house.ledger.unit(tenant=tenant) as unit:
            await house.books_on(unit).pause(tenant, Pause("sam", NOW, "too loud", everybody=not tenant))
        await house.conduct()
        assert (await house.run(run)).state is State.WAITING
        async with house.ledger.unit(tenant=house.tenant) as unit:
            found = await house.books_on(unit).pause_of(house.tenant)
        assert (found.by, found.because, found.everybody) == ("sam", "too loud", not tenant)
        async with house.ledger.unit(tenant=tenant) as unit:
            await house.books_on(unit).resume(tenant)
    assert (await house.finish(run)).state is State.DONE


async def test_the_budget_holds_over_instances_and_persons_go_before_it(house: House) -> None:
    await house.put_rules(automatic=True, runs_a_day=2, debounce_seconds=1)
    for _ in range(2):
        run = await house.asked(Cause.DRIFT)
        await house.pass_time(2)
        assert (await house.finish(run)).state is State.DONE
    third = await house.asked(Cause.DRIFT)
    await house.pass_time(2)
    await house.conduct()
    assert (await house.run(third)).state is State.WAITING
    await house.pass_time(86_400)
    assert (await house.finish(third)).state is State.DONE
    for _ in range(3):
        assert (await house.finish(await house.asked(Cause.PERSON))).state is State.DONE


async def test_what_was_computed_counts_whoever_asked(house: House) -> None:
    await house.put_rules(automatic=True, compute_seconds_a_day=1, debounce_seconds=1)
    house.worker.script = [1.1]
    first = await house.asked(Cause.PERSON)
    house.worker.script = []
    await house.finish(first)
    async with house.ledger.unit(tenant=house.tenant) as unit:
        progress = replace(first.progress, compute_seconds=2.0)
        await house.books_on(unit).set_progress(first, progress, ())
    second = await house.asked(Cause.DRIFT)
    await house.pass_time(2)
    await house.conduct()
    assert (await house.run(second)).state is State.WAITING


@pytest.mark.parametrize(
    ("state", "word"),
    [(DatasetState.DATASET_STATE_ERASED, "erased"), (DatasetState.DATASET_STATE_GRANT_ENDED, "grant_ended")],
)
async def test_a_snapshot_that_ends_in_mid_run_stops_it_and_the_rest_is_learned(
    house: House, state: DatasetState, word: str
) -> None:
    house.worker.script = [60.0]
    run = await house.asked(Cause.DRIFT, "alert a")
    await house.pass_time(700)
    work = asyncio.create_task(house.conduct())
    await house.until(lambda: house.worker.working)
    ended = DatasetEnded(tenant=house.tenant, dataset_id=SNAPSHOT.dataset_id, state=state, ended_by="erasure e")
    await house.consumers.on_dataset_ended(delivery_of(ended, topics.DATASET_ENDED))
    await asyncio.wait_for(work, 3)
    assert house.worker.forgotten == [run.run_id]
    stopped = await house.run(run)
    assert (stopped.state, stopped.failure) == (State.FAILED, word)
    assert [one.erased for one in house.registry.ended] == [word == "erased"]
    again, _ = await house.runs()
    assert (again.state, again.causes) == (State.WAITING, (Cause.DRIFT,))
    assert again.because == (f"run {run.run_id}", "alert a")
    assert again.run_id != run.run_id


async def test_a_grant_that_ends_while_rows_are_read_does_the_same(house: House) -> None:
    house.worker.script = [Stopped("grant_ended")]
    run = await house.finish(await house.asked())
    assert (run.state, run.failure) == (State.FAILED, "grant_ended")
    again, _ = await house.runs()
    assert (again.state, again.by) == (State.WAITING, run.by)


async def test_what_loses_one_snapshot_after_the_other_is_given_up_on(house: House) -> None:
    house.worker.script = [Stopped("grant_ended") for _ in range(9)]
    await house.asked()
    for _ in range(4):
        run, *_ = await house.runs()
        assert (await house.finish(run)).failure == "grant_ended"
    assert len(await house.runs()) == 4


async def test_a_snapshot_that_was_asked_for_by_name_is_not_replaced(house: House) -> None:
    house.worker.script = [Stopped("erased")]
    run = await house.finish(await house.asked(dataset=SNAPSHOT.dataset_id))
    assert run.failure == "erased"
    assert len(await house.runs()) == 1


async def test_what_ended_runs_have_left_is_swept(house: House) -> None:
    waiting, gone = await house.asked(), uuid4()
    house.worker.folders = {waiting.run_id, gone}
    await house.conductor().sweep()
    assert house.worker.folders == {waiting.run_id}


async def test_a_turn_is_nobodys_before_its_time(house: House) -> None:
    await house.asked()
    turns = [await house.conductor().take() for _ in range(2)]
    assert isinstance(turns[0], Turn)
    assert turns[1] is None


async def test_the_conductor_conducts_by_itself(house: House) -> None:
    instance = house.conductor()
    async with instance.conducting():
        run = await house.asked()
        instance.wake()
        await house.until(lambda: _has_ended(house, run))
    assert (await house.run(run)).state is State.DONE


async def _has_ended(house: House, run: Run) -> bool:
    return (await house.run(run)).state.has_ended
