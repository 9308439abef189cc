"""What generation refuses.

GenerationError
├── Overloaded         the queue is full: try again later
├── ContextExceeded    prompt and output together do not fit the context
├── UnsupportedModel   these weights cannot be run here
└── EngineStopped      the engine went down before the completion was finished
"""


class GenerationError(Exception):
    """The root of what generation refuses."""


class Overloaded(GenerationError):
    """The queue is full."""


class ContextExceeded(GenerationError):
    """Prompt and output together do not fit the context."""

    def __init__(self, *, tokens: int, context: int) -> None:
        super().__init__(f"{tokens} tokens asked for, the context holds {context}")


class UnsupportedModel(GenerationError):
    """These weights cannot be run here."""


class EngineStopped(GenerationError):
    """The engine went down before the completion was finished."""
