"""Who may do what in which table: the only cells of the matrix that allow anything.

A table that is not listed here fails the matrix, so that whoever makes one says who may do what in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

#: Of the rows in a table a role sees those of the tenant that its transaction named; those, or all for "*"; or all.
Scope = Literal["tenant", "tenant or *", "all"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What the roles of a table's own service may do in it; every other service's may do nothing.

    service, lower: the login role, and the two of a lower clearance: letters of SELECT, INSERT, UPDATE (of any column),
    DELETE. tiered: whether a role sees, and writes, rows up to its tier only. strictest: the table takes no row above
    that tier. values: SQL for columns that a generic value does not fit.
    """

    service: str
    lower: str = ""
    scope: Scope = "tenant"
    tiered: bool = False
    strictest: int = 3
    values: dict[str, str] = field(default_factory=dict)


_OURS = Cell("SID", scope="all")
_NOBODYS = Cell("", scope="all")
_NAMES = Cell("SI", scope="all")

#: What every service has.
EVERYWHERE = {
    "inbox": _OURS,
    "outbox": _OURS,
    "applied_migrations": _NOBODYS,
    "tombstones": Cell("SIU", values={"name": "$unique32"}),
    "erased_records": Cell("SIU"),
}

ALLOWED: dict[str, Cell] = {
    "ingest.applied_migrations": Cell("S", scope="all"),  # granted, but no policy lets a row through
    "ingest.tenants": _NAMES,
    "ingest.queries": Cell("SIUD", "S", tiered=True),
    "ingest.sources": Cell("SIUD", "S", tiered=True),
    "ingest.documents": Cell("SIUD", "S", tiered=True),
    "ingest.submissions": Cell("SIUD"),
    "ingest.answer_documents": Cell("SID"),
    "ingest.document_contents": Cell("SID"),
    "classifier.grants": Cell(
        "SIU",
        scope="tenant or *",
        values={"sources": "'{}'", "longest_days": "7", "expires_at": "now() + interval '1 day'"},
    ),
    "classifier.audit": Cell("SI", scope="all", values={"sequence": "$next", "action": "'a.b'", "records": "'{}'"}),
    "classifier.checkpoints": Cell("SI", scope="all", values={"number": "$next"}),
    "classifier.ended_grants": Cell("SI", scope="tenant or *"),
    "classifier.tier_decisions": Cell("SIUD", scope="tenant or *"),
    "classifier.dictionaries": Cell("SIUD", scope="tenant or *"),
    "classifier.data_keys": Cell("SIUD", scope="tenant or *", values={"owner": "$unique32"}),
    "classifier.erasures": Cell("SIUD", scope="tenant or *"),
    "classifier.erasure_reports": Cell("SI", scope="tenant or *"),
    "classifier.reached_models": Cell("SIU", scope="tenant or *"),
    "classifier.deleted_models": Cell("SI", scope="tenant or *"),
    "classifier.retention": Cell("SIU", scope="tenant or *", tiered=True),
    "classifier.master_keys": Cell("SID", scope="all"),
    "retriever.index_identity": Cell("SI", "S", scope="all", values={"dimensions": "8"}),
    "retriever.documents": Cell("SIUD", tiered=True),
    "retriever.chunks": Cell(
        "SIUD",
        "S",
        tiered=True,
        values={"text": r"'\x1200'", "labels": "''", "embedding": "'[1,2]'", "words": "''"},
    ),
    "retriever.tallies": Cell("SIUD", "S", tiered=True),
    "retriever.tenants": _NAMES,
    "retriever.generations": Cell("SIU", "S", values={"model": "'own@' || $next", "state": "'gone'"}),
    "retriever.trained_vectors": Cell("SID", "S", tiered=True, values={"embedding": "'[1,2]'"}),
    "inference.prompts": _NAMES,
    "inference.variants": _NAMES,
    "inference.tenant_prompts": Cell("SI", tiered=True, values={"sha256": "encode($unique32, 'hex')"}),
    "inference.prompt_labels": Cell("SI", tiered=True),
    "inference.tenant_variants": Cell("SI", tiered=True),
    "inference.answers": Cell("SIUD", "S", tiered=True, values={"grounding": "'grounded'"}),
    "inference.kinds": Cell("SI", tiered=True, values={"version": "$next"}),
    "inference.kind_vectors": Cell("SIU", tiered=True, values={"version": "$next"}),
    "inference.routes": Cell("SI", tiered=True, values={"version": "$next"}),
    "drift.tenants": _NAMES,
    "drift.progress": Cell("SIU", scope="all"),
    "drift.states": Cell("SIU"),
    "drift.sketches": Cell("SIUD", tiered=True),
    "drift.examples": Cell("SID", tiered=True),
    "drift.lexicons": Cell("SIUD", tiered=True, strictest=2, values={"week": "DATE '2026-01-05' + $next"}),
    "drift.late_events": Cell("SIUD"),
    "drift.baselines": Cell("SID"),
    "drift.baseline_sketches": Cell("SIUD", tiered=True),
    "drift.looks": Cell("SID"),
    "drift.alerts": Cell("SIUD", tiered=True, values={"state": "'open'", "closed_at": "NULL"}),
    "drift.alert_examples": Cell("SID", tiered=True),
    "inference.tenants": _NAMES,
    "inference.trained_models": Cell("SIU", tiered=True, values={"standing": "'live'", "target": "1"}),
    "feedback.tenants": _NAMES,
    "feedback.interactions": Cell("SID", "S", tiered=True),
    "feedback.interaction_chunks": Cell("SID", "S", tiered=True),
    "feedback.feedback": Cell("SIUD", "S", tiered=True, values={"kind": "'thumb'", "query_id": "gen_random_uuid()"}),
    "feedback.rubrics": Cell("SI", values={"version": "$next", "sha256": "$unique32"}),
    "feedback.sampling": Cell("SIU"),
    "feedback.review_items": Cell("SIUD", "S", tiered=True, values={"reviewers": "1", "reasons": "'{1}'"}),
    "feedback.review_claims": Cell("SIUD"),
    "feedback.review_labels": Cell("SID", "S", tiered=True),
    "feedback.vocabulary": Cell("SI", values={"word": r"'\x00112233445566778899aabbccddeeff'"}),
    "feedback.evaluation_settings": Cell("SIU", values={"share": "0.5", "judged_share": "0.5"}),
    "feedback.evaluation_tasks": Cell("SIUD", scope="all"),
    "feedback.scores": Cell("SID", "S", tiered=True),
    "feedback.pair_scores": Cell(
        "SID",
        "S",
        tiered=True,
        values={"outcome": "'same'", "preference": "0.5", "a_first": "'{}'", "b_first": "'{}'"},
    ),
    "feedback.judges": Cell("SI", values={"mode": "'single'", "votes": "1", "max_output_tokens": "16"}),
    "feedback.calibrations": Cell("SI", values={"state": "'below'"}),
    "feedback.runs": Cell("SIU", values={"kind": "2", "state": "1", "ended_at": "NULL"}),
    "feedback.run_turns": Cell("SIUD", scope="all"),
    "feedback.run_cases": Cell("SID", "S", tiered=True),
    "feedback.run_asks": Cell("SIUD", values={"state": "1"}),
    "feedback.trial_answers": Cell("SID", "S", tiered=True),
    "feedback.documents": Cell("SIUD", "S", tiered=True),
    "feedback.snapshots": Cell(
        "SIUD",
        "S",
        tiered=True,
        values={"state": "1", "ended_at": "NULL", "rows": "1", "dataset_id": "encode($unique32, 'hex')"},
    ),
    "feedback.snapshot_rows": Cell("SID", "S", tiered=True),
    "feedback.exports": Cell("SIUD"),
    "feedback.ended_grants": Cell("SI"),
    "trainer.loops": Cell("SIU", scope="all"),
    "trainer.loop_rules": Cell("SI", values={"version": "$next"}),
    "trainer.runs": Cell("SIU", values={"target": "1", "causes": "'{1}'", "state": "4", "ended_at": "now()"}),
    "trainer.run_turns": Cell("SIUD", scope="all"),
    "trainer.causes": Cell("SIUD"),
    "trainer.run_points": Cell("SIUD"),
    "trainer.models": Cell("SIU", tiered=True, values={"target": "1", "state": "1", "answers": "false"}),
    "trainer.model_turns": Cell("SIUD", scope="all"),
    "trainer.canary_answers": Cell("SID"),
    "trainer.canary_thumbs": Cell("SIUD"),
    "traces.applied_migrations": _NOBODYS,
    "traces.spans": Cell("SID", scope="all"),
}


def cell_of(table: str) -> Cell | None:
    """Returns who may do what in a table, "schema.table"; None when nobody said."""
    return ALLOWED.get(table) or EVERYWHERE.get(table.partition(".")[2])
