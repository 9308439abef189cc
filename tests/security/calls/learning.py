"""Samples of what measures answers: rubrics, reviews, judges, runs, reports and datasets. See samples.py."""

from __future__ import annotations

from google.protobuf.message import Message
from headrace.feedback.v1 import (
    datasets_pb2,
    evaluation_pb2,
    reports_pb2,
    reviews_pb2,
    rubrics_pb2,
    runs_pb2,
)
from headrace.privacy.v1.privacy_pb2 import PURPOSE_EVALUATE, TIER_PUBLIC
from headrace.query.v1.answer_pb2 import Versioned
from headrace_privacy import Tier

from tests.security.calls.sampling import HOWEVER, sample
from tests.security.calls.world import Side

#: The variant that comes with Headrace.
VARIANT = Versioned(name="default", version="1")

RUBRICS = "headrace.feedback.v1.RubricService"
REVIEWS = "headrace.feedback.v1.ReviewService"
EVALUATION = "headrace.feedback.v1.EvaluationService"
RUNS = "headrace.feedback.v1.RunService"
DATASETS = "headrace.feedback.v1.DatasetService"


async def _own_rubric(side: Side) -> str:
    """The name of a rubric that only this side has."""
    name = f"of-{side.tenant}"
    await side.once("rubric", "developer", f"{RUBRICS}/PutRubric", await put_rubric(side))
    return name


async def _own_run(side: Side) -> str:
    """The id of a run of this side's."""
    response = await side.once("run", "developer", f"{RUNS}/StartRun", await start_run(side))
    return str(response.run.run_id)


async def _own_dataset(side: Side) -> str:
    """The id of a snapshot of this side's."""
    response = await side.once("dataset", "developer", f"{DATASETS}/ImportDataset", await import_dataset(side))
    return str(response.dataset.dataset_id)


@sample(f"{RUBRICS}/PutRubric")
async def put_rubric(side: Side) -> Message:
    criterion = rubrics_pb2.Criterion(name="true", question="Is it?", labels=["fail", "pass"])
    rubric = rubrics_pb2.Rubric(name=f"of-{side.tenant}", instructions="Judge.", criteria=[criterion])
    return rubrics_pb2.PutRubricRequest(tenant=side.tenant, rubric=rubric)


@sample(f"{RUBRICS}/GetRubric", ids=("name",))
async def get_rubric(side: Side) -> Message:
    return rubrics_pb2.GetRubricRequest(tenant=side.tenant, name=await _own_rubric(side))


@sample(f"{RUBRICS}/ListRubrics", ids=("name",))
async def list_rubrics(side: Side) -> Message:
    return rubrics_pb2.ListRubricsRequest(tenant=side.tenant, name=await _own_rubric(side))


@sample(f"{REVIEWS}/PutSampling", ids=("rubric",))
async def put_sampling(side: Side) -> Message:
    rule = reviews_pb2.SamplingRule(reason=reviews_pb2.SAMPLING_REASON_THUMB_DOWN, share=1.0)
    return reviews_pb2.PutSamplingRequest(tenant=side.tenant, rules=[rule], rubric=await _own_rubric(side), reviewers=1)


@sample(f"{REVIEWS}/GetSampling")
async def get_sampling(side: Side) -> Message:
    return reviews_pb2.GetSamplingRequest(tenant=side.tenant)


@sample(f"{REVIEWS}/ClaimReview", ids=("query_id",), code=HOWEVER)
async def claim_review(side: Side) -> Message:
    return reviews_pb2.ClaimReviewRequest(tenant=side.tenant, query_id=side.queries[Tier.PUBLIC])


@sample(f"{REVIEWS}/ReleaseReview", chosen=("item_id",), code=HOWEVER)
async def release_review(side: Side) -> Message:
    """An item is held by whoever claimed it: to anybody else of the same tenant it is not there either."""
    return reviews_pb2.ReleaseReviewRequest(tenant=side.tenant, item_id=side.queries[Tier.PUBLIC])


@sample(f"{REVIEWS}/LabelReview", chosen=("item_id",), code=HOWEVER)
async def label_review(side: Side) -> Message:
    label = reviews_pb2.CriterionLabel(criterion="true", label="pass")
    return reviews_pb2.LabelReviewRequest(tenant=side.tenant, item_id=side.queries[Tier.PUBLIC], labels=[label])


@sample(f"{REVIEWS}/GetReviewStats", ids=("rubric",), code=HOWEVER)
async def get_review_stats(side: Side) -> Message:
    return reviews_pb2.GetReviewStatsRequest(tenant=side.tenant, rubric=await _own_rubric(side))


@sample(f"{EVALUATION}/PutEvaluation")
async def put_evaluation(side: Side) -> Message:
    return evaluation_pb2.PutEvaluationRequest(tenant=side.tenant, share=1.0)


@sample(f"{EVALUATION}/GetEvaluation")
async def get_evaluation(side: Side) -> Message:
    return evaluation_pb2.GetEvaluationRequest(tenant=side.tenant)


@sample(f"{EVALUATION}/GetScores", ids=("query_id",))
async def get_scores(side: Side) -> Message:
    return evaluation_pb2.GetScoresRequest(tenant=side.tenant, query_id=side.queries[Tier.PUBLIC])


