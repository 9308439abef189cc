"""The worker process: a job and rows on its stdin, what it says on its stdout, a line of JSON each.

    this process ──job, rows──▶ leash ─exec─▶ python -m headrace_trainer.learning
                 ◀──stepped, trained, failed──

It has none of this service's settings, so none of its secrets, and its rows in memory alone. What it writes on stderr
may quote a row: nobody reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import math
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from headrace_models.prompting import Layout
from headrace_runtime.errors import Unavailable

from headrace_trainer.running.failures import WORDS, Died, Stopped
from headrace_trainer.running.ports import Row, Stepped, Trained
from headrace_trainer.running.runs import Base, Memorisation, Point, Progress, Run

log = structlog.get_logger()

_LEASH = "headrace_trainer.running.leash"
#: What a worker may know of this process's environment, by the beginnings of names.
_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_", "TMPDIR", "TZ", "PYTHON", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_", "MKL_", "HF_",
    "TORCH", "CUDA", "NVIDIA", "NCCL_", "ACCELERATE_", "FSDP_", "TOKENIZERS_", "XDG_CACHE_HOME",
)  # fmt: skip
#: A line of the worker's is shorter: the longest names each file with its hash.
_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProcessWorker:
    """See ports.Worker. work: a folder with one folder a run. command: what starts a worker. settings_base: the folder
    of the base for runs that name none; empty for the model that comes with Headrace."""

    work: Path
    command: tuple[str, ...]
    base: str = ""

    async def train(
        self, run: Run, layout: Layout, rows: AsyncIterator[Row]
    ) -> AsyncGenerator[Stepped | Trained, None]:
        """See ports.Worker."""
        folder = self._folder(run.run_id)
        with _disk(), _locked(folder) as lock:
            async with _process(self.command, lock) as process:
                feeding = asyncio.create_task(_feed(process, self._job(run, layout, folder), rows))
                try:
                    async for word in _said(process):
                        yield word
                finally:
                    feeding.cancel()
                    await asyncio.wait({feeding})
                _raise_from(feeding)
                raise Died(await process.wait())

    async def forget(self, run_id: UUID) -> None:
        """See ports.Worker."""
        await asyncio.to_thread(shutil.rmtree, self._folder(run_id), ignore_errors=True)

    async def remembered(self) -> Collection[UUID]:
        """See ports.Worker."""
        return await asyncio.to_thread(_runs_in, self.work)

    def _folder(self, run_id: UUID) -> Path:
        return self.work / str(run_id)

    def _job(self, run: Run, layout: Layout, folder: Path) -> dict[str, Any]:
        recipe, prompt = run.recipe, layout.prompt
        return {
            "run_id": str(run.run_id),
            "target": run.target.label,
            "folder": str(folder.absolute()),
            "base": run.base.name or self.base,
            "seed": run.seed,
            "method": recipe.method.name.lower(),
            "epochs": recipe.epochs,
            "context": recipe.context,
            "tokens_a_step": recipe.tokens_a_step,
            "learning_rate": recipe.learning_rate,
            "rank": recipe.rank,
            "checkpoint_steps": recipe.checkpoint_steps,
            "most_seconds": recipe.most_seconds,
            "layout": {
                "name": prompt.name,
                "version": prompt.version,
                "system": prompt.system,
                "examples": prompt.examples,
                "question": prompt.question,
                "passages": layout.passages,
                "passage_tokens": layout.passage_tokens,
                "output_tokens": layout.output_tokens,
            },
        }


def command_of(launcher: str) -> tuple[str, ...]:
    """What starts a worker: the launcher that the settings name, or this Python."""
    return tuple(shlex.split(launcher)) or (sys.executable, "-m", "headrace_trainer.learning")


@asynccontextmanager
async def _process(command: tuple[str, ...], lock: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a group of its own, which is gone afterwards. It shares the lock of its folder: nobody else begins
    there while it lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _LEASH,
        str(os.getpid()),
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=_environment(os.environ),
        start_new_session=True,
        pass_fds=[lock],
        limit=_LINE_BYTES,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(_ENVIRONMENT)}


async def _feed(process: asyncio.subprocess.Process, job: Mapping[str, Any], rows: AsyncIterator[Row]) -> None:
    """Writes the job and the rows as fast as the worker reads. That it is dead is for its exit status to say."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await _write(process.stdin, job)
        async for row in rows:
            await _write(process.stdin, _row(row))
        await _write(process.stdin, {"end": True})


async def _write(pipe: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    pipe.write(json.dumps(message).encode() + b"\n")
    await pipe.drain()


def _row(row: Row) -> dict[str, Any]:
    return {
        "row_id": row.row_id,
        "split": "test" if row.held_out else "train",
        "kind": row.kind,
        "question": row.question,
        "answer": row.answer,
        "passages": row.passages,
        "text": row.text,
    }


def _raise_from(feeding: asyncio.Task[None]) -> None:
    if feeding.done() and not feeding.cancelled() and (error := feeding.exception()) is not None:
        raise error


async def _said(process: asyncio.subprocess.Process) -> AsyncIterator[Stepped | Trained]:
    """What the worker says, up to its last word. Raises Stopped."""
    assert process.stdout is not None
    async for line in process.stdout:
        word = _word(line)
        if word is not None:
            yield word
        if isinstance(word, Trained):
            return


def _word(line: bytes) -> Stepped | Trained | None:
    """Reads a line; what libraries print besides is none of ours. Raises Stopped."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    match told.get("said") if isinstance(told, dict) else None:
        case "stepped":
            return _stepped(told)
        case "trained":
            return _trained(told)
        case "failed":
            log.warning("worker stopped", at=str(told.get("at", ""))[:200])
            raise Stopped(told["failure"] if told.get("failure") in WORDS else "worker_failed")
        case "crashed":
            log.error("worker crashed", error=str(told.get("error", ""))[:100], at=str(told.get("at", ""))[:200])
    return None


def _stepped(told: Mapping[str, Any]) -> Stepped:
    progress = Progress(
        step=int(told["step"]),
        steps=int(told["steps"]),
        loss=float(told["loss"]),
        held_out_loss=float(told.get("held_out_loss") or 0.0),
        tokens=int(told.get("tokens") or 0),
        tokens_a_second=float(told.get("tokens_a_second") or 0.0),
        compute_seconds=float(told.get("seconds") or 0.0),
    )
    if not math.isfinite(progress.loss) or not math.isfinite(progress.held_out_loss):
        raise Stopped("nan_loss")
    return Stepped(progress, (Point(progress.step, progress.loss, progress.held_out_loss),))


def _trained(told: Mapping[str, Any]) -> Trained:
    memorisation = told.get("memorisation")
    return Trained(
        folder=Path(told["folder"]),
        version=str(told["version"]),
        files=dict(told["files"]),
        base=Base(str(told["base"]["name"]), str(told["base"]["version"])),
        held_out_loss=float(told.get("held_out_loss") or 0.0),
        base_held_out_loss=float(told.get("base_held_out_loss") or 0.0),
        memorisation=Memorisation(**memorisation) if memorisation else None,
    )


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise Stopped("disk_full") from None
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Holds a run's folder. Raises Unavailable while another's worker is at work there."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        raise Unavailable("the folder of the run") from None
    finally:
        os.close(lock)


def _runs_in(work: Path) -> set[UUID]:
    found = set()
    for folder in work.iterdir() if work.is_dir() else ():
        with contextlib.suppress(ValueError):
            found.add(UUID(folder.name))
    return found
