"""The feedback logger and inference over gRPC: snapshots, and how a conversation is laid out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2 import (
    DATASET_STATE_ERASED,
    DATASET_STATE_GRANT_ENDED,
    SPLIT_TEST,
    Dataset,
    DatasetQuery,
    DatasetRow,
)
from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceStub
from headrace.inference.v1 import prompts_pb2, routes_pb2, variants_pb2
from headrace.inference.v1.prompts_pb2_grpc import PromptServiceStub
from headrace.inference.v1.routes_pb2_grpc import RouteServiceStub
from headrace.inference.v1.variants_pb2_grpc import VariantServiceStub
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace_models.prompting import Layout, Prompt
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, Failure, NotFound, Unavailable

from headrace_trainer.running.failures import Stopped, Word
from headrace_trainer.running.ports import Row
from headrace_trainer.running.runs import Run, Snapshot, Target

if TYPE_CHECKING:
    from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceAsyncStub
    from headrace.inference.v1.prompts_pb2_grpc import PromptServiceAsyncStub
    from headrace.inference.v1.routes_pb2_grpc import RouteServiceAsyncStub
    from headrace.inference.v1.variants_pb2_grpc import VariantServiceAsyncStub

#: How long a call may take, in seconds: building goes through the whole log.
CALL_SECONDS = 10.0
BUILD_SECONDS = 3_600.0
#: What answers where no route says otherwise, and every kind's route.
DEFAULT, EVERY_KIND = "default", "*"

_WORDS: dict[int, Word] = {DATASET_STATE_ERASED: "erased", DATASET_STATE_GRANT_ENDED: "grant_ended"}


class RemoteDatasets:
    """See ports.Datasets."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: DatasetServiceAsyncStub = DatasetServiceStub(channel)

    async def build(self, run: Run) -> Snapshot:
        """See ports.Datasets."""
        if run.wanted:
            return await self._wanted(run)
        query = _query(run)
        request = datasets_pb2.BuildDatasetRequest(
            tenant=run.tenant, name=f"trainer-{run.target.label}", query=query, seed=run.seed
        )
        built: Dataset | None = None
        with _stopping(), _failures("the feedback logger"):
            async for response in self._stub.BuildDataset(request, timeout=BUILD_SECONDS):
                built = response.dataset if response.HasField("dataset") else built
        if built is None:
            raise Unavailable("the feedback logger")
        return _snapshot(built)

    async def _wanted(self, run: Run) -> Snapshot:
        with _stopping():
            found = await self._get(run.tenant, run.wanted)
        if found.state in _WORDS:
            raise Stopped(_WORDS[found.state])
        if found.query.purpose != PURPOSE_TRAIN:
            raise Stopped("not_allowed")
        return _snapshot(found)

    async def find(self, tenant: str, dataset: str) -> Snapshot:
        """See ports.Datasets."""
        found = await self._get(tenant, dataset)
        if found.state in _WORDS:
            raise Conflict(f"dataset {found.dataset_id[:12]} may not be used: {found.ended_by}")
        if found.query.purpose != PURPOSE_TRAIN:
            raise Conflict(f"dataset {found.dataset_id[:12]} was not built to train: build one with --purpose train")
        return _snapshot(found)

    async def _get(self, tenant: str, dataset: str) -> Dataset:
        request = datasets_pb2.GetDatasetRequest(tenant=tenant, dataset=dataset)
        with _failures("the feedback logger"):
            return (await self._stub.GetDataset(request, timeout=CALL_SECONDS)).dataset

    async def read(self, run: Run) -> AsyncIterator[Row]:
        """See ports.Datasets."""
        request = datasets_pb2.ReadDatasetRequest(tenant=run.tenant, dataset=run.snapshot.dataset_id)
        try:
            with _failures("the feedback logger"):
                async for response in self._stub.ReadDataset(request, timeout=BUILD_SECONDS):
                    for row in response.rows:
                        # That the sources don't say is inference's to find, not the model's. A kind it has anyway.
                        if run.target is Target.KINDS or not row.unanswerable:
                            yield _row(row)
        except (_Refused, Conflict, NotFound):
            raise await self._why(run) from None

    async def _why(self, run: Run) -> Failure:
        """Why a snapshot that could be read can be read no more: what it says itself, else that a grant has ended."""
        try:
            return Stopped(_WORDS.get((await self._get(run.tenant, run.snapshot.dataset_id)).state, "grant_ended"))
        except NotFound:
            return Stopped("erased")


