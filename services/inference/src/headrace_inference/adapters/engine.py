"""The model within this process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from headrace_models import generation
from headrace_models.prompting import Turn
from headrace_privacy import Tier
from headrace_runtime.errors import Overloaded, Rejected, Unavailable, Violation

from headrace_inference.domain import Decoding, Identity, Spent

log = structlog.get_logger()

# How often the engine's thread is looked after, in seconds.
PULSE_SECONDS = 1.0


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except generation.Overloaded as error:
        raise Overloaded("the model") from error
    except generation.ContextExceeded as error:
        raise Rejected(Violation("turns", "too_long", str(error))) from error
    except generation.EngineStopped as error:
        raise Unavailable("the model") from error


class EngineWriting:
    """See ports.Writing."""

    def __init__(self, running: generation.Generation) -> None:
        self._running = running

    async def pieces(self) -> AsyncIterator[str]:
        """See ports.Writing.pieces."""
        with _failures():
            async for event in self._running:
                if isinstance(event, str):
                    yield event

    @property
    def spent(self) -> Spent:
        """See ports.Writing.spent."""
        end = self._running.so_far()
        return Spent(
            reason=end.reason,
            input_tokens=end.usage.input_tokens,
            cached_input_tokens=end.usage.cached_input_tokens,
            output_tokens=end.usage.output_tokens,
            time_to_first_token=end.queued_seconds + end.time_to_first_token,
        )


@dataclass(frozen=True, slots=True)
class EngineModel:
    """See ports.Model."""

    engine: generation.Engine
    identity: Identity
    tier: Tier = Tier.PUBLIC

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self.engine.alive

    @property
    def window(self) -> int:
        """See ports.Model.window."""
        return self.engine.context

    def count(self, text: str) -> int:
        """See ports.Model.count."""
        return self.engine.text.count(text)

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[EngineWriting]:
        """See ports.Model.write. Leaving frees the slot at the engine's next step."""
        encoded = self.engine.text.encode(turns)
        request = generation.Request(
            encoded.ids,
            max_output_tokens=decoding.max_output_tokens,
            sampling=generation.Sampling(decoding.temperature, decoding.top_p, decoding.seed),
            shared=encoded.shared,
        )
        with _failures():
            running = self.engine.generate(request)
        async with aclosing(running):
            yield EngineWriting(running)


@asynccontextmanager
async def open_engine_model(
    folder: str, *, cache: Path, slots: int, context: int, threads: int, waiting: int
) -> AsyncIterator[EngineModel]:
    """Load a model folder, or the bundled SmolLM2 when `folder` is empty, and run it.

    Raises Unavailable when the folder holds nothing that can be run.
    """
    torch.set_num_threads(threads)
    loaded = await asyncio.to_thread(_load, folder, cache, slots, context)
    async with run_model(loaded, waiting=waiting) as model:
        watcher = asyncio.create_task(_look_after(model.engine))
        try:
            yield model
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher


@asynccontextmanager
async def run_model(
    loaded: generation.Generator, *, waiting: int, tier: Tier = Tier.PUBLIC
) -> AsyncIterator[EngineModel]:
    """Runs what is loaded, until the context ends."""
    settings = generation.EngineSettings(queue=waiting)
    identity = Identity(loaded.identity.name, loaded.identity.version, loaded.identity.provider)
    async with generation.open_engine(loaded.stepper, loaded.text, stop=loaded.stop, settings=settings) as engine:
        yield EngineModel(engine, identity, tier)


def _load(folder: str, cache: Path, slots: int, context: int) -> generation.Generator:
    try:
        weights = generation.folder_weights(Path(folder)) if folder else generation.wheel_weights(cache)
        return generation.load_generator(weights, slots=slots, context=context)
    except (generation.UnsupportedModel, OSError) as error:
        raise Unavailable(f"the model {folder or 'SmolLM2'} ({error})") from error


async def _look_after(engine: generation.Engine) -> None:
    """End the process when the engine's thread is gone: a supervisor starts it anew, and the bus delivers again."""
    while engine.alive:  # noqa: ASYNC110 - a thread that dies cannot be awaited
        await asyncio.sleep(PULSE_SECONDS)
    log.error("the engine went down")
    signal.raise_signal(signal.SIGTERM)
