"""Why a worker ends before its work is done.

Stopped
├── Failed      it can't go on, for a reason in a fixed word
└── Cancelled   it was told to stop, and wrote a checkpoint
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from safetensors import SafetensorError

Reason = Literal[
    "bad_rows",  # the job's lines are not as job.py says, or no row fits the model's window
    "empty_dataset",  # nothing is left to learn from
    "no_such_base",  # the base is not on this machine
    "corrupt_base",  # the base's files cannot be read
    "unsupported",  # this model cannot be trained in this way
    "nan_loss",  # the loss is no number any more
    "disk_full",  # no room for checkpoints or weights
    "out_of_memory",  # not enough memory
    "time_limit",  # the recipe's most_seconds are over
    "corrupt_weights",  # what was written is not what is read back
]


class Stopped(Exception):
    """The worker ends early."""


class Failed(Stopped):
    """It can't go on. Its text is the reason's word, never the user's."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Cancelled(Stopped):
    """It was told to stop after `step` steps, which a checkpoint holds."""

    def __init__(self, step: int) -> None:
        super().__init__(f"cancelled at step {step}")
        self.step = step


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# safetensors' writer, in Rust, says it so; torch's allocator has an error of no class of its own.
_SAYS_FULL = re.compile(r"no space left|os error 28|disk quota|file too large", re.IGNORECASE)
_SAYS_MEMORY = re.compile(r"can't allocate memory|out of memory|not enough memory", re.IGNORECASE)


@contextmanager
def named() -> Iterator[None]:
    """What the machine refuses, by its reason's word. Other errors pass as they are."""
    try:
        yield
    except MemoryError as error:
        raise Failed("out_of_memory") from error
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise Failed(reason) from error


def _reason(error: OSError | RuntimeError | SafetensorError) -> Reason | None:
    said = str(error)
    if (isinstance(error, OSError) and error.errno in _FULL) or _SAYS_FULL.search(said):
        return "disk_full"
    return "out_of_memory" if _SAYS_MEMORY.search(said) else None
