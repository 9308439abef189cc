"""How reports are put together."""

from __future__ import annotations

from headrace.feedback.v1.reports_pb2_grpc import add_ReportServiceServicer_to_server
from headrace_database import Database
from headrace_identity import current_principal
from headrace_privacy.policy import Policy
from headrace_runtime.grpc_server import Servicer

from headrace_feedback.ports import Authorizer
from headrace_feedback.reporting.handlers import Desk
from headrace_feedback.reporting.leave import Gate
from headrace_feedback.reporting.postgres import PostgresBooks
from headrace_feedback.reporting.servicer import ReportServicer


def serve_reports(database: Database, authorizer: Authorizer, policy: Policy) -> Servicer:
    """What serves ReportService."""
    desk = Desk(PostgresBooks(database), Gate(authorizer, policy))
    servicer = ReportServicer(desk, caller=current_principal)
    return Servicer(add_ReportServiceServicer_to_server, servicer, "headrace.feedback.v1.ReportService")
