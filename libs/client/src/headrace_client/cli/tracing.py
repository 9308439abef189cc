"""The command's own span, so that a query's trace begins where its user began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headrace_client.endpoints import Endpoints


@contextmanager
def traced(endpoints: Endpoints) -> Iterator[None]:
    """Sends the spans made inside to where Headrace keeps its traces; makes none where there is no such place."""
    address = endpoints.services.get("traces", "")
    if not address:
        yield
        return
    # Imported late: the exporter takes a third of a second, which only verbs that trace should pay.
    from headrace_telemetry.setup import start_telemetry, stop_telemetry  # noqa: PLC0415

    start_telemetry("headrace-cli", instance="1", collectors=[f"http://{address}"])
    try:
        yield
    finally:
        stop_telemetry()
