"""`python -m headrace_embedded.traces`."""

from headrace_runtime.service import run

from headrace_embedded.traces.app import Settings, open_app

run("traces", Settings, open_app)
