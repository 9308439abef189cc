"""A worker as it is started, to be listened to and ended from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any


class Process:
    """A worker in a process of its own, or in several that a launcher, a module with its options, starts."""

    def __init__(self, lines: str, *, launcher: Sequence[str] = (), before: Callable[[], None] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *(("-m", *launcher) if launcher else ()), "-m", "headrace_trainer.learning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,  # noqa: PLW1509 - it sets a limit, and no thread is running
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(lines)
        self.process.stdin.flush()
        self.printed: list[str] = []

    @property
    def told(self) -> list[dict[str, Any]]:
        """What was said so far."""
        return [json.loads(line) for line in self.printed]

    def until(self, event: str, *, step: int = 0) -> dict[str, Any]:
        """Reads on until this is said, of this step or a later one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.append(line)
            told: dict[str, Any] = json.loads(line)
            if told["event"] == event and told.get("step", 0) >= step:
                return told
        raise AssertionError(f"it ended without {event}: {self.printed[-1:]}")

    def ended(self) -> tuple[int, str]:
        """Its exit code, and all that it printed. Closes what is open of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = self.process.stdout.read(), self.process.stderr.read()
        self.printed += out.splitlines(keepends=True)
        code = self.process.wait(120)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        return code, "".join(self.printed) + err