@sample(f"{EVALUATION}/PutJudge", ids=("judge.rubric.name",), code=HOWEVER)
async def put_judge(side: Side) -> Message:
    rubric = Versioned(name=await _own_rubric(side), version="1")
    judge = evaluation_pb2.Judge(name=f"of-{side.tenant}", rubric=rubric, mode="single", votes=1)
    return evaluation_pb2.PutJudgeRequest(tenant=side.tenant, judge=judge)


@sample(f"{EVALUATION}/ListJudges", ids=("name",))
async def list_judges(side: Side) -> Message:
    return evaluation_pb2.ListJudgesRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample(f"{EVALUATION}/CalibrateJudge", ids=("name",), code=HOWEVER)
async def calibrate_judge(side: Side) -> Message:
    return evaluation_pb2.CalibrateJudgeRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample(f"{RUNS}/StartRun", ids=("queries.query_ids",), chosen=("dataset_id",))
async def start_run(side: Side) -> Message:
    queries = runs_pb2.QueryFilter(query_ids=[side.queries[Tier.PUBLIC]])
    arms = [runs_pb2.RunArm(variant=VARIANT)]
    return runs_pb2.StartRunRequest(tenant=side.tenant, queries=queries, arms=arms, limit=1)


@sample(f"{RUNS}/WatchRun", ids=("run_id",))
async def watch_run(side: Side) -> Message:
    return runs_pb2.WatchRunRequest(tenant=side.tenant, run_id=await _own_run(side))


@sample(f"{RUNS}/GetRun", ids=("run_id",))
async def get_run(side: Side) -> Message:
    return runs_pb2.GetRunRequest(tenant=side.tenant, run_id=await _own_run(side))


@sample(f"{RUNS}/ListRuns")
async def list_runs(side: Side) -> Message:
    return runs_pb2.ListRunsRequest(tenant=side.tenant)


@sample(f"{RUNS}/CancelRun", ids=("run_id",), code=HOWEVER)
async def cancel_run(side: Side) -> Message:
    return runs_pb2.CancelRunRequest(tenant=side.tenant, run_id=await _own_run(side))


@sample(f"{RUNS}/ListStaleAnswers", ids=("document_id",))
async def list_stale_answers(side: Side) -> Message:
    return runs_pb2.ListStaleAnswersRequest(
        tenant=side.tenant, source="notes", document_id=side.documents[Tier.PUBLIC], limit=10
    )


@sample("headrace.feedback.v1.ReportService/Compare", ids=("run_id",), code=HOWEVER)
async def compare(side: Side) -> Message:
    one, other = reports_pb2.Side(variant=VARIANT), reports_pb2.Side()
    return reports_pb2.CompareRequest(tenant=side.tenant, a=one, b=other, run_id=await _own_run(side))


@sample("headrace.feedback.v1.ReportService/SummarisePrompts", ids=("name",))
async def summarise_prompts(side: Side) -> Message:
    return reports_pb2.SummarisePromptsRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample(f"{DATASETS}/BuildDataset", code=HOWEVER, refused=("privacy",))
async def build_dataset(side: Side) -> Message:
    query = datasets_pb2.DatasetQuery(purpose=PURPOSE_EVALUATE, max_tier=TIER_PUBLIC)
    return datasets_pb2.BuildDatasetRequest(tenant=side.tenant, name="built", query=query)


@sample(f"{DATASETS}/ImportDataset", chosen=("rows.row_id", "rows.grant_id", "rows.passage_ids"))
async def import_dataset(side: Side) -> Message:
    rows = [
        datasets_pb2.DatasetRow(row_id=f"{side.tenant}-{number}", question=f"Which weir is {number}?", answer="That.")
        for number in range(4)
    ]
    return datasets_pb2.ImportDatasetRequest(
        tenant=side.tenant, name=f"of-{side.tenant}", rows=rows, declared_tier=TIER_PUBLIC
    )


@sample(f"{DATASETS}/GetDataset", ids=("dataset",))
async def get_dataset(side: Side) -> Message:
    return datasets_pb2.GetDatasetRequest(tenant=side.tenant, dataset=await _own_dataset(side))


@sample(f"{DATASETS}/ListDatasets", ids=("name",))
async def list_datasets(side: Side) -> Message:
    await _own_dataset(side)
    return datasets_pb2.ListDatasetsRequest(tenant=side.tenant, name=f"of-{side.tenant}")


@sample(f"{DATASETS}/DiffDatasets", ids=("before", "after"))
async def diff_datasets(side: Side) -> Message:
    dataset = await _own_dataset(side)
    return datasets_pb2.DiffDatasetsRequest(tenant=side.tenant, before=dataset, after=dataset)


@sample(f"{DATASETS}/TraceRows", ids=("dataset",), chosen=("query_id",))
async def trace_rows(side: Side) -> Message:
    return datasets_pb2.TraceRowsRequest(tenant=side.tenant, dataset=await _own_dataset(side))


@sample(f"{DATASETS}/ReadDataset", ids=("dataset",), code=HOWEVER, refused=("privacy",))
async def read_dataset(side: Side) -> Message:
    return datasets_pb2.ReadDatasetRequest(tenant=side.tenant, dataset=await _own_dataset(side))
