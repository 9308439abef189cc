"""`headrace documents put|delete|list`."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from headrace.document.v1 import service_pb2 as wire
from headrace.training.v1.service_pb2 import StartTrainingRequest
from headrace.training.v1.training_pb2 import CAUSE_STEWARD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from headrace_client.cli.console import notice, notices, say, say_json, say_table
from headrace_client.cli.options import (
    EndpointsOption,
    JsonOption,
    TenantOption,
    TierOption,
    TimeoutOption,
    endpoints_from,
)
from headrace_client.cli.running import DONE, FAILED, run
from headrace_client.client import ANSWER_TIMEOUT, CALL_TIMEOUT, Client
from headrace_client.errors import Conflict, DeadLettered, Overloaded, Refused, TimedOut, Unavailable
from headrace_client.scanning import Found, Skipped, read, scan
from headrace_client.tiers import parse_tier, tier_label

#: Puts in flight at once: the embedder works in batches.
_IN_FLIGHT = 8

#: Of the documents behind a run, so many are named.
_NAMED = 100

#: Seconds to wait before a put is tried again, when too much is queued or a part is away for a moment.
_RETRY_PAUSES = (0.5, 1.0, 2.0, 4.0)

#: What concerns one file; anything else (nobody there, forbidden) concerns them all and ends the command.
_OF_ONE_FILE = (Refused, TimedOut, Conflict, DeadLettered, Overloaded, Unavailable)

documents = typer.Typer(
    no_args_is_help=True, help="Put, remove and list the documents that ground the answers, source by source."
)

#: Takes each file's line as it comes.
Progressed = Callable[[str], None]

RefreshOption = Annotated[
    bool,
    typer.Option(
        "--refresh", help="Have the model learn anew from what is asked about the changed documents, by and by."
    ),
]
SourceArgument = Annotated[str, typer.Argument(help="The source.", show_default=False)]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file. `outcome` is indexed, unchanged, submitted, skipped or failed."""

    path: str
    document: str
    outcome: str
    reason: str = ""
    version: int = 0
    tier: str = ""
    chunks: int = 0
    trace_id: str = ""

    @property
    def line(self) -> str:
        """The result for people."""
        facts = [self.reason] if self.reason else []
        if self.chunks:
            facts.append(f"{self.chunks} chunk{'' if self.chunks == 1 else 's'}")
        if self.tier:
            facts.append(self.tier.replace("_", "-"))
        return f"{self.outcome:<9}  {self.document or self.path}" + (f"  ({', '.join(facts)})" if facts else "")


@documents.command()
def put(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, and folders with all that is in them.", show_default=False)
    ],
    *,
    source: Annotated[
        str,
        typer.Option(
            "--source", show_default=False, help="The source that the documents belong to: a-z, 0-9, _ and -."
        ),
    ],
    refresh: RefreshOption = False,
    tenant: TenantOption = "demo",
    tier: TierOption = "",
    timeout: TimeoutOption = ANSWER_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put files in place: Markdown, text, HTML, PDF and DOCX, each up to 4 MiB.

    A document's id is its path below the folder that you name, so putting a folder again updates what changed and
    leaves the rest alone. Each file is answered once every search sees it. The command says what it skipped and why,
    and fails when a file could not be put.

    Example: headrace documents put handbook --source handbook --tier tier-1
    """
    missing = [str(path) for path in paths if not path.exists() and not path.is_symlink()]
    if missing:
        raise typer.BadParameter(f"There is no {' nor '.join(missing)} here.", param_hint="PATHS")
    request = wire.PutRequest(tenant=tenant, source=source, declared_tier=parse_tier(tier))
    run(_put(paths, request, refresh=refresh, timeout=timeout, stated=endpoints, as_json=as_json))


async def _put(
    paths: list[Path], request: wire.PutRequest, *, refresh: bool, timeout: float, stated: str, as_json: bool
) -> int:
    found = await asyncio.to_thread(lambda: list(scan(paths)))
    counts: Counter[str] = Counter()
    changed: list[str] = []
    async with Client.connect(endpoints_from(stated)) as client:
        with _progress(len(found), quiet=as_json) as progress:
            async for result in _in_parallel(client, found, request, timeout):
                counts[result.outcome] += 1
                changed += [result.document] if result.outcome == "indexed" else []
                if as_json:
                    say_json(asdict(result))
                progress(result.line)
        if refresh:
            await _refresh(client, request.tenant, request.source, changed, as_json=as_json)
    if not as_json:
        say(f"{sum(counts.values())} files in {request.source}: {_summary(counts)}.")
    return FAILED if counts["failed"] or not set(counts) - {"skipped"} else DONE


async def _refresh(client: Client, tenant: str, source: str, changed: list[str], *, as_json: bool) -> None:
    """Asks for a run on behalf of a steward; of many documents it names the first. Without a change there is none."""
    if not changed:
        notice("No document has changed, so there is nothing to learn anew.")
        return
    because = [f"document {source}/{document}" for document in changed[:_NAMED]]
    request = StartTrainingRequest(tenant=tenant, cause=CAUSE_STEWARD, because=because)
    response = await client.start_training(request)
    if as_json:
        say_json({"run": response.run.run_id, "created": response.created})
    else:
        word = "A run was asked for" if response.created else "It goes along with the run that waits"
        notice(f"{word}: headrace train watch {response.run.run_id} --tenant {tenant}")


def _summary(counts: Counter[str]) -> str:
    order = ("indexed", "unchanged", "submitted", "skipped", "failed")
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in order if counts[outcome]) or "nothing to put"


async def _in_parallel(
    client: Client, found: list[Found | Skipped], request: wire.PutRequest, timeout: float
) -> AsyncIterator[FileResult]:
    """Yields each file's result as it comes."""
    waiting = iter(found)
    running: set[asyncio.Task[FileResult]] = set()
    try:
        while True:
            for item in waiting:
                running.add(asyncio.create_task(_one(client, item, request, timeout)))
                if len(running) >= _IN_FLIGHT:
                    break
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()


