"""The runs' part in an erasure: cases and trials' answers go with whoever asked, and with what they were made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_database import Connection
from headrace_privacy import Vault
from headrace_stream import Unit
from headrace_stream.erasing import Document, Erasure, Expired, Kind, Names, Source, Subject, keep_out, names_of

from headrace_feedback.erasing import asked_at, buried_with
from headrace_feedback.running.runs import Indexed
from headrace_feedback.running.translate import is_uuid

CASES = "feedback.run_cases"
ASKS = "feedback.run_asks"
ANSWERS = "feedback.trial_answers"
DOCUMENTS = "feedback.documents"

HOW = dict.fromkeys((CASES, ASKS, ANSWERS, DOCUMENTS), "deleted and vacuumed")


@dataclass(frozen=True, slots=True)
class Meant:
    """SQL conditions and their values, from $2 on: on a case `c`, on a trial's answer `t`, and on a document."""

    cases: str
    answers: str
    documents: str
    values: tuple[object, ...] = field(repr=False)


_ASKED = "coalesce(t.accepted_at, t.completed_at)"


def meant_by(erasure: Erasure) -> Meant:
    """Returns which rows an erasure means. The question's time counts: a trial of it was made later."""
    until = erasure.until
    match erasure.what:
        case Subject(name):
            asked = f"t.subject = $2 AND {_ASKED} <= $3"
            return Meant("c.subject = $2 AND c.of_time <= $3", asked, "", (name, until))
        case Source(source):
            of = "$2 = ANY({row}.sources)"
            return Meant(of.format(row="c"), of.format(row="t"), "source = $2", (source,))
        case Document(source, document_id):
            of, key = "$2 || '/' || $3 = ANY({row}.documents)", "source = $2 AND document_id = $3"
            return Meant(of.format(row="c"), of.format(row="t"), key, (source, document_id))
        case Expired(tier, before):
            answers = f"t.tier = $2 AND {_ASKED} < $3"
            return Meant("c.tier = $2 AND c.of_time < $3", answers, "", (int(tier), before))


@dataclass(frozen=True, slots=True)
class RunHoldings:
    """See headrace_feedback.erasing.Part."""

    how: Mapping[str, str] = field(default_factory=lambda: dict(HOW))
    tables: Sequence[str] = ("run_cases", "run_asks", "trial_answers", "documents")

    async def remove(
        self, connection: Connection, erasure: Erasure, names: Names, *, queries: Sequence[UUID]
    ) -> Mapping[str, int]:
        """See Part.remove. Of an interaction that goes, its cases and their answers go."""
        del names
        tenant, meant = erasure.tenant, meant_by(erasure)
        gone = [str(query) for query in queries]
        rows = await connection.fetch(
            f"SELECT DISTINCT c.case_id FROM run_cases c WHERE c.tenant = $1 AND {meant.cases}",  # noqa: S608 - our own words
            tenant,
            *meant.values,
        )
        ids = sorted({*gone, *(row["case_id"] for row in rows)})
        by_case = "WHERE tenant = $1 AND case_id = ANY($2)"
        answers = await connection.fetch(
            f"DELETE FROM trial_answers {by_case} RETURNING query_id",  # noqa: S608
            tenant,
            ids,
        )
        answers += await connection.fetch(
            f"DELETE FROM trial_answers t WHERE t.tenant = $1 AND {meant.answers} RETURNING query_id",  # noqa: S608
            tenant,
            *meant.values,
        )
        removed = {
            ANSWERS: len(answers),
            CASES: await _delete(connection, f"DELETE FROM run_cases {by_case}", tenant, ids),  # noqa: S608
            ASKS: await _delete(connection, f"DELETE FROM run_asks {by_case}", tenant, ids),  # noqa: S608
        }
        trials = [row["query_id"] for row in answers]
        of_trials = "DELETE FROM run_asks WHERE tenant = $1 AND query_id = ANY($2)"
        removed[ASKS] += await _delete(connection, of_trials, tenant, trials)
        if meant.documents:
            forget = f"DELETE FROM documents WHERE tenant = $1 AND {meant.documents}"  # noqa: S608
            removed[DOCUMENTS] = await _delete(connection, forget, tenant, *meant.values)
        return removed

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Part.left."""
        del names
        meant = meant_by(erasure)
        counts = {
            CASES: f"SELECT count(*) FROM run_cases c WHERE c.tenant = $1 AND {meant.cases}",  # noqa: S608
            ANSWERS: f"SELECT count(*) FROM trial_answers t WHERE t.tenant = $1 AND {meant.answers}",  # noqa: S608
        }
        if meant.documents:
            counts[DOCUMENTS] = f"SELECT count(*) FROM documents WHERE tenant = $1 AND {meant.documents}"  # noqa: S608
        return {
            store: await connection.fetchval(count, erasure.tenant, *meant.values) for store, count in counts.items()
        }


async def _delete(connection: Connection, delete: str, *values: object) -> int:
    status = await connection.execute(delete, *values)
    return int(status.rpartition(" ")[2])


@dataclass(frozen=True, slots=True)
class RunTombstones:
    """See ports.Tombstones."""

    vault: Vault

    async def keep_out_trial(self, unit: Unit, message: AnswerCompleted) -> None:
        """See ports.Tombstones."""
        tenant, case_id = message.query.tenant, message.query.trial.case_id
        names = await names_of(self.vault, tenant)
        original = [(Kind.QUERY, names.query(UUID(case_id)))] if is_uuid(case_id) else []
        await keep_out(unit.connection, tenant, [*original, *buried_with(message, names)], at=asked_at(message))

    async def keep_out_document(self, unit: Unit, indexed: Indexed, *, accepted_at: datetime | None) -> None:
        """See ports.Tombstones."""
        names = await names_of(self.vault, indexed.tenant)
        document = (Kind.DOCUMENT, names.document(indexed.source, indexed.document_id))
        source = (Kind.SOURCE, names.source(indexed.source))
        await keep_out(unit.connection, indexed.tenant, [document, source], at=accepted_at)
