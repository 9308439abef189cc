"""Stands in for the worker: reads its job and rows, learns nothing for some seconds, and goes on from a checkpoint.

Its seconds a step come in TMPDIR's neighbour, a file named `pace` beside the run's folder, so that a test can set them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

STEPS = 10


def main() -> None:
    """Trains."""
    job = json.loads(sys.stdin.readline())
    rows = [json.loads(sys.stdin.readline()) for _ in range(job["rows"])]
    checkpoints, output = Path(job["checkpoints"]), Path(job["output"])
    checkpoints.mkdir(parents=True, exist_ok=True)
    pace = float((output.parent.parent / "pace").read_text())
    (output.parent.parent / "pids").open("a").write(f"{os.getpid()}\n")
    done = max((int(path.name) for path in checkpoints.iterdir()), default=0)
    base = {"name": "tiny", "version": "ff"}
    say("started", step=done, of=STEPS, rows=len(rows), held_out_rows=0, left_out=0, base=base)
    for step in range(done + 1, STEPS + 1):
        time.sleep(pace)
        (checkpoints / str(step)).touch()
        say("progress", step=step, of=STEPS, loss=1 / step, held_out_loss=None, tokens=10 * step, tokens_a_second=9.0)
    output.mkdir(exist_ok=True)
    weights = f"weights {job['seed']}".encode()
    (output / "model.safetensors").write_bytes(weights)
    digest = hashlib.sha256(weights).hexdigest()
    files = {"model.safetensors": digest}
    say("done", name=job["name"], version=digest[:16], files=files, bytes=len(weights), held_out_loss=1.0)


def say(event: str, **words: object) -> None:
    """Says a line."""
    sys.stdout.write(json.dumps({"event": event, **words}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
