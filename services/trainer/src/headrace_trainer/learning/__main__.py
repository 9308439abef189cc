"""Runs the worker."""

import os

# Threads that wait by spinning take the cores from whoever they wait for: measured on two cores that others use too,
# 45 tokens/s against 470. OpenMP reads this when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __name__ == "__main__":
    from headrace_trainer.learning.worker import main

    main()
