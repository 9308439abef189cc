"""The gRPC edge of rubrics."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import grpc
from headrace.feedback.v1 import rubrics_pb2, rubrics_pb2_grpc
from headrace_identity import Principal
from headrace_runtime.errors import Rejected

from headrace_feedback.reviewing.handlers import the_rubric
from headrace_feedback.reviewing.ports import Books
from headrace_feedback.reviewing.translate import check_tenant, read_rubric, to_rubric

Context = grpc.aio.ServicerContext[Any, Any]


class RubricServicer(rubrics_pb2_grpc.RubricServiceServicer):
    """Serves headrace.feedback.v1.RubricService."""

    def __init__(self, books: Books, *, caller: Callable[[], Principal], now: Callable[[], datetime]) -> None:
        self._books = books
        self._caller = caller
        self._now = now

    async def PutRubric(self, request: rubrics_pb2.PutRubricRequest, context: Context) -> rubrics_pb2.PutRubricResponse:
        del context
        rubric = read_rubric(request.tenant, request.rubric)
        async with self._books.open(request.tenant) as (_, rubrics):
            stored, is_new = await rubrics.put(request.tenant, rubric, by=self._caller().subject, at=self._now())
        return rubrics_pb2.PutRubricResponse(rubric=to_rubric(stored), created=is_new)

    async def GetRubric(self, request: rubrics_pb2.GetRubricRequest, context: Context) -> rubrics_pb2.GetRubricResponse:
        del context
        _check(request.tenant)
        async with self._books.open(request.tenant) as (_, rubrics):
            found = await the_rubric(request.tenant, request.name, request.version, rubrics)
        return rubrics_pb2.GetRubricResponse(rubric=to_rubric(found))

    async def ListRubrics(
        self, request: rubrics_pb2.ListRubricsRequest, context: Context
    ) -> rubrics_pb2.ListRubricsResponse:
        del context
        _check(request.tenant)
        async with self._books.open(request.tenant) as (_, rubrics):
            found = await rubrics.all(request.tenant, request.name)
        return rubrics_pb2.ListRubricsResponse(rubrics=map(to_rubric, found))


def _check(tenant: str) -> None:
    if violations := list(check_tenant(tenant)):
        raise Rejected(*violations)
