"""Writing text with causal language models, many completions at once.

weights = wheel_weights(cache)
generator = load_generator(weights, slots=16, context=2048)
async with open_engine(generator.stepper, generator.text, stop=generator.stop) as engine:
    async for event in engine.generate(Request(prompt=..., max_output_tokens=96)):
        ...
"""

from headrace_models.generation.batch import BatchSettings
from headrace_models.generation.engine import Engine, EngineSettings, Generation, Load, open_engine
from headrace_models.generation.errors import (
    ContextExceeded,
    EngineStopped,
    GenerationError,
    Overloaded,
    UnsupportedModel,
)
from headrace_models.generation.loading import (
    Generator,
    ModelIdentity,
    Weights,
    best_dtype,
    folder_weights,
    gguf_weights,
    load_generator,
    wheel_weights,
)
from headrace_models.generation.request import Event, Finished, Request, Sampling, Usage
from headrace_models.generation.text import ChatText, Encoded
from headrace_models.prompting import Turn

__all__ = [
    "BatchSettings",
    "ChatText",
    "ContextExceeded",
    "Encoded",
    "Engine",
    "EngineSettings",
    "EngineStopped",
    "Event",
    "Finished",
    "Generation",
    "GenerationError",
    "Generator",
    "Load",
    "ModelIdentity",
    "Overloaded",
    "Request",
    "Sampling",
    "Turn",
    "UnsupportedModel",
    "Usage",
    "Weights",
    "best_dtype",
    "folder_weights",
    "gguf_weights",
    "load_generator",
    "open_engine",
    "wheel_weights",
]
