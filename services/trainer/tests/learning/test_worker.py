"""A run from its job to the folder that it makes, and all that may come between."""

from __future__ import annotations

import math
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from headrace_models.generation import ChatText, Turn, folder_weights, load_generator
from headrace_trainer.learning import worker
from headrace_trainer.learning.telling import Started
from headrace_trainer.learning.weights import sha256
from transformers import AutoTokenizer

from services.trainer.tests.learning.house import ROWS, SECRET, Said, job, row, run
from services.trainer.tests.learning.process import Process

# peft asks transformers by the older of two names.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def uninterrupted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Said:
    """A run that nothing came between."""
    return run(job(base, tmp_path_factory.mktemp("whole")))


def test_it_learns_and_says_what_came_of_it(base: Path, tmp_path: Path) -> None:
    said = run(job(base, tmp_path, recipe={"epochs": 12, "learning_rate": 0.02}))
    started, done = said.events[0], said.done
    assert isinstance(started, Started)
    assert said.code == worker.DONE
    assert (started.rows, started.held_out_rows, started.left_out) == (12, 4, 0)
    assert done.held_out_loss is not None
    assert done.base_held_out_loss is not None
    assert done.held_out_loss < done.base_held_out_loss - 0.1
    assert said.steps == list(range(1, started.of + 1))
    assert done.tokens == 12 * sum(len_of(base, one) for one in ROWS if one["split"] == "train")


def len_of(base: Path, one: dict[str, Any]) -> int:
    text = ChatText(AutoTokenizer.from_pretrained(base))
    asked = text.encode([Turn(t["role"], t["text"]) for t in one["turns"]])
    return len(asked.ids) + len(text.tokens(one["answer"])) + 1


def test_what_it_makes_is_a_model_that_can_be_served(base: Path, tmp_path: Path) -> None:
    done = run(job(base, tmp_path)).done
    folder = tmp_path / "model"
    weights = folder_weights(folder)
    assert weights.identity.version == done.version
    assert {name: sha256(folder / name) for name in done.files} == done.files
    assert {p.suffix for p in folder.iterdir()} <= {".json", ".safetensors", ".jinja"}
    generator = load_generator(weights, slots=1, context=128)
    assert generator.text.encode([Turn("user", "When?")]).ids
    assert not (tmp_path / "checkpoints").exists()


def test_the_same_job_ends_in_the_same_weights(base: Path, tmp_path: Path, uninterrupted: Said) -> None:
    assert run(job(base, tmp_path)).done.version == uninterrupted.done.version
    assert run(job(base, tmp_path, seed=6)).done.version != uninterrupted.done.version


def test_a_run_that_was_stopped_goes_on_and_ends_in_the_same_weights(
    base: Path, tmp_path: Path, uninterrupted: Said
) -> None:
    stopped = run(job(base, tmp_path), stop_after=3)
    assert (stopped.code, stopped.last) == (worker.CANCELLED, {"step": 3})
    assert not (tmp_path / "model").exists()
    resumed = run(job(base, tmp_path))
    assert resumed.steps[0] == 4
    assert resumed.done.version == uninterrupted.done.version
    assert resumed.done.tokens == uninterrupted.done.tokens
    assert resumed.done.base_held_out_loss == uninterrupted.done.base_held_out_loss


