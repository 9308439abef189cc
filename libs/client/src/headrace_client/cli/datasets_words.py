"""Snapshots as people and programs read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2 import Dataset, DatasetRow

from headrace_client.cli.governance import purpose_word
from headrace_client.tiers import tier_label, tier_word

REASONS = {
    "denied_by_policy": "the policy denies it",
    "no_grant": "no live grant covers it",
    "other_source": "not grounded in the named sources alone",
    "other_product": "of another product",
    "over_tier": "stricter than asked for",
    "erased": "erased",
    "score": "does not reach the scores",
    "not_approved": "nobody approved it",
    "refusal": "refuses or says nothing",
    "near_duplicate": "nearly the same as another",
    "over_limit": "over a limit",
    "other_kind": "of another kind",
    "stale": "a document it cites has changed or is gone",
    "named": "of somebody who is to be left out",
    "kind_not_stated": "no reviewer, or no majority of them, named its kind",
}
_STATES = {
    datasets_pb2.DATASET_STATE_USABLE: "usable",
    datasets_pb2.DATASET_STATE_GRANT_ENDED: "grant ended",
    datasets_pb2.DATASET_STATE_ERASED: "erased",
}
COLUMNS = ["Dataset", "Name", "For", "Rows", "Held out", "Tier", "State", "Built"]
#: Digits of an id that people are shown, and may say.
SHORT = 12


def state_word(one: Dataset) -> str:
    """ "usable", or why it is not."""
    return _STATES.get(one.state, "unknown")


def purpose_of(one: Dataset) -> str:
    """What it was built for. What was written by hand is to measure against."""
    return purpose_word(one.query.purpose) or "evaluate"


def split_word(split: datasets_pb2.Split.ValueType) -> str:
    """ "train" or "test"."""
    return datasets_pb2.Split.Name(split).removeprefix("SPLIT_").lower()


def table_row(one: Dataset) -> list[str]:
    """A line of the list."""
    return [
        one.dataset_id[:SHORT],
        one.name,
        purpose_of(one),
        f"{one.rows:,}",
        f"{one.test_rows:,}",
        tier_word(one.tier),
        state_word(one),
        one.created_at.ToJsonString()[:16].replace("T", " "),
    ]


def describe(one: Dataset) -> list[str]:
    """A snapshot in sentences."""
    card = one.card
    lines = [
        f"{one.name} {one.dataset_id}",
        f"{state_word(one)}{f' by {one.ended_by}' if one.ended_by else ''}; to {purpose_of(one)}",
        f"strictest tier {tier_word(one.tier)}; policy {one.policy_version}",
        f"{one.rows:,} rows, {one.test_rows:,} held out; {_counts(one.kinds)}; {_counts(one.tiers)}",
        f"{card.vocabulary:,} different words of {card.words:,}",
        f"median characters: question {card.question_characters:.0f}, answer {card.answer_characters:.0f}",
        f"{card.corrected:,} corrected; {card.kinds_stated:,} of a kind that people stated",
        f"{card.conversations:,} conversations; {card.documents:,} documents",
        f"built by {one.created_by} at {one.created_at.ToJsonString()}, seed {one.seed}",
    ]
    if one.grants:
        lines.append(f"stands on {len(one.grants)} grant{'' if len(one.grants) == 1 else 's'}: {', '.join(one.grants)}")
    return lines


def exclusion_rows(one: Dataset) -> list[list[str]]:
    """What was left out, as a table's rows."""
    return [[REASONS.get(each.reason, each.reason), tier_word(each.tier), f"{each.rows:,}"] for each in one.exclusions]


def dataset_json(one: Dataset) -> dict[str, Any]:
    """A snapshot for programs."""
    card = one.card
    return {
        "dataset_id": one.dataset_id,
        "tenant": one.tenant,
        "name": one.name,
        "purpose": purpose_of(one),
        "state": state_word(one).replace(" ", "_"),
        "ended_by": one.ended_by,
        "rows": one.rows,
        "test_rows": one.test_rows,
        "tier": tier_label(one.tier),
        "kinds": dict(one.kinds),
        "tiers": dict(one.tiers),
        "grants": list(one.grants),
        "excluded": [{"reason": e.reason, "tier": tier_label(e.tier), "rows": e.rows} for e in one.exclusions],
        "card": {
            "vocabulary": card.vocabulary,
            "words": card.words,
            "question_characters": card.question_characters,
            "answer_characters": card.answer_characters,
            "corrected": card.corrected,
            "kinds_stated": card.kinds_stated,
            "conversations": card.conversations,
            "documents": card.documents,
            "variants": dict(card.variants),
            "prompts": dict(card.prompts),
        },
        "seed": one.seed,
        "policy_version": one.policy_version,
        "data_sha256": one.data_sha256,
        "created_by": one.created_by,
        "created_at": one.created_at.ToJsonString(),
    }


def row_values(row: DatasetRow) -> dict[str, Any]:
    """A row in the clear, every column there."""
    return {
        "row_id": row.row_id,
        "kind": row.kind,
        "tier": tier_label(row.tier),
        "question": row.question,
        "answer": row.answer,
        "text": row.text,
        "corrected": row.corrected,
        "kind_stated": row.kind_stated,
        "passages": list(row.passages),
        "key_facts": list(row.key_facts),
        "documents": list(row.documents),
        "unanswerable": row.unanswerable,
        "variant": f"{row.variant.name} {row.variant.version}".strip(),
        "prompt": f"{row.prompt.name} {row.prompt.version}".strip(),
        "grant_id": row.grant_id,
        "group": row.group,
    }


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
