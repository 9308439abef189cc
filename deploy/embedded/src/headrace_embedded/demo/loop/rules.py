"""How the loop is told to decide in the tour: as in production, on a scale of minutes. Pure."""

from __future__ import annotations

from datetime import datetime

from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.inference.v1.routes_pb2 import VariantReference
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.training.v1.service_pb2 import LoopRules
from headrace.training.v1.training_pb2 import Recipe

from headrace_embedded.demo.tour import PRODUCT

#: Seconds that a cause waits for more: where nothing is expected; and while users ask again, until they have asked.
SOONEST, LATEST = 5, 600
#: A quarter of an hour gives some fifty answers of each side. What that proves at any time is a margin of this, far too
#: wide for production: there it is .05, and takes thousands of answers.
MARGIN = 0.5
CANARY_SHARE, CANARY_ANSWERS, CANARY_S = 0.5, 30, 900
#: Of the rows so many are held out, for the loss and for the gate, which wants at least 20 pairs.
TEST_SHARE = 0.35
GATE_CASES = 24
#: From an erasure until what learned from it is retired, replaced or not.
ERASURE_S = 900

#: Some sixty rows, twice: with fewer passes the gate refused. Held-out rows are measured with each checkpoint but the
#: last: here with none.
RECIPE = Recipe(epochs=2, checkpoint_steps=20)


def loop_rules(champion: VariantReference, *, debounce_seconds: int, since: datetime | None = None) -> LoopRules:
    """What runs learn from: answers that users approved of, since their questions turned."""
    query = DatasetQuery(purpose=PURPOSE_TRAIN, products=[PRODUCT], approved_only=True, test_share=TEST_SHARE)
    if since is not None:
        query.since.FromDatetime(since)
    return LoopRules(
        automatic=True,
        debounce_seconds=debounce_seconds,
        runs_a_day=50,
        compute_seconds_a_day=7200,
        query=query,
        recipe=RECIPE,
        canary_share=CANARY_SHARE,
        canary_least_answers=CANARY_ANSWERS,
        canary_most_seconds=CANARY_S,
        canary_margin=MARGIN,
        promote_by_itself=True,
        erasure_seconds=ERASURE_S,
        champion_variant=champion.name,
        gate_cases=GATE_CASES,
    )
