"""A report of two variants over live traffic: five evaluators' scores, thumbs, grounding, latency and cost, by kind.

The peer is a notebook's way: the same rows into pandas, Welch's intervals and a bootstrap of the median by scipy. It
knows nothing of conversations, asks nobody for leave, and corrects for nothing.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres
from headrace_feedback.interaction import Versioned
from headrace_feedback.reporting.handlers import Desk, compare
from headrace_feedback.reporting.leave import Gate
from headrace_feedback.reporting.postgres import PostgresBooks
from headrace_feedback.reporting.reports import Report, Request, Side
from headrace_feedback.uses import Use, Verdict
from headrace_identity import Principal
from headrace_privacy.policy_file import read_policy
from scipy import stats

from bench.harness import Budget, Row, paired_async
from services.feedback.tests.reporting.seeding import seed

GROUP = "reports"
TENANT = "bench"
OF_CONVERSATION = 4
#: How long a person waits for a report of a hundred thousand answers, in seconds.
GOAL_SECONDS = 10.0
#: Scipy's own default is 9,999; ours draws 4,000.
RESAMPLES = 4_000

_ROWS = """
    SELECT i.query_id, i.variant_name, i.kind, i.grounding, i.cost_micro_usd, (i.timings_ms->>'total')::float8 AS total
    FROM interactions i WHERE i.tenant = $1
"""
_SCORES = "SELECT query_id, evaluator, value FROM scores WHERE tenant = $1"
_THUMBS = "SELECT query_id, score FROM feedback WHERE tenant = $1 AND kind = 'thumb'"


class Everything:
    """Allows all, at once: what asking costs is the classifier's bench."""

    async def authorize(self, use: Use) -> Verdict:
        """Says yes."""
        del use
        return Verdict(True, "")


@dataclass(frozen=True, slots=True)
class Ours:
    """A report as it is served."""

    desk: Desk

    async def __call__(self) -> float:
        """Returns how long it took, in seconds."""
        request = Request(TENANT, Side(Versioned("default", "")), Side(Versioned("shorter", "")))
        start = time.perf_counter()
        made: Report = await compare(request, self.desk, by=Principal("developer", TENANT, "dora"))
        took = time.perf_counter() - start
        assert len(made.lines) > 50, "ten measures of five kinds and all together"
        return took


@dataclass(frozen=True, slots=True)
class Notebook:
    """The peer."""

    database: Database

    async def __call__(self) -> float:
        """Returns how long it took, in seconds."""
        start = time.perf_counter()
        async with self.database.transaction(tenant=TENANT) as connection:
            frames = [_frame(await connection.fetch(query, TENANT)) for query in (_ROWS, _SCORES, _THUMBS)]
        compared = await asyncio.to_thread(_compared, *frames)
        took = time.perf_counter() - start
        assert len(compared) > 50
        return took


def _frame(rows: list[Any]) -> pd.DataFrame:
    return pd.DataFrame([tuple(row) for row in rows], columns=list(rows[0].keys()))


def _compared(answers: pd.DataFrame, scores: pd.DataFrame, thumbs: pd.DataFrame) -> list[tuple[float, float]]:
    answers = answers.set_index("query_id")
    wide = scores.pivot_table(index="query_id", columns="evaluator", values="value")
    whole = answers.join(wide).join((thumbs.set_index("query_id")["score"] > 0).astype(float).rename("thumbs"))
    whole["grounded"] = (whole["grounding"] == "grounded").astype(float)
    whole["refused"] = (whole["grounding"] == "not_in_sources").astype(float)
    found = []
    for slice_ in (whole, *(one for _, one in whole.groupby("kind"))):
        a, b = (slice_[slice_["variant_name"] == name] for name in ("default", "shorter"))
        shares = [*wide.columns, "thumbs", "grounded", "refused"]
        found += [_means(a[name].dropna(), b[name].dropna()) for name in shares]
        found += [_medians(a[name].to_numpy(float), b[name].to_numpy(float)) for name in ("total", "cost_micro_usd")]
    return found


def _means(a: Any, b: Any) -> tuple[float, float]:
    if a.nunique() < 2 or b.nunique() < 2:
        return 0.0, 0.0
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    return float(interval.low), float(interval.high)


def _medians(a: Any, b: Any) -> tuple[float, float]:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0, 0.0

    def difference(x: Any, y: Any, axis: int = -1) -> Any:
        return np.median(y, axis=axis) - np.median(x, axis=axis)

    drawn = stats.bootstrap(
        (a, b), difference, n_resamples=RESAMPLES, batch=20, method="percentile", rng=np.random.default_rng(1)
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def rows(budget: Budget) -> list[Row]:
    """Measures reports beside the notebook, by turns."""
    return [asyncio.run(_row(budget))]


async def _row(budget: Budget) -> Row:
    answers = budget.pick(quick=4_000, full=100_000)
    with testing.state_folder() as folder:
        server = postgres.open_server(folder / "postgres", 0, lifetime=Lifetime.PARENTS)
        server.start()
        try:
            where = await testing.open_database(server, "bench_reports")
            await where.migrate("feedback")
            async with open_database(where.dsn("feedback"), schema="feedback") as database:
                await seed(database, TENANT, answers=answers, of_conversation=OF_CONVERSATION)
                desk = Desk(PostgresBooks(database), Gate(Everything(), read_policy(None)))
                # The notebook takes minutes: a pair, after one turn each that does not count.
                both = await paired_async(Ours(desk), Notebook(database), repeats=budget.pick(quick=1, full=2))
        finally:
            server.stop()
    return Row(
        GROUP,
        f"a report over {answers:,} answers",
        both.ours,
        both.peer,
        "s",
        both.ratio,
        goal=GOAL_SECONDS,
        goal_of="ours",
        higher_is_better=False,
        note="peer: pandas and scipy, without conversations",
        extra={"measured_at": datetime.now(UTC).isoformat(), **both.extra},
    )
