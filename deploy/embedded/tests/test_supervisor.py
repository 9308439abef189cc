"""Up, kept up, down: with the real Postgres and stub services."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import asyncpg
import psutil
import pytest
from headrace_embedded import leftovers, state
from headrace_embedded.errors import InUse, NotReady
from headrace_embedded.processes import wait_until
from headrace_embedded.state import MARK, PartState, PartStatus, Status

if TYPE_CHECKING:
    from conftest import House

pytestmark = pytest.mark.real


def pid_of(house: House, name: str) -> int:
    part = house.status().part(name)
    assert part is not None
    return part.pid


def state_of(house: House, name: str) -> PartState:
    part = house.status().part(name)
    assert part is not None
    return part.state


def test_everything_comes_up_and_goes_down_and_nothing_is_left(house: House) -> None:
    status = house.up(house.stub("ingest"), house.stub("inference", instances=2), house.stub("traces"))
    names = [part.name for part in status.parts]
    assert names == ["kafka", "postgres", "ingest", "inference-1", "inference-2", "traces"]
    assert {part.state for part in status.parts} == {PartState.READY}
    endpoints = state.read_endpoints(house.home)
    assert endpoints["services"]["inference"].count(":") == 2
    running = leftovers.find(house.home)
    assert house.down() == []
    assert not any(process.is_running() for process in running)
    assert state.read_endpoints(house.home) == {}
    assert house.status().phase == "stopped"


async def test_data_survives_down_and_up(house: House) -> None:
    house.up()
    dsn = _superuser(house)
    await _execute(dsn, "CREATE TABLE public.kept AS SELECT 7 AS n")
    house.down()
    house.up()
    assert await _value(_superuser(house), "SELECT n FROM public.kept") == 7


def test_a_killed_service_comes_back_at_its_address(house: House) -> None:
    house.up(house.stub("ingest"))
    before = house.status().part("ingest")
    assert before is not None
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: pid_of(house, "ingest") not in (0, before.pid) and state_of(house, "ingest") is PartState.READY)
    after = house.status().part("ingest")
    assert after is not None
    assert (after.address, after.restarts) == (before.address, 1)


async def test_a_killed_database_comes_back_with_its_data(house: House) -> None:
    house.up()
    await _execute(_superuser(house), "CREATE TABLE public.kept AS SELECT 7 AS n")
    os.kill(pid_of(house, "postgres"), signal.SIGKILL)
    wait_until(lambda: state_of(house, "postgres") is not PartState.READY)
    wait_until(lambda: state_of(house, "postgres") is PartState.READY, deadline_s=30)
    assert await _value(_superuser(house), "SELECT n FROM public.kept") == 7


def test_a_service_that_never_serves_fails_the_start_with_its_last_words(house: House) -> None:
    with pytest.raises(NotReady, match="the stub was told to die"):
        house.up(house.stub("ingest", STUB="dies"))
    wait_until(lambda: not state.is_running(house.home))
    assert leftovers.find(house.home) == []


def test_a_second_supervisor_steps_back(house: House) -> None:
    house.up(house.stub("ingest"))
    second = subprocess.run(
        [sys.executable, "-m", "headrace_embedded.supervisor", str(house.home)], capture_output=True, check=False
    )
    assert second.returncode == 1
    assert b"already runs" in second.stderr
    assert state_of(house, "ingest") is PartState.READY


def test_nothing_outlives_a_supervisor_that_is_killed(house: House) -> None:
    status = house.up(house.stub("ingest"))
    running = [psutil.Process(part.pid) for part in status.parts]
    os.kill(status.supervisor, signal.SIGKILL)
    psutil.wait_procs(running, timeout=10)
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in running)


def test_the_next_start_recovers_from_a_supervisor_that_is_gone(house: House) -> None:
    first = house.up(house.stub("ingest"))
    os.kill(first.supervisor, signal.SIGKILL)
    wait_until(lambda: not state.is_running(house.home))
    second = house.up(house.stub("ingest"))
    assert second.supervisor != first.supervisor
    assert state_of(house, "ingest") is PartState.READY


def test_a_marked_process_that_got_lost_is_found_and_ended(house: House) -> None:
    environment = {**os.environ, MARK: str(house.home)}
    lost = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment)
    wait_until(lambda: lost.pid in {process.pid for process in leftovers.find(house.home)})
    assert leftovers.end(house.home) == 1
    # psutil has taken its exit code already.
    assert lost.poll() is not None


def test_a_recorded_pid_that_is_somebody_elses_by_now_is_left_alone(house: House) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    part = PartStatus("ingest", "service", PartState.READY, pid=stranger.pid, created=1.0)
    state.write_status(house.home, Status(0, 0.0, "ready", "", "kafka", (part,)))
    try:
        assert leftovers.end(house.home) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_lock_is_let_go_with_its_process(house: House) -> None:
    with state.hold_lock(house.home):
        assert state.is_running(house.home)
        with pytest.raises(InUse), state.hold_lock(house.home):
            pass
    assert not state.is_running(house.home)


def test_half_written_status_reads_as_none(house: House) -> None:
    (house.home / "status.json").write_text('{"supervisor": 1, "parts": [')
    assert state.read_status(house.home) is None


def test_down_without_anything_running_is_no_error(house: House) -> None:
    assert house.down() == []


def test_the_environment_names_the_parts_and_the_schema(house: House) -> None:
    house.up(house.stub("ingest"), house.stub("traces"))
    environment = psutil.Process(pid_of(house, "ingest")).environ()
    endpoints = state.read_endpoints(house.home)
    assert environment["HEADRACE_INGEST_KAFKA"] == endpoints["kafka"]
    assert environment["HEADRACE_INGEST_TRACES"] == f"http://{endpoints['services']['traces']}"
    assert "headrace_ingest:" in environment["HEADRACE_INGEST_DATABASE"]


def _superuser(house: House) -> str:
    passwords = json.loads((house.home / "postgres" / "passwords.json").read_text())
    part = house.status().part("postgres")
    assert part is not None
    return f"postgresql://postgres:{passwords['postgres']}@{part.address}/headrace"


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


async def _value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
