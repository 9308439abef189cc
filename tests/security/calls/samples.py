"""Samples of what asks, answers and governs. See sampling.py, which tells how to add one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1 import service_pb2 as documents
from headrace.document.v1.document_pb2 import Content
from headrace.embedding.v1 import service_pb2 as embedding
from headrace.feedback.v1 import service_pb2 as feedback
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.inference.v1 import prompts_pb2 as prompts
from headrace.inference.v1 import routes_pb2 as routes
from headrace.inference.v1 import service_pb2 as inference
from headrace.inference.v1 import variants_pb2 as variants
from headrace.privacy.v1 import approvals_pb2, audit_pb2, erasure_pb2, keys_pb2, policy_pb2
from headrace.privacy.v1 import service_pb2 as privacy
from headrace.privacy.v1.privacy_pb2 import (
    PURPOSE_ANSWER,
    PURPOSE_EVALUATE,
    PURPOSE_REVIEW,
    TIER_1,
    TIER_2,
    TIER_PUBLIC,
)
from headrace.query.v1 import service_pb2 as queries
from headrace.query.v1.answer_pb2 import Decoding
from headrace.retrieval.v1 import service_pb2 as retrieval
from headrace.retrieval.v1.retrieval_pb2 import TrainedEmbedder
from headrace.trace.v1 import service_pb2 as traces
from headrace_privacy import Tier

from tests.security.calls.sampling import HOWEVER, sample
from tests.security.calls.world import SOURCE, Side

# Queries


@sample("headrace.query.v1.QueryService/Ask", ids=("question.query_id",), chosen=("question.conversation_id",))
async def ask(side: Side) -> Message:
    return queries.AskRequest(question=side.question())


@sample("headrace.query.v1.QueryService/Submit", ids=("question.query_id",), chosen=("question.conversation_id",))
async def submit(side: Side) -> Message:
    return queries.SubmitRequest(question=side.question())


@sample("headrace.query.v1.QueryService/Watch", ids=("query_id",))
async def watch(side: Side) -> Message:
    return queries.WatchRequest(tenant=side.tenant, query_id=side.queries[Tier.PUBLIC])


@sample("headrace.query.v1.QueryService/Get", ids=("query_id",))
async def get_query(side: Side) -> Message:
    return queries.GetRequest(tenant=side.tenant, query_id=side.queries[Tier.PUBLIC])


@sample("headrace.query.v1.QueryService/Tally")
async def tally_queries(side: Side) -> Message:
    return queries.TallyRequest(tenant=side.tenant)


# Documents


@sample("headrace.document.v1.DocumentService/Put", ids=("document_id",))
async def put(side: Side) -> Message:
    content = Content(media_type="text/plain", data=b"A sluice lets it go.")
    return documents.PutRequest(
        tenant=side.tenant, source="put", document_id=f"of-{side.tenant}", content=content,
        declared_tier=TIER_PUBLIC, wait=documents.WAIT_SUBMITTED,
    )  # fmt: skip


@sample("headrace.document.v1.DocumentService/Delete", ids=("document_id",))
async def delete(side: Side) -> Message:
    document_id = await side.new_document()
    return documents.DeleteRequest(tenant=side.tenant, source=SOURCE, document_id=document_id)


@sample("headrace.document.v1.DocumentService/ListSources")
async def list_sources(side: Side) -> Message:
    return documents.ListSourcesRequest(tenant=side.tenant)


@sample("headrace.document.v1.DocumentService/GetSource", ids=("source",))
async def get_source(side: Side) -> Message:
    return documents.GetSourceRequest(tenant=side.tenant, source=side.own_source)


# Privacy


@sample("headrace.privacy.v1.PrivacyService/Classify")
async def classify(side: Side) -> Message:
    return privacy.ClassifyRequest(tenant=side.tenant, text="How long is a weir?", source=side.own_source)


@sample("headrace.privacy.v1.KeyService/Issue")
async def issue(side: Side) -> Message:
    owner = keys_pb2.KeyOwner(tenant=side.tenant, kind=keys_pb2.KEY_OWNER_KIND_SUBJECT, name=side.subject)
    return keys_pb2.IssueRequest(owner=owner)


@sample("headrace.privacy.v1.KeyService/Open", chosen=("key_ids",))
async def open_keys(side: Side) -> Message:
    """For services alone, which seal and open for every tenant: a key's id is nobody's secret to them."""
    return keys_pb2.OpenRequest(key_ids=[side.key_id])


@sample("headrace.privacy.v1.KeyService/Rotate")
async def rotate(side: Side) -> Message:
    return keys_pb2.RotateRequest()


@sample("headrace.privacy.v1.ApprovalService/RequestGrant")
async def request_grant(side: Side) -> Message:
    expires_at = Timestamp()
    expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    return approvals_pb2.RequestGrantRequest(
        tenant=side.tenant, purpose=PURPOSE_REVIEW, tier=TIER_2, sources=["nothing"], reason="matrix",
        expires_at=expires_at,
    )  # fmt: skip


@sample("headrace.privacy.v1.ApprovalService/DecideGrant", ids=("grant_id",))
async def decide_grant(side: Side) -> Message:
    return approvals_pb2.DecideGrantRequest(grant_id=await side.new_grant())


@sample("headrace.privacy.v1.ApprovalService/RevokeGrant", ids=("grant_id",))
async def revoke_grant(side: Side) -> Message:
    return approvals_pb2.RevokeGrantRequest(grant_id=await side.new_live_grant())


@sample("headrace.privacy.v1.ApprovalService/GetGrant", ids=("grant_id",))
async def get_grant(side: Side) -> Message:
    return approvals_pb2.GetGrantRequest(grant_id=await side.new_grant())


@sample("headrace.privacy.v1.ApprovalService/ListGrants")
async def list_grants(side: Side) -> Message:
    return approvals_pb2.ListGrantsRequest(tenant=side.tenant)


@sample("headrace.privacy.v1.ApprovalService/Authorize")
async def authorize(side: Side) -> Message:
    return approvals_pb2.AuthorizeRequest(
        role="developer", subject="dana", tenant=side.tenant, purpose=PURPOSE_ANSWER, tier=TIER_PUBLIC
    )


@sample("headrace.privacy.v1.PolicyService/Explain")
async def explain(side: Side) -> Message:
    return policy_pb2.ExplainRequest()


@sample("headrace.privacy.v1.PolicyService/DecideTier")
async def decide_tier(side: Side) -> Message:
    return policy_pb2.DecideTierRequest(
        tenant=side.tenant, kind=policy_pb2.TIER_DECISION_KIND_SOURCE, name="decided", tier=TIER_1, reason="matrix"
    )


@sample("headrace.privacy.v1.PolicyService/ListTierDecisions")
async def list_tier_decisions(side: Side) -> Message:
    return policy_pb2.ListTierDecisionsRequest(tenant=side.tenant)


@sample("headrace.privacy.v1.PolicyService/PutDictionary")
async def put_dictionary(side: Side) -> Message:
    return policy_pb2.PutDictionaryRequest(tenant=side.tenant, identifiers=["penstock-7"])


@sample("headrace.privacy.v1.PolicyService/GetDictionary")
async def get_dictionary(side: Side) -> Message:
    return policy_pb2.GetDictionaryRequest(tenant=side.tenant)


@sample("headrace.privacy.v1.AuditService/ListEntries")
async def list_entries(side: Side) -> Message:
    return audit_pb2.ListEntriesRequest(tenant=side.tenant, last=3)


@sample("headrace.privacy.v1.AuditService/VerifyEntries")
async def verify_entries(side: Side) -> Message:
    return audit_pb2.VerifyEntriesRequest()


@sample("headrace.privacy.v1.AuditService/ReportDenials", chosen=("report_id", "denials.trace_id"))
async def report_denials(side: Side) -> Message:
    return audit_pb2.ReportDenialsRequest(report_id=str(uuid4()))


@sample(
    "headrace.privacy.v1.ErasureService/Erase",
    ids=("scope.document.document_id",),
    code=grpc.StatusCode.NOT_FOUND,
)
async def erase(side: Side) -> Message:
    """Of what is erased already: to the caller the same as of what never was, and nothing more is lost."""
    document = erasure_pb2.ErasedDocument(source=f"gone-{side.tenant}", document_id=f"of-{side.tenant}")
    return erasure_pb2.EraseRequest(scope=erasure_pb2.ErasureScope(tenant=side.tenant, document=document), reason="m")


@sample("headrace.privacy.v1.ErasureService/GetErasure", ids=("erasure_id",))
async def get_erasure(side: Side) -> Message:
    return erasure_pb2.GetErasureRequest(erasure_id=side.erasure_id)


@sample("headrace.privacy.v1.ErasureService/ListErasures")
async def list_erasures(side: Side) -> Message:
    return erasure_pb2.ListErasuresRequest(tenant=side.tenant)


# Embedding, retrieval, inference


@sample("headrace.embedding.v1.EmbeddingService/Embed")
async def embed(side: Side) -> Message:
    return embedding.EmbedRequest(texts=["a weir"])


@sample("headrace.retrieval.v1.RetrievalService/Search", ids=("sources",))
async def search(side: Side) -> Message:
    return retrieval.SearchRequest(tenant=side.tenant, text="weir", top_k=3, sources=[side.own_source])


@sample("headrace.retrieval.v1.RetrievalService/GetChunks", ids=("chunk_ids",))
async def get_chunks(side: Side) -> Message:
    return retrieval.GetChunksRequest(tenant=side.tenant, chunk_ids=[side.chunk_id], max_tier=TIER_PUBLIC)


@sample("headrace.retrieval.v1.RetrievalService/ListChunks", ids=("source",))
async def list_chunks(side: Side) -> Message:
    return retrieval.ListChunksRequest(tenant=side.tenant, source=side.own_source, page_size=10, max_tier=TIER_PUBLIC)


NOBODYS_EMBEDDER = "nobodys-embedder@0123456789abcdef"


def _trained(side: Side) -> TrainedEmbedder:
    """One whose weights are nowhere."""
    files = {"model.safetensors": "0" * 64, "tokenizer.json": "0" * 64}
    return TrainedEmbedder(tenant=side.tenant, model=NOBODYS_EMBEDDER, address="file:///nowhere", files=files)


@sample("headrace.embedding.v1.EmbeddingService/EmbedAs", code=grpc.StatusCode.FAILED_PRECONDITION)
async def embed_as(side: Side) -> Message:
    return embedding.EmbedAsRequest(embedder=_trained(side), passages=[embedding.Passage(text="a weir")])


@sample("headrace.retrieval.v1.RetrievalService/PrepareIndex")
async def prepare_index(side: Side) -> Message:
    return retrieval.PrepareIndexRequest(tenant=side.tenant, embedder=_trained(side))


@sample("headrace.retrieval.v1.RetrievalService/GetIndex")
async def get_index(side: Side) -> Message:
    return retrieval.GetIndexRequest(tenant=side.tenant)


@sample("headrace.retrieval.v1.RetrievalService/SwitchIndex", code=grpc.StatusCode.NOT_FOUND)
async def switch_index(side: Side) -> Message:
    return retrieval.SwitchIndexRequest(tenant=side.tenant, model="nobodys-other-embedder@0123456789abcdef")


@sample("headrace.inference.v1.InferenceService/Generate")
async def generate(side: Side) -> Message:
    turns = [inference.Turn(role=inference.ROLE_USER, text="A weir?")]
    return inference.GenerateRequest(turns=turns, decoding=Decoding(max_output_tokens=1), tenant=side.tenant)


# Prompts, variants, routes


async def _prompt(side: Side) -> prompts.Prompt:
    """The same words each time, so that there is one version."""
    question = "{passages}\n\n{question}"
    return prompts.Prompt(name=f"of-{side.tenant}", system="Answer from the passages.", question=question)


async def _variant(side: Side) -> variants.Variant:
    return variants.Variant(name=f"of-{side.tenant}", prompt="grounded-answer", prompt_version=1)


@sample("headrace.inference.v1.PromptService/PutPrompt")
async def put_prompt(side: Side) -> Message:
    return prompts.PutPromptRequest(tenant=side.tenant, prompt=await _prompt(side))


@sample("headrace.inference.v1.PromptService/GetPrompt", ids=("name",))
async def get_prompt(side: Side) -> Message:
    await side.once("prompt", "developer", "headrace.inference.v1.PromptService/PutPrompt", await put_prompt(side))
    return prompts.GetPromptRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample("headrace.inference.v1.PromptService/ListPrompts", ids=("name",))
async def list_prompts(side: Side) -> Message:
    await side.once("prompt", "developer", "headrace.inference.v1.PromptService/PutPrompt", await put_prompt(side))
    return prompts.ListPromptsRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample("headrace.inference.v1.PromptService/LabelPrompt", ids=("name",))
async def label_prompt(side: Side) -> Message:
    await side.once("prompt", "developer", "headrace.inference.v1.PromptService/PutPrompt", await put_prompt(side))
    return prompts.LabelPromptRequest(
        tenant=side.tenant, name=f"of-{side.tenant}", label="candidate", version=1, reason="matrix"
    )


@sample("headrace.inference.v1.VariantService/PutVariant")
async def put_variant(side: Side) -> Message:
    return variants.PutVariantRequest(tenant=side.tenant, variant=await _variant(side))


@sample("headrace.inference.v1.VariantService/GetVariant", ids=("name",))
async def get_variant(side: Side) -> Message:
    await side.once("variant", "developer", "headrace.inference.v1.VariantService/PutVariant", await put_variant(side))
    return variants.GetVariantRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample("headrace.inference.v1.VariantService/ListVariants", ids=("name",))
async def list_variants(side: Side) -> Message:
    await side.once("variant", "developer", "headrace.inference.v1.VariantService/PutVariant", await put_variant(side))
    return variants.ListVariantsRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample("headrace.inference.v1.VariantService/ListBackends")
async def list_backends(side: Side) -> Message:
    return variants.ListBackendsRequest()


@sample("headrace.inference.v1.VariantService/ListTrainedModels")
async def list_trained_models(side: Side) -> Message:
    return variants.ListTrainedModelsRequest(tenant=side.tenant)


@sample("headrace.inference.v1.RouteService/PutKinds")
async def put_kinds(side: Side) -> Message:
    how = ["How do I open it?", "How do I close it?", "How do I clean it?"]
    what = ["What is a weir?", "What is a sluice?", "What is a penstock?"]
    kinds = [routes.Kind(name=f"how-{side.tenant}", examples=how), routes.Kind(name="what", examples=what)]
    return routes.PutKindsRequest(tenant=side.tenant, kinds=kinds)


@sample("headrace.inference.v1.RouteService/GetKinds")
async def get_kinds(side: Side) -> Message:
    await side.once("kinds", "developer", "headrace.inference.v1.RouteService/PutKinds", await put_kinds(side))
    return routes.GetKindsRequest(tenant=side.tenant)


@sample("headrace.inference.v1.RouteService/PutRoute")
async def put_route(side: Side) -> Message:
    await side.once("kinds", "developer", "headrace.inference.v1.RouteService/PutKinds", await put_kinds(side))
    arm = routes.Arm(variant=routes.VariantReference(name="default", version=1), weight=1.0)
    return routes.PutRouteRequest(
        tenant=side.tenant, route=routes.Route(kind=f"how-{side.tenant}", arms=[arm], reason="m")
    )


@sample("headrace.inference.v1.RouteService/DeleteRoute", ids=("kind",), code=HOWEVER)
async def delete_route(side: Side) -> Message:
    """Another call of the matrix may have been faster."""
    await side.do("developer", "headrace.inference.v1.RouteService/PutRoute", await put_route(side))
    return routes.DeleteRouteRequest(tenant=side.tenant, kind=f"how-{side.tenant}", reason="matrix")


@sample("headrace.inference.v1.RouteService/ListRoutes", ids=("kind",))
async def list_routes(side: Side) -> Message:
    await side.do("developer", "headrace.inference.v1.RouteService/PutRoute", await put_route(side))
    return routes.ListRoutesRequest(tenant=side.tenant, kind=f"how-{side.tenant}")


@sample("headrace.inference.v1.RouteService/ExplainRoute", chosen=("conversation_id",))
async def explain_route(side: Side) -> Message:
    return routes.ExplainRouteRequest(tenant=side.tenant, text="How do I open a weir?")


# Feedback


@sample(
    "headrace.feedback.v1.FeedbackService/Record",
    ids=("feedback.query_id", "feedback.feedback_id"),
    chosen=("feedback.trace_id",),
)
async def record(side: Side) -> Message:
    return feedback.RecordRequest(
        feedback=FeedbackSubmitted(
            feedback_id=side.feedback_id, tenant=side.tenant, query_id=side.queries[Tier.PUBLIC], rating=4
        )
    )


@sample("headrace.feedback.v1.FeedbackService/Get", ids=("query_id|trace_id",))
async def get_interaction(side: Side) -> Message:
    return feedback.GetRequest(tenant=side.tenant, query_id=side.queries[Tier.PUBLIC])


@sample("headrace.feedback.v1.FeedbackService/Export", ids=("sources",), refused=("privacy",))
async def export(side: Side) -> Message:
    return feedback.ExportRequest(tenant=side.tenant, purpose=PURPOSE_EVALUATE)


@sample("headrace.feedback.v1.FeedbackService/Tally")
async def tally(side: Side) -> Message:
    return feedback.TallyRequest(tenant=side.tenant)


# Traces


@sample("headrace.trace.v1.TraceService/GetTrace", ids=("trace_id|query_id",))
async def get_trace(side: Side) -> Message:
    return traces.GetTraceRequest(trace_id=side.traces[Tier.PUBLIC])
