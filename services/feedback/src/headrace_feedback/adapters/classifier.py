"""The classifier over gRPC: it masks words and knows their tier, and it says who may read what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import grpc
from headrace.privacy.v1 import approvals_pb2, privacy_pb2, service_pb2
from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceStub
from headrace.privacy.v1.service_pb2_grpc import PrivacyServiceStub
from headrace_privacy import Text, Tier
from headrace_runtime.errors import Conflict, Unavailable
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.settings import ServiceSettings, variable

from headrace_feedback.uses import Use, Verdict

if TYPE_CHECKING:
    from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceAsyncStub
    from headrace.privacy.v1.service_pb2_grpc import PrivacyServiceAsyncStub

#: How long a call may take, in seconds. A correction of 8,000 characters takes some tens of milliseconds.
CALL_SECONDS = 5.0


class RemoteClassifier:
    """See ports.Classifier and ports.Authorizer. Raises Unavailable("the classifier") whatever keeps it from answering:
    what nobody has classified is not stored, and what nobody has allowed is not read."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._privacy: PrivacyServiceAsyncStub = PrivacyServiceStub(channel)
        self._approvals: ApprovalServiceAsyncStub = ApprovalServiceStub(channel)

    async def classify(self, text: Text, *, tenant: str, product: str, declared: Tier | None = None) -> Text:
        """The text masked, with its tier."""
        request = service_pb2.ClassifyRequest(
            tenant=tenant,
            text=text.reveal(),
            product=product,
            declared_tier=privacy_pb2.Tier.ValueType(int(declared or 0)),
        )
        with _failures():
            response = await self._privacy.Classify(request, timeout=CALL_SECONDS)
        return Text(response.masked_text, Tier.of(response.tier))

    async def authorize(self, use: Use) -> Verdict:
        """Decides, and puts the decision on the audit log."""
        request = approvals_pb2.AuthorizeRequest(
            role=use.role,
            subject=use.subject,
            tenant=use.tenant,
            purpose=privacy_pb2.Purpose.ValueType(int(use.purpose)),
            tier=privacy_pb2.Tier.ValueType(int(use.tier)),
            sources=use.sources,
            records=use.records,
        )
        with _failures():
            response = await self._approvals.Authorize(request, timeout=CALL_SECONDS)
        return Verdict(response.allowed, response.reason, response.grant_id)


@asynccontextmanager
async def open_classifier(settings: ServiceSettings) -> AsyncIterator[RemoteClassifier]:
    """Opens the classifier that the settings name. Raises Conflict when they name none, or no key to call it with."""
    if not settings.classifier:
        raise Conflict(
            f"{variable(settings, 'classifier')} is not set: name the classifier, which says what is allowed"
        )
    async with open_neighbour(settings.classifier, settings) as channel:
        yield RemoteClassifier(channel)


@contextmanager
def _failures() -> Iterator[None]:
    """No text of an error goes on: it may quote the request."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:  # a bug of ours: waiting would not heal it
            raise ValueError("the classifier does not take what was asked of it") from None
        raise Unavailable("the classifier") from None