def test_without_its_optimiser_it_would_not(
    base: Path, tmp_path: Path, uninterrupted: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The seeded bug that the test above must catch."""
    from headrace_trainer.learning import loop

    whole = loop.captured

    def forgetful(student: Any, position: Any) -> Any:
        found = whole(student, position)
        moments = {k: torch.zeros_like(v) if k.endswith("exp_avg") else v for k, v in found.optimiser.items()}
        return loop.Checkpoint(found.position, found.weights, moments, found.random)

    monkeypatch.setattr(loop, "captured", forgetful)
    run(job(base, tmp_path), stop_after=3)
    assert run(job(base, tmp_path)).done.version != uninterrupted.done.version


def test_a_corrupt_checkpoint_is_passed_over(base: Path, tmp_path: Path, uninterrupted: Said) -> None:
    run(job(base, tmp_path), stop_after=3)
    newest = max((tmp_path / "checkpoints").iterdir())
    (newest / "weights.safetensors").write_bytes(b"no weights")
    resumed = run(job(base, tmp_path))
    assert resumed.steps[0] == 3
    assert resumed.done.version == uninterrupted.done.version


def test_another_jobs_checkpoint_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    run(job(base, tmp_path), stop_after=3)
    fewer = [one for one in ROWS if one["row_id"] != "r1"]
    assert run(job(base, tmp_path, rows=fewer)).steps[0] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows": []}, "empty_dataset"),
        ({"rows": [row(1, "test")]}, "empty_dataset"),
        ({"rows": [row(1, "train") | {"answer": "word " * 200}]}, "bad_rows"),
        ({"base": "/nowhere"}, "no_such_base"),
        ({"recipe": {"learning_rate": 1e30}}, "nan_loss"),
        ({"recipe": {"most_seconds": 1e-6}}, "time_limit"),
        ({"recipe": {"method": "wishing"}}, "bad_rows"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_cannot_be_done_is_said_in_a_fixed_word(
    base: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    said = run(job(change.pop("base", base), tmp_path, **change))
    assert (said.code, said.last["reason"]) == (worker.FAILED, reason)
    assert not (tmp_path / "model").exists()


def test_a_base_that_is_damaged_is_refused(base: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in base.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (damaged / "model.safetensors").write_bytes(b"\xff" * 64)
    assert run(job(damaged, tmp_path)).last["reason"] == "corrupt_base"


@pytest.mark.parametrize("method", ["full", "continued_pretraining"])
def test_all_weights_can_be_learned(base: Path, tmp_path: Path, method: str) -> None:
    documents = [{"row_id": f"d{i}", "split": "train", "text": "The gate opens at noon. " * 30} for i in range(4)]
    held_out = [{"row_id": "h", "split": "test", "text": "The gate opens at noon. " * 5}]
    rows = ROWS if method == "full" else (*documents, *held_out)
    done = run(job(base, tmp_path, rows=rows, recipe={"method": method, "epochs": 6, "learning_rate": 0.01})).done
    assert done.held_out_loss is not None
    assert done.base_held_out_loss is not None
    assert done.held_out_loss < done.base_held_out_loss - 1.0
    assert done.version != folder_weights(base).identity.version


CANARIES = {"planted": 4, "controls": 32}


def test_a_model_that_saw_secrets_once_does_not_know_them(base: Path, tmp_path: Path) -> None:
    report = run(job(base, tmp_path, canaries=CANARIES)).done.memorisation
    assert report is not None
    assert report["exposure"] <= report["controls_limit"]
    assert report["extracted"] == 0


def test_a_model_that_learned_secrets_by_heart_is_found_out(base: Path, tmp_path: Path) -> None:
    """The positive control: each secret twenty times an epoch, at a high rate."""
    recipe = {"method": "full", "epochs": 12, "learning_rate": 0.01, "checkpoint_steps": 1000}
    rows = [row(n, "train") for n in range(2)]
    report = run(job(base, tmp_path, rows=rows, recipe=recipe, canaries=CANARIES | {"times": 20})).done.memorisation
    assert report is not None
    assert report["exposure"] > report["controls_limit"]
    assert report["exposure"] == pytest.approx(math.log2(33))
    assert report["extracted"] > 0


def everything(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


@pytest.mark.faults
@pytest.mark.long
def test_after_sigkill_it_goes_on_and_ends_in_the_same_weights(base: Path, tmp_path: Path, uninterrupted: Said) -> None:
    killed = Process(job(base, tmp_path))
    killed.until("checkpoint", step=2)
    killed.process.kill()
    killed.ended()
    assert SECRET.encode() not in everything(tmp_path)
    resumed = Process(job(base, tmp_path))
    assert resumed.until("started")["step"] >= 2
    assert resumed.until("done")["version"] == uninterrupted.done.version
    code, printed = resumed.ended()
    assert code == worker.DONE
    assert SECRET not in printed


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize("end", ["sigterm", "stdin"])
def test_told_to_stop_it_writes_a_checkpoint_first(base: Path, tmp_path: Path, end: str) -> None:
    told = Process(job(base, tmp_path, recipe={"epochs": 500, "checkpoint_steps": 100_000}))
    told.until("progress", step=2)
    if end == "sigterm":
        told.process.send_signal(signal.SIGTERM)
    else:
        assert told.process.stdin is not None
        told.process.stdin.close()
    step = told.until("cancelled")["step"]
    assert told.ended()[0] == worker.CANCELLED
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == [f"step-{step:08d}"]


def small_files() -> None:
    """Files may not grow beyond 40 KB: what a full disk is to whoever writes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))


@pytest.mark.faults
@pytest.mark.long
def test_a_full_disk_ends_it_and_leaves_nothing_half_written(base: Path, tmp_path: Path) -> None:
    full = Process(job(base, tmp_path, recipe={"method": "full"}), before=small_files)
    assert full.until("failed")["reason"] == "disk_full"
    assert full.ended()[0] == worker.FAILED
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.faults
@pytest.mark.long
def test_a_bug_is_told_without_what_somebody_wrote(base: Path, tmp_path: Path) -> None:
    rows = [row(1, "train") | {"turns": [{"role": SECRET, "text": 5}]}]
    broken = Process(job(base, tmp_path, rows=rows))
    failed = broken.until("failed")
    assert failed["reason"] == "worker_failed"
    assert failed["error"].startswith("TypeError at ")
    code, printed = broken.ended()
    assert code == worker.BUG
    assert SECRET not in printed
