"""The process of one run: reads the job, trains, and says what came of it.

Exit codes: 0 done, 1 a bug, 2 failed for a reason, 3 cancelled (SIGTERM, SIGINT, or standard input's end, which means
that whoever started it is gone); the last line of output says the same.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TextIO

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers.utils import logging as transformers_logging

from headrace_trainer.learning import embedder, generator, kinds, processes, telling
from headrace_trainer.learning.failures import Cancelled, Failed, named
from headrace_trainer.learning.job import Job, Target, read
from headrace_trainer.learning.loop import Surroundings
from headrace_trainer.learning.telling import CancelledAt, Done, FailedFor, Say

DONE, BUG, FAILED, CANCELLED = 0, 1, 2, 3

TRAINERS: dict[Target, Callable[[Job, Surroundings], Done]] = {
    "generator": generator.train,
    "kinds": kinds.train,
    "embedder": embedder.train,
}


def main() -> None:
    """Trains what standard input asks for, and exits."""
    processes.die_with_launcher(os.environ)
    told = _only_our_lines()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    say = telling.lines(told) if _speaks(os.environ) else telling.nothing
    sys.excepthook = partial(_say_bug, say)
    try:
        accelerator = processes.join(os.environ)
    except Failed as failed:
        say(FailedFor(failed.reason))
        sys.exit(FAILED)
    sys.exit(work(sys.stdin, accelerator=accelerator, say=say, stop=stop))


def _speaks(environ: Mapping[str, str]) -> bool:
    """Whether this is the first of all processes, which a launcher numbers; one that stands alone has no number."""
    return environ.get("RANK", "0") == "0"


def work(source: TextIO, *, accelerator: Accelerator, say: Say, stop: threading.Event) -> int:
    """Does the job that `source` holds; returns the exit code."""
    try:
        with named():
            job = _received(source, accelerator, stop)
            _settle(job)
            done = TRAINERS[job.target](job, Surroundings(accelerator, say, time.monotonic, stop.is_set))
    except Failed as failed:
        say(FailedFor(failed.reason))
        return FAILED
    except Cancelled as cancelled:
        say(CancelledAt(cancelled.step))
        return CANCELLED
    say(done)
    if accelerator.is_main_process:
        shutil.rmtree(job.checkpoints, ignore_errors=True)
    return DONE


def _only_our_lines() -> TextIO:
    """Standard output for what we say; what libraries print goes to standard error."""
    ours = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return ours


def _received(source: TextIO, accelerator: Accelerator, stop: threading.Event) -> Job:
    """The job, which the first process reads and gives to the others: they share one standard input.

    The others learn that it could not be read, so that none waits for it.
    """
    if accelerator.num_processes == 1:
        job = read(source)
        _watch(source, stop)
        return job
    found: list[Job | Failed | None] = [None]
    if accelerator.is_main_process:
        try:
            found = [read(source)]
            _watch(source, stop)
        except Failed as failed:
            found = [failed]
    broadcast_object_list(found)
    if not isinstance(found[0], Job):
        raise found[0] or Failed("bad_rows")
    return found[0]


def _watch(source: TextIO, stop: threading.Event) -> None:
    def wait() -> None:
        while source.readline():
            pass
        stop.set()

    threading.Thread(target=wait, daemon=True).start()


def _settle(job: Job) -> None:
    """Makes what is computed the same every time, on so many threads."""
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It would fill each new tensor with NaN first, which takes a tenth of the time and changes nothing here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _say_bug(say: Say, kind: type[BaseException], _: BaseException, at: TracebackType | None) -> None:
    """The class and the places of an error; its message may hold what somebody wrote."""
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(at)]
    say(FailedFor("worker_failed", f"{kind.__name__} at {' < '.join(reversed(places))}"))
