"""`headrace datasets build|import|list|show|diff|export`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import ParseDict, ParseError
from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2 import Dataset, DatasetQuery, DatasetRow, ScoreBound
from headrace.privacy.v1.privacy_pb2 import Purpose, Tier
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from headrace_client.cli.console import notices, say, say_json, say_table
from headrace_client.cli.datasets_export import written_whole
from headrace_client.cli.datasets_words import COLUMNS, SHORT, dataset_json, describe, exclusion_rows, table_row
from headrace_client.cli.governance import connected
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.running import DONE, run
from headrace_client.tiers import CHOICES, parse_tier

_ROLE = "developer"
_SHOWN = 20


class BuildPurpose(StrEnum):
    """What a snapshot may be for."""

    EVALUATE = "evaluate"
    TRAIN = "train"
    SHARE = "share"


class Form(StrEnum):
    """How an export is written."""

    PARQUET = "parquet"
    JSONL = "jsonl"


class Side(StrEnum):
    """Which side of the split."""

    BOTH = "both"
    TRAIN = "train"
    TEST = "test"


def _tier(word: str) -> str:
    try:
        parse_tier(word)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None
    return word


def _several(flag: str, what: str) -> Any:
    return typer.Option(flag, show_default=False, help=f"{what}; may be given again.")


DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="A name, an id, or the first 8 or more of its digits.")
]
TierOption = Annotated[
    str,
    typer.Option(
        "--tier",
        callback=_tier,
        metavar="|".join(CHOICES),
        show_default=False,
        help="What the rows' tier is at least; tier-2 when left out.",
    ),
]


def build_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The series that the snapshot belongs to.")],
    *,
    tenant: TenantOption = "demo",
    purpose: Annotated[BuildPurpose, typer.Option("--purpose", show_default=False, help="What it is for.")],
    kind: Annotated[list[str] | None, _several("--kind", "Only this kind of query")] = None,
    source: Annotated[list[str] | None, _several("--source", "Only what is grounded in these sources alone")] = None,
    product: Annotated[list[str] | None, _several("--product", "Only this product's")] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", show_default=False, help="Only what was answered from then on (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", show_default=False, help="Only what was answered before (UTC).")
    ] = None,
    max_tier: Annotated[
        str,
        typer.Option(
            "--max-tier",
            callback=_tier,
            metavar="|".join(CHOICES),
            show_default=False,
            help="Nothing stricter; all that grants cover when left out.",
        ),
    ] = "",
    least: Annotated[
        list[str] | None,
        typer.Option(
            "--least",
            metavar="EVALUATOR=VALUE",
            show_default=False,
            help="Only what reaches this score; may be given again.",
        ),
    ] = None,
    approved: Annotated[bool, typer.Option("--approved", help="Only what people were content with.")] = False,
    corrected: Annotated[bool, typer.Option("--corrected", help="Only what somebody corrected.")] = False,
    near_duplicates: Annotated[
        float, typer.Option("--near-duplicates", help="Questions as alike as this are one; above 1: keep all.")
    ] = 0.8,
    most_a_kind: Annotated[
        int, typer.Option("--most-a-kind", min=0, help="At most so many rows of each kind; 0: all.")
    ] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many rows; 0: 100,000.")] = 0,
    test_share: Annotated[
        float, typer.Option("--test-share", min=0, max=0.9, help="The share of the rows that is held out.")
    ] = 0.2,
    without_subject: Annotated[
        list[str] | None, _several("--without-subject", "Leave out what this end user asked")
    ] = None,
    document_source: Annotated[
        list[str] | None, _several("--documents", "Rows of this source's documents too, to train on")
    ] = None,
    documents_only: Annotated[
        bool, typer.Option("--documents-only", help="Rows of documents alone, for continued pre-training.")
    ] = False,
    kind_stated: Annotated[
        bool, typer.Option("--kind-stated", help="Only what reviewers named the kind of, however it was answered.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For the same split and sample again.")] = 0,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Build a snapshot of what a tenant's users asked and were answered, and of documents.

    Each row needs the policy's leave, or a grant; what is left out is counted by reason. Rows of one conversation, or
    that cite one document, are on one side of the split. The snapshot never changes; its id is the hash of its content.

    Example: headrace datasets build support --tenant acme --purpose train --approved
    """
    query = DatasetQuery(
        purpose=Purpose.Value(f"PURPOSE_{purpose.name}"),
        kinds=kind or [],
        sources=source or [],
        products=product or [],
        max_tier=_max_tier(max_tier),
        scores=map(_bound, least or []),
        approved_only=approved,
        corrected_only=corrected,
        near_duplicates=near_duplicates,
        most_a_kind=most_a_kind,
        limit=limit,
        test_share=test_share,
        without_subjects=without_subject or [],
        document_sources=document_source or [],
        documents_only=documents_only,
        kind_stated_only=kind_stated,
    )
    for field, moment in (("since", since), ("until", until)):
        if moment is not None:
            getattr(query, field).FromDatetime(moment.replace(tzinfo=UTC))
    request = datasets_pb2.BuildDatasetRequest(tenant=tenant, name=name, query=query, seed=seed)
    run(_build(request, person=person, stated=endpoints, as_json=as_json))


