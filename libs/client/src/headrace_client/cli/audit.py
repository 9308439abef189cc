"""`headrace audit show|verify`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Annotated, Any

import typer
from headrace.privacy.v1.audit_pb2 import AuditEntry, VerifyEntriesResponse

from headrace_client.cli.console import notice, say, say_json
from headrace_client.cli.governance import connected, doing, purpose_word
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption
from headrace_client.cli.running import DONE, FAILED, run
from headrace_client.tiers import tier_label, tier_word

audit = typer.Typer(
    no_args_is_help=True, help="Read the log of who decided what and who read what, and check that nobody changed it."
)


@audit.command()
def show(
    *,
    tenant: Annotated[str, typer.Option("--tenant", show_default=False, help="Only what is about this tenant.")] = "",
    last: Annotated[int, typer.Option("--last", min=0, help="How many, the newest ones; 0 shows all.")] = 20,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the log, oldest first, as sentences. Times are UTC.

    Example: headrace audit show --tenant acme --last 50
    """
    run(_show(tenant, last, person=person, stated=endpoints, as_json=as_json))


@audit.command()
def verify(
    *,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Recompute the whole log and compare it with its signed checkpoints and seals.

    Finds what was edited, removed, reordered or cut off, and what of these is forged or gone. Leaves with 1 when it
    finds anything.
    """
    run(_verify(person=person, stated=endpoints, as_json=as_json))


async def _show(tenant: str, last: int, *, person: str, stated: str, as_json: bool) -> int:
    shown = 0
    async with connected(stated, person=person) as client:
        async for entry in client.audit_entries(tenant=tenant, last=last):
            shown += 1
            if as_json:
                say_json(_json(entry))
            else:
                say(f"{entry.recorded_at.ToDatetime(UTC):%Y-%m-%d %H:%M:%S}  {sentence(entry)}")
    if not shown and not as_json:
        say("Nothing is recorded.")
    return DONE


async def _verify(*, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        report = await client.verify_audit()
    if as_json:
        say_json(_report_json(report))
    elif report.faults:
        for fault in report.faults:
            notice(f"{fault.kind.replace('_', ' ')}: {fault.description}", style="red")
        notice(f"{len(report.faults)} faults in {report.entries} rows and {report.checkpoints} checkpoints.")
    else:
        say(f"Nothing is wrong: {report.entries} rows, {report.checkpoints} checkpoints, head {report.head[:16]}.")
    return FAILED if report.faults else DONE


def sentence(entry: AuditEntry) -> str:
    """One row in words."""
    tell = _SENTENCES.get(entry.action, _plain)
    return f"{_who(entry)} {tell(entry)}".rstrip(" :,") if entry.action != "policy.loaded" else _policy(entry)


def _who(entry: AuditEntry) -> str:
    return f"{entry.actor or 'somebody'} ({entry.role})"


def _scope(entry: AuditEntry) -> str:
    tier = f" {tier_word(entry.tier)}" if entry.tier else ""
    return f"{doing(entry.purpose)} {entry.tenant}'s{tier} records"


def _records(entry: AuditEntry) -> str:
    number = len(entry.records)
    tier = f"{tier_word(entry.tier)} " if entry.tier else ""
    why = f" to {purpose_word(entry.purpose)}" if entry.purpose else ""
    return f"{number} {tier}record{'' if number == 1 else 's'} of {entry.tenant}{why}"


def _granting(verb: str) -> Callable[[AuditEntry], str]:
    return lambda entry: f"{verb} grant {entry.object[:8]}: {_scope(entry)} {entry.reason}"


def _read(entry: AuditEntry) -> str:
    return f"read {_records(entry)}: {entry.reason}"


def _not_read(entry: AuditEntry) -> str:
    return f"was refused {_records(entry)}: {entry.reason}"


def _denied(entry: AuditEntry) -> str:
    if entry.object == "several":
        return f"refused {entry.reason}"
    if "/" in entry.object:
        method = entry.object.rpartition(".")[2]
        speaking = f", speaking for {entry.tenant}" if entry.tenant else ""
        return f"was refused {method}{speaking}: {entry.reason}"
    about = f" (grant {entry.object[:8]})" if entry.object else ""
    return f"was refused{about}: {entry.reason}"


def _changing(what: str) -> Callable[[AuditEntry], str]:
    return lambda entry: f"changed {entry.tenant}'s {what} {entry.object}: {entry.reason}"


def _model(told: str) -> Callable[[AuditEntry], str]:
    return lambda entry: f"{told.format(model=entry.object, tenant=entry.tenant)}: {entry.reason}"


def _condemned(entry: AuditEntry) -> str:
    erasures = ", ".join(erasure[:8] for erasure in entry.records)
    behind = f" (erasure {erasures})" if erasures else ""
    return f"condemned model {entry.object} of {entry.tenant}: {entry.reason}{behind}"


def _kind_word(kind: str) -> str:
    return "all other queries" if kind == "*" else f"{kind} queries"


def _policy(entry: AuditEntry) -> str:
    return f"policy {entry.policy_version} came into force (sha256 {entry.object[:12]}…)"


def _plain(entry: AuditEntry) -> str:
    """What has no sentence of its own: its word, whose and what, and why."""
    whose = f" of {entry.tenant}" if entry.tenant else ""
    what = f" {entry.object}" if entry.object else ""
    return f"{entry.action.replace('.', ' ')}{what}{whose}: {entry.reason}"


_SENTENCES: dict[str, Callable[[AuditEntry], str]] = {
    "grant.requested": _granting("asked for"),
    "grant.approved": _granting("approved"),
    "grant.refused": _granting("refused"),
    "grant.revoked": _granting("revoked"),
    "read.allowed": _read,
    "read.denied": _not_read,
    "access.denied": _denied,
    "tier.decided": lambda entry: f"decided for {entry.tenant}: {entry.reason}",
    "dictionary.changed": lambda entry: f"changed the dictionary of {entry.tenant}: {entry.reason}",
    "key.rotated": lambda entry: f"replaced the master key: {entry.reason}",
    "erasure.requested": lambda entry: f"asked for erasure {entry.object[:8]} of {entry.tenant}: {entry.reason}",
    "prompt.changed": _changing("prompt"),
    "label.moved": lambda entry: f"moved a label of {entry.tenant}'s prompt {entry.object}: {entry.reason}",
    "variant.changed": _changing("variant"),
    "route.changed": lambda entry: f"changed who answers {_kind_word(entry.object)} of {entry.tenant}: {entry.reason}",
    "kinds.changed": lambda entry: f"changed {entry.tenant}'s kinds of query: {entry.reason}",
    "erasure.closed": lambda entry: f"closed erasure {entry.object[:8]} of {entry.tenant}: {entry.reason}",
    "erasure.completed": lambda entry: (
        f"completed erasure {entry.object[:8]} of {entry.tenant}, {entry.reason}: no model that learned from it is left"
    ),
    "model.registered": _model("registered model {model} of {tenant}"),
    "model.tried": _model("let model {model} answer a share of {tenant}'s queries"),
    "model.promoted": _model("had model {model} answer {tenant}'s queries"),
    "model.withdrawn": _model("took model {model} out of {tenant}'s answers"),
    "model.retired": _model("retired model {model} of {tenant}"),
    "model.deleted": _model("deleted the weights of model {model} of {tenant}"),
    "model.condemned": _condemned,
}


def _json(entry: AuditEntry) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "recorded_at": entry.recorded_at.ToJsonString(),
        "action": entry.action,
        "role": entry.role,
        "actor": entry.actor,
        "tenant": entry.tenant,
        "purpose": purpose_word(entry.purpose),
        "tier": tier_label(entry.tier),
        "object": entry.object,
        "records": list(entry.records),
        "reason": entry.reason,
        "policy_version": entry.policy_version,
        "trace_id": entry.trace_id,
        "hash": entry.hash,
    }


def _report_json(report: VerifyEntriesResponse) -> dict[str, Any]:
    return {
        "entries": report.entries,
        "checkpoints": report.checkpoints,
        "head": report.head,
        "faults": [
            {"sequence": fault.sequence, "kind": fault.kind, "description": fault.description}
            for fault in report.faults
        ],
    }
