"""The classifier with one line too many: `python -m tests.security.leaks.leaky_classifier log|span|nothing`."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import structlog
from headrace_classifier.servicer import PrivacyServicer
from opentelemetry import trace

honest = PrivacyServicer.Classify


async def logging_it(self: Any, request: Any, context: Any) -> Any:
    """What somebody may add while they look for a bug."""
    structlog.get_logger().info("classifying", text=request.text)
    return await honest(self, request, context)


async def tracing_it(self: Any, request: Any, context: Any) -> Any:
    """What somebody may add to see more in a trace."""
    trace.get_current_span().set_attribute("headrace.text", request.text)
    return await honest(self, request, context)


if __name__ == "__main__":
    PrivacyServicer.Classify = {"log": logging_it, "span": tracing_it, "nothing": honest}[sys.argv[1]]  # type: ignore[method-assign]
    runpy.run_module("headrace_classifier", run_name="__main__")