def _max_tier(word: str) -> Tier.ValueType:
    return parse_tier(word)


def _bound(word: str) -> ScoreBound:
    evaluator, _, value = word.partition("=")
    try:
        return ScoreBound(evaluator=evaluator, least=float(value))
    except ValueError:
        raise typer.BadParameter(f"{word!r} is no bound; say groundedness=0.8.") from None


async def _build(request: datasets_pb2.BuildDatasetRequest, *, person: str, stated: str, as_json: bool) -> int:
    built = Dataset()
    async with connected(stated, person=person, role=_ROLE) as client:
        with _progress("Reading the log") as progress:
            async with aclosing(client.build_dataset(request)) as responses:
                async for response in responses:
                    progress(response.done, response.total)
                    built = response.dataset
    _tell(built, as_json=as_json)
    return DONE


def import_command(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help='One JSON object a line: "question", "answer", …')
    ],
    *,
    name: Annotated[str, typer.Option("--name", show_default=False, help="The series that the snapshot belongs to.")],
    tenant: TenantOption = "demo",
    tier: TierOption = "",
    test_share: Annotated[
        float, typer.Option("--test-share", min=0, max=0.9, help="The share held out where rows don't say.")
    ] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="For the same split again.")] = 0,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Store rows with known answers, to measure against.

    A line has "question", and "answer", "key_facts" (regular expressions that an answer must match) or "unanswerable";
    besides "row_id", "kind", "documents" ("source/document"), "split" ("train", "test"), "tier" and "group". Secrets
    are masked, and the tier is what is declared or what is found, the stricter.

    Example: headrace datasets import questions.jsonl --name known --tier public
    """
    rows = [_row(line, number) for number, line in enumerate(_lines(file), start=1) if line.strip()]
    request = datasets_pb2.ImportDatasetRequest(
        tenant=tenant, name=name, rows=rows, test_share=test_share, seed=seed, declared_tier=parse_tier(tier)
    )
    run(_import(request, person=person, stated=endpoints, as_json=as_json))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not UTF-8.") from None


def _row(line: str, number: int) -> DatasetRow:
    try:
        value = json.loads(line)
        if "split" in value:
            value["split"] = f"SPLIT_{value['split'].upper()}"
        if "tier" in value:
            value["tier"] = parse_tier(value["tier"])
        return ParseDict(value, DatasetRow())
    except (ValueError, ParseError, TypeError, AttributeError):
        raise typer.BadParameter(f"line {number} is no row: see headrace datasets import --help.") from None


async def _import(request: datasets_pb2.ImportDatasetRequest, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        done = await client.import_dataset(request)
    _tell(done.dataset, as_json=as_json)
    return DONE


def list_command(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only this series.")] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List a tenant's snapshots, newest first, and whether each may be used."""
    run(_list(name, tenant, person=person, stated=endpoints, as_json=as_json))


