"""Answers, scores and judgements as rows, thousands at a time; reports over them on a real Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

from headrace.feedback.v1 import reports_pb2
from headrace.query.v1.answer_pb2 import Versioned
from headrace_database import Database
from headrace_feedback.reporting.handlers import Desk
from headrace_feedback.reporting.leave import Gate
from headrace_feedback.reporting.postgres import PostgresBooks
from headrace_feedback.reporting.servicer import ReportServicer
from headrace_identity import Principal
from headrace_privacy.policy_file import read_policy

from services.feedback.tests.makers import SomeAuthorizer

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
DORA = Principal("developer", "demo", "dora")
CONTEXT: Any = None


def _columns(*words: str) -> list[str]:
    return " ".join(words).split()


_INTERACTION = _columns(
    "tenant query_id trace_id traceparent answer_event_id product subject conversation_id tier grounding finish_reason"
    " prompt_name prompt_version model_name model_version model_provider variant_name variant_version embedder_name"
    " embedder_hash input_tokens output_tokens cached_input_tokens cost_micro_usd time_to_first_token_ms timings_ms"
    " accepted_at completed_at stored_at record kind"
)
_TRIAL = _columns(
    "tenant query_id run_id case_id trial_kind setting trace_id traceparent product subject conversation_id tier kind"
    " grounding finish_reason prompt_name prompt_version model_name model_version model_provider variant_name"
    " variant_version backend input_tokens output_tokens cached_input_tokens cost_micro_usd time_to_first_token_ms"
    " timings_ms sources documents accepted_at completed_at stored_at record"
)
_SCORE = _columns(
    "tenant query_id run_id evaluator version rubric rubric_version criterion value label tier decides scored_at"
)
_FEEDBACK = _columns("tenant feedback_id query_id trace_id subject kind score tier recorded_at joined_at record detail")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, live or of a run."""

    variant: str = "default"
    version: str = "1"
    kind: str = "how-to"
    conversation: str = ""
    tier: int = 1
    grounding: str = "grounded"
    seconds: float = 1.0
    cost: int = 0
    product: str = "docs-search"
    prompt: str = "1"
    at: datetime = NOW
    scores: dict[str, float] = field(default_factory=dict)
    query_id: UUID = field(default_factory=uuid4)


