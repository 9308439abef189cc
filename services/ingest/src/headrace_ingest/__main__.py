"""Runs ingest."""

from headrace_runtime.service import run

from headrace_ingest.app import open_app
from headrace_ingest.settings import Settings

if __name__ == "__main__":
    run("ingest", Settings, open_app)
