"""Several processes, started as launchers start them: they learn what one does, and none outlives another."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from accelerate import DistributedType
from headrace_models.generation import folder_weights, load_generator
from headrace_trainer.learning import processes, worker
from headrace_trainer.learning.failures import Failed
from headrace_trainer.learning.telling import Progress
from safetensors.torch import load_file

from services.trainer.tests.learning.house import Said, job, run
from services.trainer.tests.learning.process import Process

#: Sums in another order round in another way.
NEAR = 1e-3
TORCHRUN = ("torch.distributed.run", "--nproc_per_node", "2")
HOW_TO = Path(__file__).parents[4] / "docs" / "how-to" / "train.md"

long = [
    pytest.mark.long,
    pytest.mark.timeout(240),
    # peft asks transformers by the older of two names.
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]


@pytest.fixture(scope="module")
def alone(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Path]:
    """What one process makes of the job, and where."""
    folder = tmp_path_factory.mktemp("alone")
    return run(job(base, folder)), folder


def fsdp(folder: Path) -> tuple[str, ...]:
    """accelerate's launcher, with the configuration that the how-to shows."""
    found = re.search(r"```yaml\n(.*?distributed_type: FSDP.*?)```", HOW_TO.read_text("utf-8"), re.DOTALL)
    assert found
    config = folder / "fsdp.yaml"
    config.write_text(found[1].replace("num_processes: 4", "num_processes: 2"), "utf-8")
    return ("accelerate.commands.launch", "--config_file", str(config))


def torchrun(_: Path) -> tuple[str, ...]:
    """torch's own launcher."""
    return TORCHRUN


def same(said: Process, folder: Path, alone: tuple[Said, Path]) -> None:
    """Holds what several processes said and made against what one did."""
    told, one = said.told, alone[0]
    losses = {e.step: e.loss for e in one.events if isinstance(e, Progress)}
    for step in (t for t in told if t["event"] == "progress"):
        assert step["loss"] == pytest.approx(losses[step["step"]], abs=NEAR)
    assert told[-1]["held_out_loss"] == pytest.approx(one.done.held_out_loss, abs=NEAR)
    assert (told[-1]["step"], told[-1]["tokens"]) == (one.done.step, one.done.tokens)
    made, whole = (load_file(where / "model" / "model.safetensors") for where in (folder, alone[1]))
    torch.testing.assert_close(made, whole, atol=NEAR, rtol=0.02)


@pytest.mark.parametrize("launcher", [pytest.param(x, marks=long) for x in (torchrun, fsdp)])
def test_two_processes_learn_what_one_does(
    base: Path, tmp_path: Path, alone: tuple[Said, Path], launcher: Callable[[Path], tuple[str, ...]]
) -> None:
    two = Process(job(base, tmp_path), launcher=launcher(tmp_path))
    started = two.until("started")
    assert (started["processes"], started["sharded"]) == (2, launcher is fsdp)
    two.until("done")
    assert two.ended()[0] == worker.DONE
    assert [t["step"] for t in two.told if t["event"] == "progress"] == alone[0].steps
    same(two, tmp_path, alone)
    generator = load_generator(folder_weights(tmp_path / "model"), slots=1, context=128)
    assert generator.text.tokens("Gate 3")
    assert not (tmp_path / "checkpoints").exists()


def gone(them: list[psutil.Process]) -> bool:
    """Whether all of them end within some seconds."""
    return not psutil.wait_procs(them, timeout=20)[1]


@pytest.mark.faults
@pytest.mark.parametrize("launcher", [pytest.param(x, marks=long) for x in (torchrun, fsdp)])
def test_one_that_is_killed_ends_the_run_which_goes_on_from_its_checkpoint(
    base: Path, tmp_path: Path, alone: tuple[Said, Path], launcher: Callable[[Path], tuple[str, ...]]
) -> None:
    """What processes with a piece each wrote is whole: one process goes on from it."""
    killed = Process(job(base, tmp_path), launcher=launcher(tmp_path))
    killed.until("checkpoint", step=2)
    them = psutil.Process(killed.process.pid).children()
    assert len(them) == 2
    began = time.monotonic()
    them[1].kill()
    code, _ = killed.ended()
    assert gone(them)
    assert time.monotonic() - began < 60
    assert code != worker.DONE
    assert not (tmp_path / "model").exists()
    resumed = Process(job(base, tmp_path), launcher=launcher(tmp_path) if launcher is torchrun else ())
    assert resumed.until("started")["step"] >= 2
    resumed.until("done")
    assert resumed.ended()[0] == worker.DONE
    same(resumed, tmp_path, alone)


@pytest.mark.faults
@pytest.mark.parametrize("launcher", [pytest.param(torchrun, marks=long)])
def test_nobody_outlives_the_launcher(base: Path, tmp_path: Path, launcher: Callable[[Path], tuple[str, ...]]) -> None:
    """The trainer kills the launcher's session; the launcher gave each of its processes another."""
    killed = Process(job(base, tmp_path, recipe={"epochs": 5000}), launcher=launcher(tmp_path))
    killed.until("progress", step=1)
    them = psutil.Process(killed.process.pid).children()
    killed.process.kill()
    assert gone(them)
    killed.ended()


def test_a_wish_that_cannot_be_granted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process can cut nothing, and the first FSDP cuts nothing on CPUs."""
    with pytest.raises(Failed, match="unsupported"):
        processes.join({"ACCELERATE_USE_FSDP": "true"})
    assert not processes.is_sharded(processes.join({}))
    monkeypatch.setenv("FSDP_VERSION", "1")
    several: Any = SimpleNamespace(distributed_type=DistributedType.MULTI_CPU, state=SimpleNamespace())
    with pytest.raises(Failed, match="unsupported"):
        processes._cut_on_cpus(several)