class RemoteLayouts:
    """See ports.Layouts."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._prompts: PromptServiceAsyncStub = PromptServiceStub(channel)
        self._routes: RouteServiceAsyncStub = RouteServiceStub(channel)
        self._variants: VariantServiceAsyncStub = VariantServiceStub(channel)

    async def layout(self, tenant: str, variant: str) -> Layout:
        """See ports.Layouts."""
        try:
            with _failures("inference"):
                wanted = await self._champion(tenant, variant)
                found = (await self._variants.GetVariant(wanted, timeout=CALL_SECONDS)).variant
                prompt = (await self._prompts.GetPrompt(_prompt_of(tenant, found), timeout=CALL_SECONDS)).prompt
        except (_Refused, NotFound, Conflict):
            raise Stopped("no_champion") from None
        return Layout(
            prompt=Prompt(
                name=prompt.name,
                version=str(prompt.version),
                system=prompt.system,
                examples=tuple((one.asked, one.answered) for one in prompt.examples),
                question=prompt.question,
            ),
            passages=found.reading.passages,
            passage_tokens=found.reading.passage_tokens,
            output_tokens=found.decoding.max_output_tokens,
        )

    async def _champion(self, tenant: str, variant: str) -> variants_pb2.GetVariantRequest:
        """What answers "*": the arm with the most weight, where a route says so."""
        if variant:
            return variants_pb2.GetVariantRequest(tenant=tenant, name=variant)
        response = await self._routes.ListRoutes(routes_pb2.ListRoutesRequest(tenant=tenant), timeout=CALL_SECONDS)
        arms = [arm for route in response.routes if route.kind == EVERY_KIND for arm in route.arms]
        if not arms:
            return variants_pb2.GetVariantRequest(tenant=tenant, name=DEFAULT)
        first = max(arms, key=lambda arm: arm.weight).variant
        return variants_pb2.GetVariantRequest(tenant=tenant, name=first.name, version=first.version)


def _query(run: Run) -> DatasetQuery:
    """What the run learns from. Only generators learn from documents: what the loop's rules say of them is theirs."""
    query = DatasetQuery.FromString(run.query)
    query.purpose = PURPOSE_TRAIN
    if run.target is not Target.GENERATOR:
        query.ClearField("document_sources")
        query.ClearField("documents_only")
    if run.target is Target.KINDS:
        query.kind_stated_only = True  # how the question was answered says nothing of its kind
        for field in ("approved_only", "corrected_only", "scores"):
            query.ClearField(field)
    return query


def _prompt_of(tenant: str, variant: variants_pb2.Variant) -> prompts_pb2.GetPromptRequest:
    return prompts_pb2.GetPromptRequest(
        tenant=tenant, name=variant.prompt, version=variant.prompt_version, label=variant.prompt_label
    )


def _snapshot(dataset: Dataset) -> Snapshot:
    return Snapshot(
        dataset_id=dataset.dataset_id,
        tier=Tier.of(dataset.tier),
        grants=tuple(dataset.grants),
        rows=dataset.rows - dataset.test_rows,
        held_out_rows=dataset.test_rows,
        without_grant=sum(one.rows for one in dataset.exclusions if one.reason == "no_grant"),
    )


def _row(row: DatasetRow) -> Row:
    return Row(
        row_id=row.row_id,
        question=row.question,
        answer=row.answer,
        passages=tuple(row.passages),
        headings=tuple(row.passage_headings),
        text=row.text,
        kind=row.kind,
        held_out=row.split == SPLIT_TEST,
        corrected=row.corrected,
        kind_stated=row.kind_stated,
    )


class _Refused(Failure):
    """The neighbour says that it may not be."""


@contextmanager
def _stopping() -> Iterator[None]:
    """What a run cannot go on after, in its fixed words."""
    try:
        yield
    except _Refused:
        raise Stopped("not_allowed") from None
    except NotFound:
        raise Stopped("no_such_dataset") from None
    except Conflict:
        raise Stopped("empty_dataset") from None


@contextmanager
def _failures(neighbour: str) -> Iterator[None]:
    """No text of an error goes on: it may quote the request."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        match error.code():
            case grpc.StatusCode.PERMISSION_DENIED:
                raise _Refused(f"{neighbour} does not allow it") from None
            case grpc.StatusCode.NOT_FOUND:
                raise NotFound("dataset", "") from None
            case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.INVALID_ARGUMENT:
                raise Conflict(f"{neighbour} does not take it: {error.code().name}") from None
            case _:
                raise Unavailable(neighbour) from None
