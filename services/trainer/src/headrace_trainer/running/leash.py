"""Runs a command that dies with the process that started it, however that ends: `python -m …leash COMMAND …`.

By the kernel's word (prctl, PR_SET_PDEATHSIG), which lasts over exec. Elsewhere than on Linux the closed stdin has to
do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> None:
    """Becomes the command. The first word is the id of the process that started it."""
    parent, *command = command
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            sys.exit(1)  # it died before the word was given
    os.execvp(command[0], command)  # noqa: S606 - this is what it is for


if __name__ == "__main__":
    main(sys.argv[1:])