async def _one(client: Client, item: Found | Skipped, request: wire.PutRequest, timeout: float) -> FileResult:
    if isinstance(item, Skipped):
        return _skipped(item)
    data = await asyncio.to_thread(read, item)
    if isinstance(data, Skipped):
        return _skipped(data)
    try:
        response = await _patiently(client, item, data, request, timeout)
    except _OF_ONE_FILE as error:
        return FileResult(str(item.path), item.document_id, "failed", reason=" ".join(str(error).split()))
    return FileResult(
        path=str(item.path),
        document=item.document_id,
        outcome=wire.Outcome.Name(response.outcome).removeprefix("OUTCOME_").lower(),
        version=response.document.version,
        tier=tier_label(response.tier),
        chunks=response.chunks,
        trace_id=response.trace_id,
    )


def _skipped(item: Skipped) -> FileResult:
    return FileResult(str(item.path), "", "skipped", reason=item.reason)


async def _patiently(
    client: Client, item: Found, data: bytes, request: wire.PutRequest, timeout: float
) -> wire.PutResponse:
    """A put of the same content again does nothing, so it may be tried again."""
    for pause in (*_RETRY_PAUSES, None):
        try:
            return await client.put_document(
                data,
                tenant=request.tenant,
                source=request.source,
                document_id=item.document_id,
                media_type=item.media_type,
                declared_tier=request.declared_tier,
                timeout=timeout,
            )
        except (Overloaded, Unavailable):
            if pause is None:
                raise
            await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Progressed]:
    """Something to call with each file's line: it draws a bar on a terminal, and writes plain lines elsewhere."""
    console = notices()
    if quiet:
        yield lambda _: None
    elif console.is_terminal and sys.stdout.isatty():
        with _bar(console, total) as advance:
            yield advance
    else:
        yield say


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Progressed]:
    columns = (TextColumn("Putting documents"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)

        def advance(line: str) -> None:
            bar.console.print(line)
            bar.advance(task)

        yield advance


@documents.command()
def delete(
    source: SourceArgument,
    document: Annotated[
        str, typer.Argument(help="The document's id, as `documents list` prints it.", show_default=False)
    ],
    *,
    refresh: RefreshOption = False,
    tenant: TenantOption = "demo",
    timeout: TimeoutOption = ANSWER_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove a document. Once this returns, no search finds it.

    Example: headrace documents delete handbook travel/expenses.md
    """
    run(_delete(source, document, refresh=refresh, tenant=tenant, timeout=timeout, stated=endpoints, as_json=as_json))


async def _delete(
    source: str, document: str, *, refresh: bool, tenant: str, timeout: float, stated: str, as_json: bool
) -> int:
    async with Client.connect(endpoints_from(stated)) as client:
        response = await client.delete_document(document, tenant=tenant, source=source, timeout=timeout)
        outcome = wire.Outcome.Name(response.outcome).removeprefix("OUTCOME_").lower()
        if refresh:
            changed = [document] if outcome == "deleted" else []
            await _refresh(client, tenant, source, changed, as_json=as_json)
    if as_json:
        version, trace_id = response.document.version, response.trace_id
        say_json({"source": source, "document": document, "outcome": outcome, "version": version, "trace_id": trace_id})
    else:
        was = {"deleted": "is gone from every search", "unchanged": "was gone from every search already"}
        say(f"{document} {was.get(outcome, outcome)}.")
    return DONE


@documents.command("list")
def list_(
    source: Annotated[str, typer.Argument(help="List this source's documents.", show_default=False)] = "",
    tenant: TenantOption = "demo",
    timeout: TimeoutOption = CALL_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the sources, or the documents of one.

    Example: headrace documents list handbook
    """
    if source:
        rows, nothing = _list_documents(source, tenant, timeout, endpoints), f"{tenant} has no documents in {source}."
    else:
        rows, nothing = _list_sources(tenant, timeout, endpoints), f"{tenant} has no sources."
    run(_listed(rows, as_json=as_json, nothing=nothing))


Row = dict[str, str | int]


async def _listed(rows: AsyncIterator[Row], *, as_json: bool, nothing: str) -> int:
    listed = [row async for row in rows]
    if as_json:
        for row in listed:
            say_json(row)
    elif listed:
        say_table([name.capitalize() for name in listed[0]], [list(map(str, row.values())) for row in listed])
    else:
        say(nothing)
    return DONE


async def _list_sources(tenant: str, timeout: float, stated: str) -> AsyncIterator[Row]:
    async with Client.connect(endpoints_from(stated)) as client:
        for source in await client.sources(tenant=tenant, timeout=timeout):
            yield {
                "source": source.name,
                "tier": tier_label(source.tier),
                "documents": source.documents,
                "chunks": source.chunks,
                "changed": source.changed_at.ToJsonString(),
            }


async def _list_documents(source: str, tenant: str, timeout: float, stated: str) -> AsyncIterator[Row]:
    async with Client.connect(endpoints_from(stated)) as client:
        async for item in client.source(source, tenant=tenant, timeout=timeout):
            yield {
                "document": item.document.document_id,
                "title": item.document.title,
                "version": item.document.version,
                "tier": tier_label(item.tier),
                "state": wire.DocumentState.Name(item.state).removeprefix("DOCUMENT_STATE_").lower().replace("_", "-"),
                "chunks": item.chunks,
                "changed": item.changed_at.ToJsonString(),
            }