async def _list(name: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.datasets(tenant=tenant, name=name)
    if as_json:
        say_json({"datasets": [dataset_json(one) for one in found]})
    elif found:
        say_table(COLUMNS, [table_row(one) for one in found])
    else:
        say("There are none. Build one: headrace datasets build NAME --purpose evaluate")
    return DONE


def show_command(
    dataset: DatasetArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what a snapshot is like, what it stands on and what was left out. No text."""
    run(_show(dataset, tenant, person=person, stated=endpoints, as_json=as_json))


async def _show(dataset: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        _tell(await client.dataset(dataset, tenant=tenant), as_json=as_json)
    return DONE


def diff_command(
    before: DatasetArgument,
    after: DatasetArgument,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show what two snapshots have in common: rows, kinds, tiers, vocabulary. No text."""
    run(_diff(before, after, tenant, person=person, stated=endpoints, as_json=as_json))


async def _diff(before: str, after: str, tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        diff = await client.diff_datasets(before, after, tenant=tenant)
    sides = {"added": list(diff.added), "removed": list(diff.removed), "changed": list(diff.changed)}
    if as_json:
        ends = {"before": dataset_json(diff.before), "after": dataset_json(diff.after)}
        say_json({**ends, "kept": diff.kept, **sides})
        return DONE
    say_table(["", *COLUMNS], [["before", *table_row(diff.before)], ["after", *table_row(diff.after)]])
    say("", f"{diff.kept:,} rows in both, {len(diff.changed):,} of them changed.")
    words = diff.after.card.vocabulary - diff.before.card.vocabulary
    say(f"{len(diff.added):,} added, {len(diff.removed):,} removed; {words:+,} different words.")
    for what, rows in sides.items():
        if rows:
            more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
            say(f"{what}: {', '.join(rows[:_SHOWN])}{more}")
    return DONE


def export_command(
    dataset: DatasetArgument,
    *,
    out: Annotated[Path, typer.Option("--out", file_okay=False, show_default=False, help="The folder to write.")],
    form: Annotated[Form, typer.Option("--format", help="How rows are written.")] = Form.PARQUET,
    split: Annotated[Side, typer.Option("--split", help="Which side.")] = Side.BOTH,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write a snapshot's rows in the clear, as a folder that Hugging Face `datasets.load_dataset` loads.

    Every batch is authorized by itself, for what the snapshot was built for, and that you took a copy is written down.
    When a grant ends on the way, the command leaves with 3 and writes nothing.

    Example: headrace datasets export support --tenant acme --out ./support
    """
    run(_export(dataset, tenant, out, form, split, person=person, stated=endpoints, as_json=as_json))


async def _export(
    dataset: str, tenant: str, out: Path, form: Form, side: Side, *, person: str, stated: str, as_json: bool
) -> int:
    split = datasets_pb2.Split.Value("SPLIT_UNSPECIFIED" if side is Side.BOTH else f"SPLIT_{side.name}")
    read, described = 0, Dataset()
    async with connected(stated, person=person, role=_ROLE) as client:
        responses = client.read_dataset(dataset, tenant=tenant, split=split)
        with written_whole(out, form.value) as folder, _progress("Reading the rows") as progress:
            async with aclosing(responses):
                async for response in responses:
                    if response.HasField("dataset"):
                        described = response.dataset
                    folder.add(response.rows)
                    progress(read := read + len(response.rows), described.rows)
            folder.describe(described)
    if as_json:
        say_json({"out": str(out), "dataset_id": described.dataset_id, "rows": folder.rows})
    else:
        say(f"{read:,} row{'' if read == 1 else 's'} of {described.name} {described.dataset_id[:SHORT]} in {out}.")
        say("This copy is in the clear and out of Headrace's hands; README.md says when to delete it.")
    return DONE


def _tell(one: Dataset, *, as_json: bool) -> None:
    if as_json:
        say_json(dataset_json(one))
        return
    say(*describe(one))
    if one.exclusions:
        say("", "Left out:")
        say_table(["Why", "Tier", "Rows"], exclusion_rows(one))


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Something to call with how far it is; silent where there is no terminal."""
    console = notices()
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
