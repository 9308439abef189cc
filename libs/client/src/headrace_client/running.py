"""The part of the client that asks again: replays, evaluations, and answers that are stale."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from headrace.feedback.v1 import reports_pb2, runs_pb2
from headrace.feedback.v1.reports_pb2_grpc import ReportServiceStub
from headrace.feedback.v1.runs_pb2_grpc import RunServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.feedback.v1.reports_pb2_grpc import ReportServiceAsyncStub
    from headrace.feedback.v1.runs_pb2_grpc import RunServiceAsyncStub

#: Seconds that a call may take; that planning a run of 100,000 cases may; and that a run may be followed.
_CALL_TIMEOUT = 30.0
_PLAN_TIMEOUT = 300.0
_FOLLOW_TIMEOUT = 24 * 3600.0


class Running:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def start_run(self, request: runs_pb2.StartRunRequest, *, timeout: float = _PLAN_TIMEOUT) -> runs_pb2.Run:
        """Starts a replay or an evaluation; it goes on by itself."""
        callee, stub = self._runs()
        return (await callee.unary(stub.StartRun, request, name="StartRun", timeout=timeout)).run

    async def follow_run(
        self, run_id: str, *, tenant: str, timeout: float = _FOLLOW_TIMEOUT
    ) -> AsyncGenerator[runs_pb2.Run, None]:
        """Yields a run whenever it has changed, and lastly as it ended."""
        callee, stub = self._runs()
        request = runs_pb2.WatchRunRequest(tenant=tenant, run_id=run_id)
        async with aclosing(callee.follow(stub.WatchRun, request, name="WatchRun", timeout=timeout)) as responses:
            async for response in responses:
                yield response.run

    async def get_run(self, run_id: str, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> runs_pb2.Run:
        """One run."""
        callee, stub = self._runs()
        request = runs_pb2.GetRunRequest(tenant=tenant, run_id=run_id)
        return (await callee.unary(stub.GetRun, request, name="GetRun", timeout=timeout)).run

    async def runs(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> list[runs_pb2.Run]:
        """A tenant's runs, newest first."""
        callee, stub = self._runs()
        request = runs_pb2.ListRunsRequest(tenant=tenant)
        return list((await callee.unary(stub.ListRuns, request, name="ListRuns", timeout=timeout)).runs)

    async def cancel_run(self, run_id: str, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> runs_pb2.Run:
        """Stops a run."""
        callee, stub = self._runs()
        request = runs_pb2.CancelRunRequest(tenant=tenant, run_id=run_id)
        return (await callee.unary(stub.CancelRun, request, name="CancelRun", timeout=timeout)).run

    async def stale_answers(
        self, *, tenant: str, source: str = "", document_id: str = "", limit: int = 0, timeout: float = _CALL_TIMEOUT
    ) -> runs_pb2.ListStaleAnswersResponse:
        """Answers that were made of what has been deleted or changed since."""
        callee, stub = self._runs()
        request = runs_pb2.ListStaleAnswersRequest(tenant=tenant, source=source, document_id=document_id, limit=limit)
        return await callee.unary(stub.ListStaleAnswers, request, name="ListStaleAnswers", timeout=timeout)

    async def compare_run(
        self, run: runs_pb2.Run, a: reports_pb2.Side, b: reports_pb2.Side, *, timeout: float = _PLAN_TIMEOUT
    ) -> Sequence[reports_pb2.ReportLine]:
        """Compares two arms of a run, pair by pair, over all kinds together. An empty side: the answers of then."""
        callee = self._channels.callee("feedback", "headrace.feedback.v1.ReportService")
        stub: ReportServiceAsyncStub = ReportServiceStub(callee.channel)
        request = reports_pb2.CompareRequest(tenant=run.tenant, a=a, b=b, run_id=run.run_id, seed=run.seed)
        response = await callee.unary(stub.Compare, request, name="Compare", timeout=timeout)
        return [line for line in response.lines if not line.kind]

    def _runs(self) -> tuple[Callee, RunServiceAsyncStub]:
        callee = self._channels.callee("feedback", "headrace.feedback.v1.RunService")
        return callee, RunServiceStub(callee.channel)
