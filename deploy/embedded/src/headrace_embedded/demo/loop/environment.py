"""What the services are told for the tour: to look for drift over minutes, where a team looks over days."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping

_TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")

ENVIRONMENT: Mapping[str, str] = {
    # A look every ten seconds at the newest sixty questions.
    "HEADRACE_DRIFT_HOP_SECONDS": "10",
    "HEADRACE_DRIFT_WINDOW_SECONDS": "1800",
    "HEADRACE_DRIFT_WINDOW_QUERIES": "60",
    "HEADRACE_DRIFT_MINIMUM_QUERIES": "40",
    # The clocks of one machine agree, and nobody else asks.
    "HEADRACE_DRIFT_LATENESS_SECONDS": "5",
    "HEADRACE_DRIFT_IDLE_SECONDS": "5",
    # A tour looks some sixty times, and not around the clock.
    "HEADRACE_DRIFT_LOOKS_PER_WEEK": "200",
    # The tour sets the baseline itself, so none is taken by itself.
    "HEADRACE_DRIFT_BASELINE_QUERIES": "1000000",
    # Both corpora are about programming: of the questions about Python 18 % are further than this from every
    # passage of the reference, of those about SQL 77 %.
    "HEADRACE_DRIFT_NOTHING_CLOSE": "0.45",
    # For most of the tour two models answer side by side: each on a core of its own, neither waits for the other.
    "HEADRACE_INFERENCE_THREADS": "1",
    # Hardly anybody is answered while a run trains, so it gets both cores: a process on each, since two threads of one
    # would wait for each other at every product.
    "HEADRACE_TRAINER_LAUNCHER": shlex.join([sys.executable, *_TWO, "-m", "headrace_trainer.learning"]),
}
