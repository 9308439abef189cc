"""The manifest: a line for the snapshot, a line for each row. Its hash is the snapshot's name. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from headrace_privacy.policy import Purpose

from headrace_feedback.datasets.snapshots import Card, Row, Snapshot, Split

FORMAT = 1


def manifest_of(rows: Sequence[Row], *, tenant: str, name: str, purpose: Purpose) -> bytes:
    """Writes it: JSON lines, keys sorted, so that the same rows give the same bytes."""
    head = {"format": FORMAT, "tenant": tenant, "name": name, "purpose": purpose.label}
    return b"".join(_line(one) for one in [head, *map(_row, rows)])


def id_of(manifest: bytes) -> str:
    """The snapshot's name: 64 hex digits."""
    return hashlib.sha256(manifest).hexdigest()


def _line(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _row(row: Row) -> dict[str, object]:
    # Said where it is so, and only there: snapshots of other rows keep the names that they had.
    stated = {"kind_stated": True} if row.kind_stated else {}
    return stated | {
        "row_id": row.row_id,
        "split": row.split.name.lower(),
        "kind": row.kind,
        "tier": row.tier.label,
        "grant": row.grant_id,
        "group": row.group,
        "corrected": row.corrected,
        "sources": row.sources,
        "documents": row.documents,
        "variant": [row.variant.name, row.variant.version],
        "prompt": [row.prompt.name, row.prompt.version],
        "completed_at": row.completed_at.isoformat(),
        "content": row.content_hash.hex(),
    }


def contents_of(manifest: bytes) -> dict[str, str]:
    """Reads back each row's keyed content hash, by id."""
    lines = [json.loads(line) for line in manifest.splitlines()[1:]]
    return {line["row_id"]: line["content"] for line in lines}


def card_of(rows: Sequence[Row], *, vocabulary: int, words: int) -> Card:
    """Counts what rows are like. A passage of a document has no question, no answer and no time."""
    asked = [row for row in rows if not row.is_passage]
    return Card(
        vocabulary=vocabulary,
        words=words,
        question_characters=_median(row.question_characters for row in asked),
        answer_characters=_median(row.answer_characters for row in asked),
        corrected=sum(row.corrected for row in rows),
        conversations=len({row.conversation for row in rows if row.conversation}),
        documents=len({document for row in rows for document in row.documents}),
        earliest=min((row.completed_at for row in asked), default=None),
        latest=max((row.completed_at for row in asked), default=None),
        variants=_counted(f"{row.variant.name} {row.variant.version}" for row in rows if row.variant.name),
        prompts=_counted(f"{row.prompt.name} {row.prompt.version}" for row in rows if row.prompt.name),
        kinds_stated=sum(row.kind_stated for row in rows),
    )


def _median(numbers: Iterable[int]) -> float:
    found = list(numbers)
    return float(median(found)) if found else 0.0


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def counts_of(rows: Sequence[Row]) -> tuple[dict[str, int], dict[str, int], int]:
    """Rows by kind, rows by tier, and how many are held out."""
    held_out = sum(row.split is Split.TEST for row in rows)
    return _counted(row.kind for row in rows), _counted(row.tier.label for row in rows), held_out


def card_json(snapshot: Snapshot) -> bytes:
    """The card for programs."""
    card = snapshot.card
    value = {
        "dataset_id": snapshot.dataset_id,
        "name": snapshot.name,
        "purpose": snapshot.purpose.label,
        "rows": snapshot.rows,
        "test_rows": snapshot.test_rows,
        "tier": snapshot.tier.label,
        "kinds": dict(snapshot.kinds),
        "tiers": dict(snapshot.tiers),
        "grants": snapshot.grants,
        "policy_version": snapshot.policy_version,
        "exclusions": [[one.reason, one.tier.label, one.rows] for one in snapshot.exclusions],
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
    }
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def card_markdown(snapshot: Snapshot) -> bytes:
    """The card for people."""
    card = snapshot.card
    lines = [
        f"# {snapshot.name}",
        "",
        f"{snapshot.rows:,} rows to {snapshot.purpose.label}, {snapshot.test_rows:,} of them held out.",
        f"Strictest tier: {snapshot.tier.label}. Policy {snapshot.policy_version}.",
        "",
        "The rows rest sealed under the keys of those whose they are: read them with `headrace datasets export`.",
        "",
        f"- vocabulary: {card.vocabulary:,} different words of {card.words:,}",
        f"- median length: question {card.question_characters:.0f}, answer {card.answer_characters:.0f} characters",
        f"- corrected: {card.corrected:,}; conversations: {card.conversations:,}; documents: {card.documents:,}",
        f"- kinds: {_listed(snapshot.kinds.items())}; stated by people: {card.kinds_stated:,}",
        f"- tiers: {_listed(snapshot.tiers.items())}",
        f"- grants: {', '.join(snapshot.grants) or 'none'}",
        f"- left out: {_listed((f'{one.reason} ({one.tier.label})', one.rows) for one in snapshot.exclusions)}",
        "",
    ]
    return "\n".join(lines).encode()


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts) or "none"
