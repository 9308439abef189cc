"""`headrace erase`, `headrace erase list|show|verify`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from headrace.privacy.v1.erasure_pb2 import (
    ERASURE_STATE_CLOSED,
    ERASURE_STATE_REQUESTED,
    ERASURE_STATE_VERIFYING,
    ErasedDocument,
    Erasure,
    ErasureScope,
    ReachedModel,
)

from headrace_client.cli.console import notice, say, say_json, say_table
from headrace_client.cli.governance import connected, json_moment, moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, endpoints_from
from headrace_client.cli.running import DONE, FAILED, run
from headrace_client.client import Client
from headrace_client.erasing import ERASURE_TIMEOUT
from headrace_client.errors import NotConfigured
from headrace_client.receipts import Forged, read_keys, verify_completion, verify_receipt
from headrace_client.tiers import tier_word

erase = typer.Typer(
    invoke_without_command=True,
    help="Remove what belongs to an end user, a source or a document, everywhere, and prove it.",
)

ErasureArgument = Annotated[str, typer.Argument(metavar="ERASURE", help="The erasure's id.", show_default=False)]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to follow it; it goes on without you.")]

_STATES = {
    ERASURE_STATE_REQUESTED: "under way",
    ERASURE_STATE_VERIFYING: "reading back",
    ERASURE_STATE_CLOSED: "closed",
}


@erase.callback()
def begin(
    context: typer.Context,
    *,
    tenant: Annotated[str, typer.Option("--tenant", show_default=False, help="Whose records.")] = "",
    subject: Annotated[str, typer.Option("--subject", show_default=False, help="All of this end user's.")] = "",
    source: Annotated[
        str,
        typer.Option("--source", show_default=False, help="All documents of this source, and answers made of them."),
    ] = "",
    document: Annotated[
        str, typer.Option("--document", show_default=False, help="With --source: only this document of it.")
    ] = "",
    reason: Annotated[
        str, typer.Option("--reason", show_default=False, help="Why, for the receipt. Write no customer's text here.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask whether you mean it.")] = False,
    person: AsOption = "",
    timeout: TimeoutOption = ERASURE_TIMEOUT,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Remove what belongs to an end user, a source or a document, everywhere, and prove it. It cannot be undone.

    The keys are destroyed at once, so that nothing of it can be read from then on; then every store removes what it
    has, and reads back that nothing is left. The receipt says what was removed where.

    Example: headrace erase --tenant acme --subject user-17 --reason "Asked for by letter"
    """
    if context.invoked_subcommand is not None:
        return
    scope = _scope(tenant, subject=subject, source=source, document=document)
    if not yes:
        _ask(scope)
    run(_erase(scope, reason, person=person, timeout=timeout, stated=endpoints, as_json=as_json))


def _scope(tenant: str, *, subject: str, source: str, document: str) -> ErasureScope:
    if not tenant:
        raise typer.BadParameter("Name the tenant.", param_hint="--tenant")
    if bool(subject) == bool(source) or (document and not source):
        raise typer.BadParameter("Say one of --subject S, --source S, or --source S --document D.")
    if document:
        return ErasureScope(tenant=tenant, document=ErasedDocument(source=source, document_id=document))
    return ErasureScope(tenant=tenant, subject=subject) if subject else ErasureScope(tenant=tenant, source=source)


def _ask(scope: ErasureScope) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("It cannot be undone: say --yes where nobody can be asked.", param_hint="--yes")
    typer.confirm(f"Erase {_what(scope)} for good?", abort=True, err=True)


