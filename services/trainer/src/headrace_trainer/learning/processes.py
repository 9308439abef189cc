"""One process or several: what accelerate is told, and what a worker owes to the launcher that started it.

A launcher (torchrun, or accelerate's own) tells each process of several its place by its environment. On CPUs they talk
by gloo, on accelerators by what those bring.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping

import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin

from headrace_trainer.learning.failures import Failed

_PR_SET_PDEATHSIG = 1


def join(environ: Mapping[str, str]) -> Accelerator:
    """What this process computes with, beside the others that its launcher started.

    accelerate thinks itself alone among several processes without an accelerator, unless it is told that CPUs are
    meant; each would then read a part of the one job.

    Raises Failed("unsupported") where the launcher's wish to cut the model into pieces cannot be granted; accelerate
    would give every process a whole one, and say nothing.
    """
    accelerator = Accelerator(mixed_precision="no", cpu=not torch.accelerator.is_available())
    if environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and not is_sharded(accelerator):
        _cut_on_cpus(accelerator)
    return accelerator


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether each process holds a piece of the model."""
    return bool(accelerator.distributed_type is DistributedType.FSDP)


def _cut_on_cpus(accelerator: Accelerator) -> None:
    """torch's second FSDP works on CPUs too, by gloo; accelerate has it on accelerators alone, so it is told here."""
    if accelerator.distributed_type is not DistributedType.MULTI_CPU:
        raise Failed("unsupported")
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise Failed("unsupported")
    # The second is what the first is made of anew, whenever somebody asks for it.
    for state in (accelerator.state, PartialState()):
        state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin


def die_with_launcher(environ: Mapping[str, str]) -> None:
    """Has the kernel kill this process as soon as its launcher is dead.

    Launchers start their processes in sessions of their own, so what kills the launcher's session spares them.
    Elsewhere than on Linux standard input's end has to do.
    """
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit(1)  # it died before the word was given
