"""The tables that need not keep a rule of headrace_database.lint, each with its reason. Short on purpose."""

from __future__ import annotations

from headrace_database.lint import OPEN, ORACLE, UNTIERED, WITHOUT_TENANT, Exemption

_LEDGER = "the service's own, of all tenants at once: the role decides"
_ALIKE = "the house's own words, the same for every tenant"
_CHAIN = "one chain over everybody, or a gap in it could not be seen"
_METADATA = "holds no text of this tier, only that there is a decision about it"

EXEMPT = (
    Exemption(WITHOUT_TENANT, "*.applied_migrations", "the owner's bookkeeping"),
    Exemption(ORACLE, "*.applied_migrations", "the owner's bookkeeping"),
    Exemption(WITHOUT_TENANT, "*.inbox", _LEDGER),
    Exemption(ORACLE, "*.inbox", "event ids are random, or made of the tenant too; only the ledger asks"),
    Exemption(WITHOUT_TENANT, "*.outbox", _LEDGER),
    Exemption(ORACLE, "*.outbox", "the key counts rows"),
    Exemption(OPEN, "*.tenants", "names tenants and nothing of theirs, so that a tally can go from one to the next"),
    Exemption(OPEN, "feedback.evaluation_tasks", "ids of what waits, so that any instance finds the next"),
    Exemption(OPEN, "feedback.run_turns", "names runs and nothing of theirs, so that any instance takes up the next"),
    Exemption(WITHOUT_TENANT, "drift.progress", "how far partitions have been read; they hold everybody's events"),
    Exemption(ORACLE, "drift.progress", "the key is a partition's name"),
    Exemption(OPEN, "trainer.loops", "who has paused, and whose schedule is next: any instance looks"),
    Exemption(OPEN, "trainer.run_turns", "names runs and nothing of theirs, so that any instance takes up the next"),
    Exemption(OPEN, "trainer.model_turns", "names models and nothing of theirs, so that any instance looks after each"),
    Exemption(WITHOUT_TENANT, "traces.spans", "spans hold no text; only the receiver of traces reads them"),
    Exemption(ORACLE, "traces.spans", "the key counts rows"),
    Exemption(WITHOUT_TENANT, "retriever.index_identity", "one row: which model made all vectors"),
    Exemption(ORACLE, "retriever.index_identity", "one row: which model made all vectors"),
    Exemption(WITHOUT_TENANT, "inference.prompts", _ALIKE),
    Exemption(ORACLE, "inference.prompts", _ALIKE),
    Exemption(WITHOUT_TENANT, "inference.variants", _ALIKE),
    Exemption(ORACLE, "inference.variants", _ALIKE),
    Exemption(OPEN, "classifier.audit", _CHAIN),
    Exemption(ORACLE, "classifier.audit", _CHAIN),
    Exemption(UNTIERED, "classifier.audit", _METADATA),
    Exemption(WITHOUT_TENANT, "classifier.checkpoints", _CHAIN),
    Exemption(ORACLE, "classifier.checkpoints", _CHAIN),
    Exemption(UNTIERED, "classifier.grants", _METADATA),
    Exemption(UNTIERED, "classifier.tier_decisions", _METADATA),
    Exemption(WITHOUT_TENANT, "classifier.master_keys", "which versions wrap keys; no key is in it"),
    Exemption(ORACLE, "classifier.master_keys", "which versions wrap keys; no key is in it"),
)
