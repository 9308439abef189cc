"""From a failure to a gRPC status, in one place."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from headrace_runtime.errors import (
    Aborted,
    Conflict,
    Denied,
    Failure,
    NotFound,
    Overloaded,
    Rejected,
    TooLate,
    Unauthenticated,
    Unavailable,
)


def status_of(failure: Failure) -> grpc.Status:
    """Returns the rich status of a failure: code, text and, for Rejected, each field with its reason."""
    return _to_status(status_pb2.Status(code=_code(failure), message=str(failure), details=_details(failure)))


def internal_status(trace_id: str) -> grpc.Status:
    """Returns the status of a bug: nothing of the error itself, only where to look."""
    message = f"internal error; trace {trace_id}" if trace_id else "internal error"
    return _to_status(status_pb2.Status(code=code_pb2.INTERNAL, message=message))


def _to_status(status: status_pb2.Status) -> grpc.Status:
    rich: grpc.Status = rpc_status.to_status(status)
    return rich


_CODES: dict[type[Failure], int] = {
    Unauthenticated: code_pb2.UNAUTHENTICATED,
    Denied: code_pb2.PERMISSION_DENIED,
    Rejected: code_pb2.INVALID_ARGUMENT,
    NotFound: code_pb2.NOT_FOUND,
    Conflict: code_pb2.FAILED_PRECONDITION,
    Aborted: code_pb2.ABORTED,
    Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    TooLate: code_pb2.DEADLINE_EXCEEDED,
    Unavailable: code_pb2.UNAVAILABLE,
}


def _code(failure: Failure) -> int:
    return next((code for kind, code in _CODES.items() if isinstance(failure, kind)), code_pb2.INTERNAL)


def _details(failure: Failure) -> list[Any]:
    if not isinstance(failure, Rejected):
        return []
    bad_request = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=violation.field, reason=violation.reason.upper(), description=violation.description
            )
            for violation in failure.violations
        ]
    )
    detail = Any()
    detail.Pack(bad_request)
    return [detail]
