"""`headrace approvals request|list|show|decide|revoke`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from headrace.privacy.v1 import approvals_pb2
from headrace.privacy.v1.approvals_pb2 import Grant, GrantState

from headrace_client.cli.console import notice, say, say_json, say_table
from headrace_client.cli.governance import (
    PURPOSES,
    ActingRoleOption,
    PurposeOption,
    connected,
    doing,
    json_moment,
    moment,
    parse_moment,
    purpose_word,
)
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TierOption
from headrace_client.cli.running import DONE, REFUSED_BY_POLICY, run
from headrace_client.errors import Conflict
from headrace_client.tiers import parse_tier, tier_label, tier_word

approvals = typer.Typer(
    no_args_is_help=True,
    help="Ask for leave to use customers' data, and decide who gets it: for one purpose, one tenant, until a day, "
    "by two people.",
)

GrantArgument = Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id.", show_default=False)]
NoteOption = Annotated[str, typer.Option("--note", show_default=False, help="Why, for whoever reads it later.")]
_TenantOption = Annotated[str, typer.Option("--tenant", show_default=False, help="Whose records.")]


class StateWord(StrEnum):
    """Where a grant stands."""

    REQUESTED = "requested"
    LIVE = "live"
    REFUSED = "refused"
    EXPIRED = "expired"
    REVOKED = "revoked"


@approvals.command()
def request(
    tenant: _TenantOption,
    purpose: PurposeOption,
    reason: Annotated[
        str, typer.Option("--reason", show_default=False, help="Why it is needed. Write no customer's text here.")
    ],
    *,
    sources: Annotated[
        list[str] | None, typer.Option("--source", show_default=False, help="Only this source; may be said again.")
    ] = None,
    tier: TierOption = "",
    days: Annotated[int, typer.Option("--days", min=1, help="For how many days.")] = 7,
    until: Annotated[
        str, typer.Option("--until", show_default=False, metavar="MOMENT", help="Or until when: 2026-12-01.")
    ] = "",
    role: ActingRoleOption = "",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask for a grant. Somebody else, of the privacy team, decides.

    Without --tier it is for tier-2, customers' data; without --source for all of the tenant's records.

    Example: headrace approvals request --tenant acme --purpose review --reason "Judge November's answers" --days 7
    """
    ends = parse_moment(until) if until else datetime.now(UTC) + timedelta(days=days)
    wanted = {
        "tenant": tenant,
        "purpose": PURPOSES[purpose],
        "reason": reason,
        "expires_at": ends,
        "sources": sources or [],
        "tier": parse_tier(tier),
    }
    run(_request(wanted, person=person, role=role, stated=endpoints, as_json=as_json))


