"""Trained models within this process, beside the backend's own."""

from __future__ import annotations

import asyncio
import gc
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace_models import generation
from headrace_models.prompting import Turn
from headrace_runtime.errors import Failure as Refusal
from safetensors import SafetensorError

from headrace_inference.adapters import trained_folder
from headrace_inference.adapters.backends import Backend, EngineHost
from headrace_inference.adapters.engine import EngineModel, run_model
from headrace_inference.domain import Decoding
from headrace_inference.ports import Model
from headrace_inference.trained_ports import LoadFailed
from headrace_inference.trained_records import TrainedRecord

#: What transformers raises for a folder that it cannot make a model of: a configuration without a field, of an
#: architecture that it does not know, a tokenizer that needs what is not installed.
_NO_MODEL = (
    generation.UnsupportedModel,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
_GREETING = [Turn("user", "Hello")]


@dataclass(frozen=True, slots=True)
class EngineLoader:
    """See trained_ports.Loader. shelf: a folder for fetched weights. The backend's settings hold for its neighbours."""

    host: EngineHost
    shelf: Path

    @asynccontextmanager
    async def open(self, record: TrainedRecord) -> AsyncIterator[EngineModel]:
        """See trained_ports.Loader.open. It has written a token when it is handed out."""
        folder = await asyncio.to_thread(trained_folder.fetch, record, self.shelf)
        loaded = await asyncio.to_thread(self._load, record, folder)
        async with run_model(loaded, waiting=self.host.waiting, tier=record.tier) as model:
            del loaded
            await _try(model)
            yield model
        del model
        # A model's parts refer to one another; hundreds of megabytes are worth looking for.
        await asyncio.to_thread(gc.collect)

    async def forget(self, record: TrainedRecord) -> None:
        """See trained_ports.Loader.forget."""
        folder = trained_folder.folder_of(record, self.shelf)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def keep_only(self, records: Sequence[TrainedRecord]) -> None:
        """See trained_ports.Loader.keep_only."""
        await asyncio.to_thread(trained_folder.keep_only, records, self.shelf)

    def _load(self, record: TrainedRecord, folder: Path) -> generation.Generator:
        weights = generation.Weights(folder, generation.ModelIdentity(record.name, record.version))
        try:
            return generation.load_generator(weights, slots=self.host.slots, context=self.host.context)
        except MemoryError:
            raise LoadFailed("no_memory") from None
        except _NO_MODEL as error:
            raise LoadFailed("no_memory" if _is_about_memory(error) else "unsupported") from None


@dataclass(frozen=True, slots=True)
class NoLoader:
    """See trained_ports.Loader. Where all backends are servers, no model can be loaded beside them."""

    def open(self, record: TrainedRecord) -> AbstractAsyncContextManager[EngineModel]:
        """See trained_ports.Loader.open."""
        del record
        raise LoadFailed("unsupported")

    async def forget(self, record: TrainedRecord) -> None:
        """See trained_ports.Loader.forget."""

    async def keep_only(self, records: Sequence[TrainedRecord]) -> None:
        """See trained_ports.Loader.keep_only."""


def no_backend(model: Model) -> Backend:
    """What stands before a model that NoLoader has loaded: there is none."""
    raise NotImplementedError(model.identity.version)


def _is_about_memory(error: Exception) -> bool:
    """torch says so in words: "DefaultCPUAllocator: can't allocate memory"."""
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


async def _try(model: EngineModel) -> None:
    """A first word, so that whoever asks first does not wait for what is made at the first step."""
    try:
        async with model.write(_GREETING, Decoding(1)) as writing:
            async for _ in writing.pieces():
                pass
    except (Refusal, ValueError):  # its thread is gone; or its template drops a turn
        raise LoadFailed("unsupported") from None
