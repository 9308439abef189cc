"""A small model is trained for real through the service: killed on the way, it comes out the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from headrace.training.v1 import service_pb2, training_pb2
from headrace_embedded import testing
from headrace_models.embedding import read_folder

from services.trainer.tests.learning.house import write_base
from services.trainer.tests.running.test_service import ended, under_way
from services.trainer.tests.running.world import SECRET, World, open_world

#: Loading torch alone may take one where the machine is busy.
MINUTES = 400.0

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(1500)]


@pytest_asyncio.fixture(scope="module")
async def world(schema: testing.Database, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    bases = tmp_path_factory.mktemp("bases")
    write_base(bases / "small")
    async with open_world(schema, kafka, tmp_path_factory.mktemp("work"), BASES=str(bases)) as opened:
        opened.datasets.rows = 24
        yield opened


def wish(tenant: str) -> service_pb2.StartTrainingRequest:
    recipe = training_pb2.Recipe(epochs=4.0, tokens_a_step=700, context=512, checkpoint_steps=2, rank=4)
    return service_pb2.StartTrainingRequest(tenant=tenant, base="small", recipe=recipe, seed=3)


async def test_a_model_is_made_and_the_same_again_though_everything_was_killed(world: World, tenant: str) -> None:
    async with world.instance() as (training, _, _):
        whole = await ended(training, (await training.StartTraining(wish(tenant))).run, seconds=MINUTES)
        assert whole.model.startswith(f"{tenant}-generator@")
        assert whole.held_out_loss > 0
    async with world.instance() as (training, _, process):
        run = (await training.StartTraining(wish(tenant))).run
        before = await under_way(training, run, steps=4, seconds=MINUTES)
        process.kill()
        await process.wait()
    async with world.instance() as (training, _, _):
        run = await ended(training, run, seconds=MINUTES)
        curve = (await training.GetTraining(service_pb2.GetTrainingRequest(tenant=tenant, run_id=run.run_id))).run.curve
    assert before.step >= 4
    assert [point.step for point in curve] == list(range(1, run.steps + 1))
    assert (run.model, run.steps) == (whole.model, whole.steps)
    files = [path.read_bytes() for path in world.work.rglob("*") if path.is_file()]
    assert any(path.name.startswith(whole.model) for path in (world.work / "models").iterdir())
    assert SECRET.encode() not in b"".join(files)


async def test_an_embedder_is_made_of_pairs_and_refused_where_no_index_is_made_for_it(
    world: World, tenant: str
) -> None:
    """The whole way up to the retriever, which takes nothing here."""
    recipe = training_pb2.Recipe(epochs=1.0)
    request = service_pb2.StartTrainingRequest(tenant=tenant, target=training_pb2.TARGET_EMBEDDER, recipe=recipe)
    request.query.approved_only = True
    async with world.instance() as (training, _, _):
        run = await ended(training, (await training.StartTraining(request)).run, seconds=MINUTES)
    assert (run.state, run.failure) == (training_pb2.RUN_STATE_REFUSED, "not_loaded")
    assert run.model.startswith(f"{tenant}-embedder@")
    made = world.work / "models" / run.model
    files = [path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()]
    assert {"model.safetensors", "modules.json", "tokenizer.json"} <= set(files)
    assert read_folder(made).identity.dimensions == 384
    rest = [path.read_bytes() for path in world.work.rglob("*") if path.is_file()]
    assert SECRET.encode() not in b"".join(rest)
