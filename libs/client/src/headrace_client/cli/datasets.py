"""`headrace datasets read`; the other verbs are in datasets_verbs.py."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from os import environ
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from headrace.feedback.v1.service_pb2 import ExportedInteraction, ExportResponse
from headrace.privacy.v1.privacy_pb2 import Purpose

from headrace_client.cli.console import notices, say, say_json, say_table
from headrace_client.cli.datasets_verbs import (
    build_command,
    diff_command,
    export_command,
    import_command,
    list_command,
    show_command,
)
from headrace_client.cli.options import (
    AsOption,
    EndpointsOption,
    JsonOption,
    TenantOption,
    TimeoutOption,
    endpoints_from,
)
from headrace_client.cli.running import DONE, run
from headrace_client.client import ANSWER_TIMEOUT, Client
from headrace_client.credentials import find_credentials
from headrace_client.tiers import tier_label

_REASONS = {
    "denied_by_policy": "the policy denies it",
    "no_grant": "no live grant covers it",
    "other_source": "not grounded in the named sources alone",
    "erased": "erased",
}
_OWNER_ONLY = 0o600

datasets = typer.Typer(no_args_is_help=True, help="Snapshots to measure and to tune with; and reading the log itself.")


class PurposeWord(StrEnum):
    """What a log may be read for."""

    EVALUATE = "evaluate"
    REVIEW = "review"
    TRAIN = "train"
    SHARE = "share"

    @property
    def wire(self) -> Purpose.ValueType:
        """The number on the wire."""
        return Purpose.Value(f"PURPOSE_{self.name}")


#: Who reads for what, where tokens are made here: the first role that the shipped policy has in mind for it.
_ROLES = {
    PurposeWord.EVALUATE: "developer",
    PurposeWord.REVIEW: "reviewer",
    PurposeWord.TRAIN: "developer",
    PurposeWord.SHARE: "privacy",
}


@dataclass(slots=True)
class Summary:
    """What came, and what was left out."""

    written: int = 0
    tiers: Counter[str] = field(default_factory=Counter)
    excluded: list[tuple[str, str, int]] = field(default_factory=list)

    def add(self, response: ExportResponse) -> None:
        """Counts one response."""
        self.written += len(response.interactions)
        self.tiers.update(tier_label(one.tier) for one in response.interactions)
        self.excluded += [(one.reason, tier_label(one.tier), one.interactions) for one in response.exclusions]


datasets.command("build")(build_command)
datasets.command("import")(import_command)
datasets.command("list")(list_command)
datasets.command("show")(show_command)
datasets.command("diff")(diff_command)
datasets.command("export")(export_command)


@datasets.command("read")
def read_command(
    *,
    tenant: TenantOption = "demo",
    purpose: Annotated[PurposeWord, typer.Option("--purpose", show_default=False, help="What it is for.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            dir_okay=False,
            show_default=False,
            help="The file to write, one JSON object a line.",
        ),
    ],
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            show_default=False,
            help="Only what is grounded in this source, or these, alone; may be given again.",
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option("--since", show_default=False, help="Only what was answered from then on (UTC)."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", show_default=False, help="Only what was answered before (UTC).")
    ] = None,
    person: AsOption = "",
    timeout: TimeoutOption = ANSWER_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read the log as it is: what a tenant's users asked and were answered, with corrections, for one purpose.

    Unlike `build` it keeps nothing and leaves nothing out but what is not allowed; unlike `export` it reads no
    snapshot, so that tomorrow it reads something else.

    Every batch is authorized by itself and put on the audit log; what the policy or the lack of a grant leaves out is
    counted. When nothing of it is allowed, or a grant ends on the way, the command leaves with 3 and writes no file.

    Example: headrace datasets read --tenant acme --purpose train --out acme.jsonl
    """
    request = {"tenant": tenant, "sources": source or [], "since": _utc(since), "until": _utc(until)}
    run(_read(purpose, request, out=out, person=person, timeout=timeout, stated=endpoints, as_json=as_json))


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None


async def _read(
    purpose: PurposeWord,
    request: dict[str, Any],
    *,
    out: Path,
    person: str,
    timeout: float,
    stated: str,
    as_json: bool,
) -> int:
    endpoints = endpoints_from(stated)
    credentials = find_credentials(environ, endpoints, person=person, role=_ROLES[purpose])
    summary = Summary()
    async with Client.connect(endpoints, credentials=credentials) as client:
        responses = client.export(purpose.wire, timeout=timeout, **request)
        with _written_whole(out) as file, _progress() as progress:
            async with aclosing(responses):
                async for response in responses:
                    file.writelines(interaction_line(one) for one in response.interactions)
                    summary.add(response)
                    progress(summary.written)
    if as_json:
        say_json(summary_json(summary, out))
    else:
        _say(summary, out)
    return DONE


@contextmanager
def _written_whole(out: Path) -> Iterator[IO[str]]:
    """A file beside it, for its owner's eyes, that takes its place once all is there, and leaves nothing otherwise."""
    part = out.with_name(f"{out.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=_OWNER_ONLY)
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Something to call with how many have come; silent where there is no terminal."""
    console = notices()
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("Reading the log") as status:
        yield lambda number: status.update(f"Reading the log: {number:,} interactions")


def interaction_line(one: ExportedInteraction) -> str:
    """One line of the file."""
    value = {
        "query_id": one.query_id,
        "tier": tier_label(one.tier),
        "question": one.question,
        "answer": one.answer,
        "correction": one.correction,
        "sources": list(one.sources),
        "grant_id": one.grant_id,
        "completed_at": one.completed_at.ToJsonString(),
    }
    return json.dumps(value, ensure_ascii=False) + "\n"


def summary_json(summary: Summary, out: Path) -> dict[str, Any]:
    """The object that `--json` prints."""
    excluded = [{"reason": reason, "tier": tier, "interactions": n} for reason, tier, n in summary.excluded]
    return {
        "out": str(out),
        "interactions": summary.written,
        "tiers": dict(sorted(summary.tiers.items())),
        "excluded": excluded,
    }


def _say(summary: Summary, out: Path) -> None:
    say(f"{summary.written:,} interaction{'' if summary.written == 1 else 's'} in {out}.")
    if summary.excluded:
        say("", "Left out:")
        rows = [[_REASONS.get(why, why), tier.replace("_", "-"), f"{n:,}"] for why, tier, n in summary.excluded]
        say_table(["Why", "Tier", "Interactions"], rows)
