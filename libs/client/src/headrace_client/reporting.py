"""The part of the client that compares variants, and says what prompts came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.feedback.v1 import reports_pb2
from headrace.feedback.v1.reports_pb2_grpc import ReportServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from datetime import datetime

    from headrace.feedback.v1.reports_pb2_grpc import ReportServiceAsyncStub

#: Seconds that a call may take: a report of a hundred thousand answers takes some.
_CALL_TIMEOUT = 120.0


class Reporting:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def compare(
        self, request: reports_pb2.CompareRequest, *, timeout: float = _CALL_TIMEOUT
    ) -> reports_pb2.CompareResponse:
        """Compares two variants: over live traffic, or pair by pair over a run."""
        callee, stub = self._reports()
        return await callee.unary(stub.Compare, request, name="Compare", timeout=timeout)

    async def prompt_figures(
        self, *, tenant: str, name: str = "", since: datetime | None = None, timeout: float = _CALL_TIMEOUT
    ) -> Sequence[reports_pb2.PromptFigures]:
        """What each version of a prompt, or of all, came to in live traffic."""
        callee, stub = self._reports()
        request = reports_pb2.SummarisePromptsRequest(tenant=tenant, name=name)
        if since is not None:
            request.since.FromDatetime(since)
        response = await callee.unary(stub.SummarisePrompts, request, name="SummarisePrompts", timeout=timeout)
        return response.prompts

    def _reports(self) -> tuple[Callee, ReportServiceAsyncStub]:
        callee = self._channels.callee("feedback", "headrace.feedback.v1.ReportService")
        return callee, ReportServiceStub(callee.channel)