@approvals.command("list")
def list_(
    *,
    tenant: Annotated[str, typer.Option("--tenant", show_default=False, help="Only this tenant's.")] = "",
    state: Annotated[
        StateWord | None, typer.Option("--state", show_default=False, help="Only those that stand so.")
    ] = None,
    role: ActingRoleOption = "",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List grants, newest first."""
    run(_list(tenant, state, person=person, role=role or "privacy", stated=endpoints, as_json=as_json))


@approvals.command()
def show(
    grant: GrantArgument,
    *,
    role: ActingRoleOption = "",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of one grant."""
    run(_show(grant, person=person, role=role, stated=endpoints, as_json=as_json))


@approvals.command()
def decide(
    grant: GrantArgument,
    *,
    approve: Annotated[
        bool | None, typer.Option("--approve/--refuse", show_default=False, help="What you decide.")
    ] = None,
    note: NoteOption = "",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Approve or refuse a request of somebody else's. Leaves with 3 where it is your own.

    Example: headrace approvals decide 4e1b0c9e-7c39-4b8e-9a53-0d8f0e0a6f10 --approve --note "Until the audit"
    """
    if approve is None:
        raise typer.BadParameter("Say --approve or --refuse.")
    run(_decide(grant, approve=approve, note=note, person=person, stated=endpoints, as_json=as_json))


@approvals.command()
def revoke(
    grant: GrantArgument,
    *,
    note: NoteOption = "",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """End a live grant at once, also for what is under way."""
    run(_revoke(grant, note=note, person=person, stated=endpoints, as_json=as_json))


async def _request(wanted: dict[str, Any], *, person: str, role: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=role) as client:
        try:
            grant = await client.request_grant(**wanted)
        except Conflict as refusal:  # nothing that a grant could open
            notice(str(refusal), style="red")
            return REFUSED_BY_POLICY
    if as_json:
        say_json(to_json(grant))
    else:
        say(f"Asked as {grant.grant_id}: {scope_words(grant)}, until {moment(grant.expires_at)}.")
        say(f"Somebody else decides: headrace approvals decide {grant.grant_id} --approve")
    return DONE


async def _list(tenant: str, state: StateWord | None, *, person: str, role: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=role) as client:
        grants = await client.grants(tenant=tenant, state=_STATES[state])
    if as_json:
        for grant in grants:
            say_json(to_json(grant))
    elif grants:
        columns = ["Grant", "State", "Tenant", "Purpose", "Tier", "Sources", "Until (UTC)", "Asked by", "Decided by"]
        say_table(columns, [_row(grant) for grant in grants])
    else:
        say("No grants.")
    return DONE


async def _show(grant_id: str, *, person: str, role: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=role) as client:
        return _say_whole(await client.grant(grant_id), as_json=as_json)


async def _decide(grant_id: str, *, approve: bool, note: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        grant = await client.decide_grant(grant_id, approve=approve, note=note)
    if as_json:
        say_json(to_json(grant))
    elif approve:
        say(f"Approved: {scope_words(grant)}, until {moment(grant.expires_at)}.")
    else:
        say(f"Refused: {scope_words(grant)}.")
    return DONE


async def _revoke(grant_id: str, *, note: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        grant = await client.revoke_grant(grant_id, note=note)
    if as_json:
        say_json(to_json(grant))
    else:
        say(f"Revoked: {scope_words(grant)}.")
    return DONE


_STATES: dict[StateWord | None, GrantState.ValueType] = {
    None: approvals_pb2.GRANT_STATE_UNSPECIFIED,
    StateWord.REQUESTED: approvals_pb2.GRANT_STATE_REQUESTED,
    StateWord.LIVE: approvals_pb2.GRANT_STATE_LIVE,
    StateWord.REFUSED: approvals_pb2.GRANT_STATE_REFUSED,
    StateWord.EXPIRED: approvals_pb2.GRANT_STATE_EXPIRED,
    StateWord.REVOKED: approvals_pb2.GRANT_STATE_REVOKED,
}


def state_word(state: GrantState.ValueType) -> str:
    """ "live"."""
    return next((str(word) for word, number in _STATES.items() if number == state and word), "unknown")


def scope_words(grant: Grant) -> str:
    """ "review of acme's records up to tier-2, of wiki and crm"."""
    of = f", of {' and '.join(grant.sources)}" if grant.sources else ""
    return f"{doing(grant.purpose)} {grant.tenant}'s records up to {tier_word(grant.tier)}{of}"


def _row(grant: Grant) -> list[str]:
    return [
        grant.grant_id,
        state_word(grant.state),
        grant.tenant,
        purpose_word(grant.purpose),
        tier_word(grant.tier),
        ", ".join(grant.sources) or "all",
        moment(grant.expires_at),
        grant.requested_by,
        grant.decided_by,
    ]


def _say_whole(grant: Grant, *, as_json: bool) -> int:
    if as_json:
        say_json(to_json(grant))
        return DONE
    facts = {
        "Grant": grant.grant_id,
        "State": state_word(grant.state),
        "For": scope_words(grant),
        "Reason": grant.reason,
        "Asked": f"by {grant.requested_by}, {moment(grant.requested_at)} UTC",
        "Decided": f"by {grant.decided_by}, {moment(grant.decided_at)} UTC" if grant.decided_by else "not yet",
        "Revoked": f"by {grant.revoked_by}, {moment(grant.revoked_at)} UTC" if grant.revoked_by else "",
        "Ends": f"{moment(grant.expires_at)} UTC",
        "Note": grant.note,
        "Policy": grant.policy_version,
    }
    say(*(f"{name:<8} {value}" for name, value in facts.items() if value))
    return DONE


def to_json(grant: Grant) -> dict[str, Any]:
    """A grant for machines."""
    return {
        "grant_id": grant.grant_id,
        "state": state_word(grant.state),
        "tenant": grant.tenant,
        "purpose": purpose_word(grant.purpose),
        "tier": tier_label(grant.tier),
        "sources": list(grant.sources),
        "reason": grant.reason,
        "expires_at": json_moment(grant.expires_at),
        "requested_by": grant.requested_by,
        "requested_at": json_moment(grant.requested_at),
        "decided_by": grant.decided_by,
        "decided_at": json_moment(grant.decided_at),
        "note": grant.note,
        "revoked_by": grant.revoked_by,
        "revoked_at": json_moment(grant.revoked_at),
        "policy_version": grant.policy_version,
    }