@dataclass(slots=True)
class House:
    """Reports over a tenant's rows."""

    tenant: str
    database: Database
    caller: Principal = DORA
    authorizer: SomeAuthorizer = field(default_factory=SomeAuthorizer)

    @property
    def servicer(self) -> ReportServicer:
        desk = Desk(PostgresBooks(self.database), Gate(self.authorizer, read_policy(None)))
        return ReportServicer(desk, caller=lambda: self.caller)

    async def compare(
        self, a: reports_pb2.Side | str = "default", b: reports_pb2.Side | str = "shorter", **rest: Any
    ) -> reports_pb2.CompareResponse:
        request = reports_pb2.CompareRequest(**({"tenant": self.tenant, "a": side(a), "b": side(b)} | rest))
        return await self.servicer.Compare(request, CONTEXT)

    async def prompts(self, **rest: Any) -> Sequence[reports_pb2.PromptFigures]:
        request = reports_pb2.SummarisePromptsRequest(tenant=self.tenant, **rest)
        return (await self.servicer.SummarisePrompts(request, CONTEXT)).prompts

    async def log(self, answers: Iterable[Answer]) -> None:
        """Logs live answers with their scores."""
        found = list(answers)
        async with self.database.transaction(tenant=self.tenant) as connection:
            await connection.execute("INSERT INTO tenants VALUES ($1) ON CONFLICT DO NOTHING", self.tenant)
            await _insert(connection, "interactions", _INTERACTION, [self._live(one) for one in found])
            await _insert(connection, "scores", _SCORE, self._scores(found, ""))

    async def judge(self, rows: Iterable[tuple[UUID, str, str, int, str]]) -> None:
        """Records judgements: the query, who, what kind, how, and of which act; each a second after the last."""
        made = [
            (self.tenant, uuid4(), query_id, "", subject, kind, score, 1, later, later, b"", detail)
            for number, (query_id, subject, kind, score, detail) in enumerate(rows)
            for later in [NOW + timedelta(seconds=number)]
        ]
        async with self.database.transaction(tenant=self.tenant) as connection:
            await _insert(connection, "feedback", _FEEDBACK, made)

    async def chunks(self, rows: Iterable[tuple[UUID, str, int]]) -> None:
        """What answers were made of: the query, the source, the tier."""
        columns = _columns("tenant query_id chunk_id document_version source document_id tier rank citation")
        made = [(self.tenant, query_id, uuid4().hex, 1, source, "it", tier, 1, 1) for query_id, source, tier in rows]
        async with self.database.transaction(tenant=self.tenant) as connection:
            await _insert(connection, "interaction_chunks", columns, made)

    async def index(self, source: str, version: int) -> None:
        """A version of the source's document is indexed."""
        async with self.database.transaction(tenant=self.tenant) as connection:
            await connection.execute(
                "INSERT INTO documents VALUES ($1, $2, 'it', $3, false, 1, $4)", self.tenant, source, version, NOW
            )

    async def run(self, *arms: str, kind: int = 3, cases: int = 0) -> str:
        """A run that asks of these variants, all in version 1, and is done."""
        run_id, listed = uuid4(), "[" + ", ".join(f'["{arm}", "1", 0]' for arm in arms) + "]"
        async with self.database.transaction(tenant=self.tenant) as connection:
            await connection.execute(
                "INSERT INTO runs (tenant, run_id, kind, dataset_id, arms, judges, seed, state, cases, exclusions,"
                " role, created_by, created_at, ended_at) VALUES"
                " ($1, $2, $3, '', $4, '{}', '1', 2, $5, '[]', 'developer', 'dora', $6, $6)",
                *(self.tenant, run_id, kind, listed, cases, NOW),
            )
        return str(run_id)

    async def tried(self, run_id: str, cases: Iterable[tuple[str, Answer]], *, trial_kind: int = 3) -> None:
        """Trials' answers with their scores, by case."""
        found = list(cases)
        async with self.database.transaction(tenant=self.tenant) as connection:
            await connection.execute("INSERT INTO tenants VALUES ($1) ON CONFLICT DO NOTHING", self.tenant)
            rows = [self._trial(run_id, case, one, trial_kind) for case, one in found]
            await _insert(connection, "trial_answers", _TRIAL, rows)
            await _insert(connection, "scores", _SCORE, self._scores([one for _, one in found], run_id))

    async def judged(self, run_id: str, rows: Iterable[tuple[str, UUID, UUID, str]], *, decides: bool = True) -> None:
        """A judge's comparisons: the case, both answers, the outcome."""
        columns = _columns(
            "tenant run_id case_id arm_a arm_b judge version rubric rubric_version criterion outcome preference a_first"
            " b_first unread length_a length_b tier decides scored_at"
        )
        last = (10, 10, 1, decides, NOW)
        made = [
            (*(self.tenant, run_id, case, a, b, "fair", 1, "quality", 1, "correct", outcome, 0.5, [1], [1], 0), *last)
            for case, a, b, outcome in rows
        ]
        async with self.database.transaction(tenant=self.tenant) as connection:
            await _insert(connection, "pair_scores", columns, made)

    def _live(self, one: Answer) -> tuple[object, ...]:
        return (
            *(self.tenant, one.query_id, "", "", uuid4(), one.product, "", one.conversation, one.tier, one.grounding),
            *("stop", "grounded-answer", one.prompt, "m", "1", "local", one.variant, one.version, "e", "h", 1, 1, 0),
            *(one.cost, 1.0, f'{{"total": {one.seconds * 1000}}}', one.at, one.at, one.at, b"", one.kind),
        )

    def _trial(self, run_id: str, case: str, one: Answer, trial_kind: int) -> tuple[object, ...]:
        return (
            *(self.tenant, one.query_id, run_id, case, trial_kind, 0, "", "", one.product, "", one.conversation),
            *(one.tier, one.kind, one.grounding, "stop", "grounded-answer", one.prompt, "m", "1", "local"),
            *(one.variant, one.version, "", 1, 1, 0, one.cost, 1.0, f'{{"total": {one.seconds * 1000}}}'),
            *(["handbook"], [], one.at, one.at, one.at, b""),
        )

    def _scores(self, answers: Sequence[Answer], run_id: str) -> list[tuple[object, ...]]:
        rows = []
        for one in answers:
            for name, value in one.scores.items():
                evaluator, _, rest = name.partition("@")
                judged = evaluator.startswith("judge:")
                whose = ("quality", 1, "correct") if judged else ("", 0, "")
                whole = (self.tenant, one.query_id, run_id, evaluator, rest.removesuffix("!") or "1", *whose, value, "")
                rows.append((*whole, one.tier, not rest.endswith("!"), NOW))
        return rows


async def _insert(connection: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    places = ", ".join(f"${number + 1}" for number in range(len(columns)))
    await connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)


def side(of: reports_pb2.Side | str) -> reports_pb2.Side:
    """ "shorter" or "shorter@2"; "" is whoever answered then."""
    if not isinstance(of, str):
        return of
    name, _, version = of.partition("@")
    return reports_pb2.Side(variant=Versioned(name=name, version=version))


def line_of(response: reports_pb2.CompareResponse, measure: str, kind: str = "") -> reports_pb2.ReportLine:
    """The line of a measure."""
    found = [line for line in response.lines if (line.measure, line.kind) == (measure, kind)]
    assert len(found) == 1, f"{len(found)} lines of {measure} on {kind!r}: {[line.measure for line in response.lines]}"
    return cast(reports_pb2.ReportLine, found[0])
