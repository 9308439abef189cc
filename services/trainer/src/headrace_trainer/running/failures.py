"""The fixed words in which a run says why it did not go on."""

from __future__ import annotations

from typing import Literal, get_args

from headrace_runtime.errors import Failure

Word = Literal[
    "empty_dataset",  # nothing is left to learn from, or to hold out
    "not_allowed",  # the policy, or the lack of a grant, leaves nothing
    "no_such_dataset",  # the snapshot that was asked for is not there
    "grant_ended",  # a grant that the snapshot stands on ended while the run was under way
    "erased",  # something in the snapshot was erased while the run was under way
    "no_champion",  # the variant that the rules name, or its prompt, is not there
    "no_such_base",  # the base is not on this machine
    "corrupt_base",  # the base's files cannot be read
    "bad_rows",  # no row can be learned from: too long, or empty
    "nan_loss",  # the loss is no number any more
    "disk_full",  # no room for checkpoints or weights
    "corrupt_checkpoint",  # a checkpoint cannot be read
    "corrupt_weights",  # what was written is not what is read back
    "out_of_memory",  # the worker had not enough memory
    "time_limit",  # the recipe's most_seconds are over
    "unsupported",  # the worker cannot train this target in this way
    "worker_failed",  # the worker ended again and again
    "gate_failed",  # the gate could not be asked
    "paused",  # somebody paused the loop at once
    "person",  # somebody stopped it
]

WORDS: tuple[str, ...] = get_args(Word)


class Stopped(Failure):
    """A run cannot go on. The text is one of the fixed words."""

    def __init__(self, word: Word) -> None:
        super().__init__(word)
        self.word: Word = word


class Died(Failure):
    """The worker ended without a word. status: its exit status, negative for a signal."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the worker ended with {status}")
        self.status = status
