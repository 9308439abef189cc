"""The gRPC edge of reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from headrace.feedback.v1 import reports_pb2, reports_pb2_grpc
from headrace_identity import Principal

from headrace_feedback.reporting.handlers import Desk, compare, summarise_prompts
from headrace_feedback.reporting.translate import read_prompt_request, read_request, to_figures, to_response

Context = grpc.aio.ServicerContext[Any, Any]


class ReportServicer(reports_pb2_grpc.ReportServiceServicer):
    """Serves headrace.feedback.v1.ReportService. `caller` says who calls."""

    def __init__(self, desk: Desk, *, caller: Callable[[], Principal]) -> None:
        self._desk = desk
        self._caller = caller

    async def Compare(self, request: reports_pb2.CompareRequest, context: Context) -> reports_pb2.CompareResponse:
        del context
        return to_response(await compare(read_request(request), self._desk, by=self._caller()))

    async def SummarisePrompts(
        self, request: reports_pb2.SummarisePromptsRequest, context: Context
    ) -> reports_pb2.SummarisePromptsResponse:
        del context
        found = await summarise_prompts(read_prompt_request(request), self._desk, by=self._caller())
        return reports_pb2.SummarisePromptsResponse(prompts=map(to_figures, found))
