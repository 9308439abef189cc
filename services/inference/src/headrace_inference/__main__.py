import os

# torch's threads spin this long for the next step of work before they sleep: some milliseconds, which is longer than
# the gaps within a model's step and far shorter than those between queries. OpenMP reads it once, when torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "3000000")

from headrace_runtime.service import run

from headrace_inference.app import open_app
from headrace_inference.settings import Settings

if __name__ == "__main__":
    run("inference", Settings, open_app)