async def _erase(scope: ErasureScope, reason: str, *, person: str, timeout: float, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        begun = await client.erase(scope, reason=reason)
        notice(f"Erasure {begun.erasure_id}: the keys are destroyed; nothing of it can be read any more.")
        closed = await _followed(client, begun.erasure_id, timeout=timeout)
    _show(closed, as_json=as_json)
    return DONE


async def _followed(client: Client, erasure_id: str, *, timeout: float) -> Erasure:
    """Says how far it is whenever that changes."""
    erasure = Erasure()
    async for erasure in client.follow_erasure(erasure_id, timeout=timeout):
        if erasure.state != ERASURE_STATE_CLOSED:
            doing = "Removing" if erasure.state == ERASURE_STATE_REQUESTED else "Reading back"
            notice(f"{doing}, round {erasure.round}: waiting for {', '.join(erasure.waiting_for) or 'the next step'}")
    return erasure


@erase.command("list")
def list_(
    tenant: Annotated[str, typer.Option("--tenant", show_default=False, help="Whose; everybody's without it.")] = "",
    *,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List erasures, newest first.

    Example: headrace erase list --tenant acme
    """
    run(_list(tenant, person=person, stated=endpoints, as_json=as_json))


async def _list(tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        erasures = await client.erasures(tenant=tenant)
    if as_json:
        say_json({"erasures": [_json(erasure) for erasure in erasures]})
    elif erasures:
        rows = [
            [e.erasure_id, _what(e.scope), _STATES.get(e.state, ""), moment(e.requested_at), e.requested_by]
            for e in erasures
        ]
        say_table(["Erasure", "Of what", "State", "Asked for (UTC)", "By"], rows)
    else:
        notice("Nothing was ever erased.")
    return DONE


@erase.command()
def show(
    erasure: ErasureArgument,
    *,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show where an erasure stands, and its receipt once it is closed.

    Example: headrace erase show 4e1b7b7e-4c39-4b8e-9a53-0d8f0e0a6f10
    """
    run(_show_one(erasure, person=person, stated=endpoints, as_json=as_json))


async def _show_one(erasure_id: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        _show(await client.erasure(erasure_id), as_json=as_json)
    return DONE


@erase.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt, or what --json printed.", exists=True)],
    *,
    keys: Annotated[
        Path | None, typer.Option("--keys", show_default=False, help="The set of public keys that services believe.")
    ] = None,
    endpoints: EndpointsOption = "",
) -> None:
    """Verify that a receipt, and the completion that came with it, are what the classifier signed.

    The completion tells what became of the models that had learned from what was erased. What --json printed has both;
    a receipt alone says which models are still to go, as of when it was signed.

    Example: headrace erase verify receipt.json
    """
    run(_verify(file.read_text(encoding="utf-8", errors="replace"), keys, stated=endpoints))


async def _verify(content: str, keys: Path | None, *, stated: str) -> int:
    key_set = read_keys(keys or _believed(stated))
    try:
        receipt, completion = _signed_in(content)
        claims = verify_receipt(receipt, key_set)
        completed = verify_completion(completion, receipt, key_set) if completion else None
    except Forged as forged:
        notice(str(forged), style="red")
        return FAILED
    say(
        f"The classifier signed it: erasure {claims['erasure_id']} of {claims['tenant']}, closed {claims['closed_at']}."
    )
    say(*_told(claims.get("to_retrain", []), completed))
    return DONE


def _told(reached: Sequence[dict[str, str]], completed: dict[str, Any] | None) -> Iterator[str]:
    """What became of the models, as far as it is signed."""
    if completed is not None:
        yield f"It signed the completion too, {completed['completed_at']}:"
        for model in completed["models"]:
            gone = f"weights deleted {model['retired_at']}, replaced by {model['replaced_by']}"
            yield f"  {model['model']}: {gone}"
        return
    for model in reached:
        if "retired_at" in model:
            yield f"  {model['model']} learned from it: weights deleted {model['retired_at']}"
        else:
            yield f"  {model['model']} learned from it: to be retired by {model['retire_by']}; no completion is here"


def _believed(stated: str) -> Path:
    folder = endpoints_from(stated).keys
    if not folder:
        raise NotConfigured("Name the set of public keys with --keys.")
    return Path(folder) / "identities.json"


def _signed_in(content: str) -> tuple[str, str]:
    """The receipt itself, or the one in the JSON of an erasure, with its completion; "" where there is none."""
    text = content.strip()
    if not text.startswith("{"):
        return text, ""
    try:
        erasure = json.loads(text)
        return str(erasure["receipt"]), str(erasure.get("completion", ""))
    except (ValueError, KeyError):
        raise Forged("There is no receipt in it.") from None


def _show(erasure: Erasure, *, as_json: bool) -> None:
    if as_json:
        say_json(_json(erasure))
    elif erasure.receipt_text:
        say(*erasure.receipt_text.rstrip("\n").split("\n"))
    else:
        waiting = f", waiting for {', '.join(erasure.waiting_for)}" if erasure.waiting_for else ""
        state = _STATES.get(erasure.state, "")
        say(f"Erasure {erasure.erasure_id} of {_what(erasure.scope)}: {state} in round {erasure.round}{waiting}")


def _what(scope: ErasureScope) -> str:
    tenant = scope.tenant
    match scope.WhichOneof("what"):
        case "subject":
            return f"{scope.subject} of {tenant}" if scope.subject else f"an end user of {tenant}"
        case "source":
            return f"the source {scope.source} of {tenant}"
        case "document":
            return f"{scope.document.source}/{scope.document.document_id} of {tenant}"
        case _:
            before = moment(scope.expired.before)
            return f"{tier_word(scope.expired.tier)} records of {tenant} from before {before}"


def _json(erasure: Erasure) -> dict[str, Any]:
    return {
        "erasure_id": erasure.erasure_id,
        "tenant": erasure.scope.tenant,
        "what": _what(erasure.scope),
        "state": _STATES.get(erasure.state, ""),
        "round": erasure.round,
        "requested_by": erasure.requested_by,
        "requested_at": json_moment(erasure.requested_at),
        "closed_at": json_moment(erasure.closed_at),
        "waiting_for": list(erasure.waiting_for),
        "receipt": erasure.receipt,
        "receipt_text": erasure.receipt_text,
        "models": [_model_json(model) for model in erasure.models],
        "completion": erasure.completion,
    }


def _model_json(model: ReachedModel) -> dict[str, Any]:
    return {
        "model": model.model,
        "dataset_id": model.dataset_id,
        "retire_by": json_moment(model.retire_by),
        "retired_at": json_moment(model.retired_at),
        "replaced_by": model.replaced_by,
    }
