"""What the machine says of this process."""

from __future__ import annotations

import resource
import sys

import torch


def peak_memory() -> int:
    """The most memory that this process has held, in bytes: the accelerator's where there is one."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
