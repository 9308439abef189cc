"""What a worker is told, how its words are read, and that it dies with its folder's rules kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from uuid import uuid4

import pytest
from headrace_models.generation import ChatText, wheel_weights
from headrace_models.prompting import Layout
from headrace_runtime.errors import Unavailable
from headrace_trainer.running.failures import Died, Stopped
from headrace_trainer.running.lines import Conversations, Pairs
from headrace_trainer.running.ports import Row, Stepped, Trained
from headrace_trainer.running.runs import BY_ITSELF, Base, Cause, Method, Recipe, Run, Target, recipe_for
from headrace_trainer.running.shelf import FileShelf
from headrace_trainer.running.tokens import Tokenizers, converted, read_tokens
from headrace_trainer.running.worker import Premises, ProcessWorker, command_of
from transformers import AutoTokenizer

from services.trainer.tests.running.house import NOW, laid

#: Where the tests' models are converted.
MODELS = Path(__file__).parents[4] / "build" / "models"

SECRET = "Fontanelle"
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"},
}
#: Each says what its name promises, when it has its rows.
SCRIPTS = {
    "echo": "print(json.dumps({'event': 'started', 'base': {'name': 'tiny', 'version': 'ff'}}));"
    "print('libraries talk', flush=True);"
    "say(event='progress', step=1, of=2, loss=.5, held_out_loss=None, tokens=7, tokens_a_second=3.5);"
    "say(event='done', version='0123456789abcdef', files={'w': '00'}, bytes=5, held_out_loss=1.5,"
    " base_held_out_loss=2.5, memorisation={'planted': 8, 'controls': 64, 'exposure': 1.0, 'controls_limit': 4.0,"
    " 'extracted': 0})",
    "told": "say(event='failed', reason='x', error=json.dumps([job, rows, sorted(os.environ)]));"
    "open(job['checkpoints'] + '.told', 'w').write(json.dumps([job, rows, sorted(os.environ)]))",
    "nan": "say(event='progress', step=1, of=2, loss=float('nan'))",
    "full": "say(event='failed', reason='disk_full')",
    "bug": "say(event='failed', reason='worker_failed', error='ValueError at loop.py:7'); sys.exit(1)",
    "killed": "os.kill(os.getpid(), 9)",
    "sleeps": "open(job['checkpoints'] + '.pid', 'w').write(str(os.getpid())); say(event='progress', step=1, of=2,"
    " loss=1.0); time.sleep(60)",
}
PREAMBLE = (
    "import json, os, sys, time; job = json.loads(sys.stdin.readline());"
    "rows = [json.loads(sys.stdin.readline()) for _ in range(job['rows'])];"
    "say = lambda **words: print(json.dumps(words), flush=True);"
)


@pytest.fixture
def bases(tmp_path: Path) -> Path:
    folder = tmp_path / "bases" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    return folder.parent


def worker(bases: Path, script: str) -> ProcessWorker:
    command = (sys.executable, "-c", PREAMBLE + SCRIPTS[script])
    premises = Premises(bases.parent / "work", bases.parent / "cache", bases, command, threads=1)
    renderings = {Target.GENERATOR: Conversations(Tokenizers(premises.cache)), Target.EMBEDDER: Pairs()}
    return ProcessWorker(premises, renderings)


def a_run(**changes: object) -> Run:
    told = {"target": Target.GENERATOR, "base": Base("tiny"), "recipe": Recipe(epochs=2.0), "seed": 7} | changes
    return Run(
        run_id=uuid4(),
        tenant="acme",
        wanted="",
        query=b"",
        causes=(Cause.PERSON,),
        because=(),
        traceparent="",
        by=BY_ITSELF,
        created_at=NOW,
        **told,  # type: ignore[arg-type]
    )


async def rows(count: int = 3) -> AsyncIterator[Row]:
    for place in range(count):
        text = f"{SECRET} drives wheel {place}."
        yield Row(str(place), "Who drives?", text, (text,), "", "who", held_out=place == 0)


async def said(one: ProcessWorker, run: Run, given: AsyncIterator[Row] | None = None) -> list[Stepped | Trained]:
    async with aclosing(one.train(run, laid, given or rows())) as words:
        return [word async for word in words]


async def test_what_it_says_is_read_and_what_libraries_say_is_not(bases: Path) -> None:
    run = a_run()
    stepped, trained = await said(worker(bases, "echo"), run)
    assert isinstance(stepped, Stepped)
    assert isinstance(trained, Trained)
    assert (stepped.progress.step, stepped.progress.loss, stepped.points[0].loss) == (1, 0.5, 0.5)
    assert (trained.version, trained.files, trained.bytes) == ("0123456789abcdef", {"w": "00"}, 5)
    assert (trained.base, trained.held_out_loss, trained.base_held_out_loss) == (Base("tiny", "ff"), 1.5, 2.5)
    assert trained.memorisation is not None
    assert (trained.memorisation.planted, trained.memorisation.controls_limit) == (8, 4.0)
    assert trained.folder == bases.parent / "work" / str(run.run_id) / "model"


async def test_it_is_told_its_job_and_none_of_the_services_secrets(
    bases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_TRAINER_DATABASE", "postgresql://secret")
    run = a_run(recipe=Recipe(method=Method.FULL, epochs=2.0))
    with pytest.raises(Died):
        await said(worker(bases, "told"), run)
    folder = bases.parent / "work" / str(run.run_id)
    job, lines, environment = json.loads((folder / "checkpoints.told").read_text())
    assert (job["target"], job["name"], job["seed"], job["rows"]) == ("generator", "acme-generator", 7, 3)
    assert (job["recipe"]["method"], job["recipe"]["epochs"]) == ("full", 2.0)
    assert (job["base"], job["output"]) == (str(bases / "tiny"), str(folder / "model"))
    assert job["canaries"] == {"planted": 8, "controls": 64, "times": 1}
    assert [line["split"] for line in lines] == ["test", "train", "train"]
    assert lines[0]["answer"] == f"{SECRET} drives wheel 0 [1]."
    assert not [name for name in environment if name.startswith("HEADRACE_")]


async def test_an_embedder_is_told_pairs_and_asks_nobody_how_to_lay_a_conversation_out(bases: Path) -> None:
    async def unreachable() -> Layout:
        raise Unavailable("inference")

    run = a_run(target=Target.EMBEDDER, recipe=recipe_for(Target.EMBEDDER, generators=Recipe()))
    with pytest.raises(Died):
        async with aclosing(worker(bases, "told").train(run, unreachable, rows())) as words:
            async for _ in words:
                pass
    told = json.loads((bases.parent / "work" / str(run.run_id) / "checkpoints.told").read_text())
    job, lines, _ = told
    assert (job["target"], job["name"], job["canaries"]) == ("embedder", "acme-embedder", {})
    assert job["recipe"]["learning_rate"] == recipe_for(Target.EMBEDDER, generators=Recipe()).learning_rate
    assert lines[1] == {
        "row_id": "1#1",
        "split": "train",
        "question": "Who drives?",
        "passage": f"{SECRET} drives wheel 1.",
    }


async def test_what_nobody_renders_cannot_be_trained(bases: Path) -> None:
    one = ProcessWorker(Premises(bases, bases, bases, ("false",), threads=1), {})
    with pytest.raises(Stopped, match="unsupported"):
        await said(one, a_run())


async def test_what_it_cannot_do_it_says_in_a_word(bases: Path) -> None:
    for script, word in (("nan", "nan_loss"), ("full", "disk_full")):
        with pytest.raises(Stopped) as caught:
            await said(worker(bases, script), a_run())
        assert caught.value.word == word


async def test_how_it_died_is_known(bases: Path) -> None:
    for script, status in (("bug", 1), ("killed", -9)):
        with pytest.raises(Died) as caught:
            await said(worker(bases, script), a_run())
        assert caught.value.status == status


async def test_it_is_ended_with_whoever_listens_and_its_folder_is_nobody_elses_meanwhile(bases: Path) -> None:
    one, run = worker(bases, "sleeps"), a_run()
    async with aclosing(one.train(run, laid, rows())) as words:
        async for _ in words:
            break
        folder = bases.parent / "work" / str(run.run_id)
        pid = int((folder / "checkpoints.pid").read_text())
        os.kill(pid, 0)
        with pytest.raises(Unavailable):
            await said(one, run)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert run.run_id in await one.remembered()
    await one.forget(run.run_id)
    assert await one.remembered() == set()


async def test_rows_are_never_on_disk(bases: Path) -> None:
    one, run = worker(bases, "sleeps"), a_run()
    async with aclosing(one.train(run, laid, rows())) as words:
        async for _ in words:
            break
        everything = [path.read_bytes() for path in bases.parent.rglob("*") if path.is_file()]
        assert everything
        assert SECRET.encode() not in b"".join(everything)


async def test_nothing_to_learn_is_said_before_anything_is_begun(bases: Path) -> None:
    async def unsupported() -> AsyncIterator[Row]:
        yield Row("1", "Why?", "Because nobody knows.", ("Wheels turn.",), "", "why", held_out=False)

    for given, word in ((rows(0), "empty_dataset"), (unsupported(), "bad_rows")):
        with pytest.raises(Stopped) as caught:
            await said(worker(bases, "killed"), a_run(), given)
        assert caught.value.word == word


async def test_a_base_that_is_not_there_or_broken_is_said(bases: Path) -> None:
    with pytest.raises(Stopped, match="no_such_base"):
        await said(worker(bases, "echo"), a_run(base=Base("nobody")))
    (bases / "tiny" / "tokenizer.json").write_text("{")
    with pytest.raises(Stopped, match="corrupt_base"):
        await said(worker(bases, "echo"), a_run())


async def test_rows_that_cannot_be_had_end_it(bases: Path) -> None:
    async def ending() -> AsyncIterator[Row]:
        async for row in rows(1):
            yield row
        raise Stopped("grant_ended")

    with pytest.raises(Stopped, match="grant_ended"):
        await said(worker(bases, "echo"), a_run(), ending())


def test_another_launcher_may_start_it() -> None:
    assert command_of("accelerate launch --num_processes 2 -m x")[:3] == ("accelerate", "launch", "--num_processes")
    assert command_of("") == (sys.executable, "-m", "headrace_trainer.learning")


def test_the_launcher_starts_what_writes_answers_and_nothing_else() -> None:
    premises = Premises(Path(), Path(), None, ("several",), threads=1, alone=("one",))
    assert [premises.starts(target) for target in (Target.GENERATOR, Target.EMBEDDER, Target.KINDS)] == [
        ("several",),
        ("one",),
        ("one",),
    ]


async def test_the_shelf_takes_what_is_whole_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "w").write_bytes(b"weights")
    digest = "9f8e4b1ee5d3a0b0d9e4b0a4bd6ea9e8f5f7ad95ad5b3d1d9c0c0cfd7d7c0000"
    shelf = FileShelf(str(tmp_path / "models"))
    with pytest.raises(Stopped, match="corrupt_weights"):
        await shelf.put(folder, model="acme-generator@1", files={"w": digest})
    whole = await asyncio.to_thread(_sha256, folder / "w")
    for _ in range(2):
        address = await shelf.put(folder, model="acme-generator@2", files={"w": whole})
    assert address == f"file://{tmp_path}/models/acme-generator@2"
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_bytes(b"weights")
    await shelf.put(folder, model="acme-embedder@1", files={"w": whole, "1_Pooling/config.json": whole})
    assert (tmp_path / "models" / "acme-embedder@1" / "1_Pooling" / "config.json").read_bytes() == b"weights"
    with pytest.raises(Unavailable):
        await shelf.put(folder, model="acme-generator@3", files={"missing": whole})


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.models
def test_the_wheels_tokenizer_is_found_where_its_weights_were_converted(tmp_path: Path) -> None:
    weights = wheel_weights(MODELS)
    assert converted(MODELS) == weights.folder.absolute()
    assert converted(tmp_path) is None
    tokens = read_tokens(weights.folder)
    text = ChatText(AutoTokenizer.from_pretrained(weights.folder))
    assert tokens.count("A sluice is a gate.") == text.count("A sluice is a gate.")
    assert tokens.count("<|im_end|>") > 1  # a passage's words, not the end of a turn
