"""`headrace policy explain|decide-tier|decisions|dictionary`."""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from headrace.privacy.v1 import policy_pb2
from headrace.privacy.v1.policy_pb2 import ExplainResponse, Ruling, RulingLine, TierDecision
from headrace.privacy.v1.privacy_pb2 import PURPOSE_UNSPECIFIED
from headrace_privacy import Tier
from headrace_privacy.policy import ROLES, Purpose
from headrace_privacy.policy_explained import explain as explain_file
from headrace_privacy.policy_file import PolicyError, read_policy

from headrace_client.cli.console import notice, say, say_json, say_table
from headrace_client.cli.governance import (
    PURPOSES,
    PurposeOption,
    connected,
    json_moment,
    moment,
    purpose_word,
)
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TierOption
from headrace_client.cli.running import DONE, USED_WRONGLY, run
from headrace_client.tiers import parse_tier, tier_label, tier_word

policy = typer.Typer(
    no_args_is_help=True, help="Ask what the privacy policy says, and decide what is to be decided beside it."
)
dictionary = typer.Typer(
    no_args_is_help=True,
    help="A tenant's own identifiers: names of customers and projects, numbers of contracts. "
    "A text that holds one of them is tier-2.",
)
policy.add_typer(dictionary, name="dictionary")

#: What a call can carry, less a little.
_MOST_BYTES = 8_000_000
_WORDS = {policy_pb2.RULING_ALLOW: "allow", policy_pb2.RULING_DENY: "deny", policy_pb2.RULING_GRANT: "grant"}
_TenantOption = Annotated[str, typer.Option("--tenant", envvar="HEADRACE_TENANT", show_default=False, help="Whose.")]


def _role(word: str) -> str:
    if word and word not in ROLES:
        raise typer.BadParameter(f"{word!r} is not a role; say one of {', '.join(ROLES)}.")
    return word


@policy.command()
def explain(
    *,
    purpose: PurposeOption = "",
    tier: TierOption = "",
    role: Annotated[
        str, typer.Option("--role", callback=_role, show_default=False, help="Only what holds for this role.")
    ] = "",
    file: Annotated[
        Path | None,
        typer.Option("--file", show_default=False, help="What this file says, instead of the policy in force."),
    ] = None,
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say what holds, and why: who may use which tier for what, which models may see it, how long it is kept.

    With --file nothing has to run: the file is checked, and what is wrong with it is told with line, key and
    expectation; the command then leaves with 2.

    Example: headrace policy explain --purpose train --tier tier_2
    """
    if file is not None:
        raise typer.Exit(_explain_file(file, purpose, tier, role, as_json=as_json))
    run(_explain(purpose, tier, role, stated=endpoints, as_json=as_json))


@policy.command("decide-tier")
def decide_tier(
    tenant: _TenantOption,
    reason: Annotated[str, typer.Option("--reason", show_default=False, help="Why, for whoever reads it later.")],
    *,
    source: Annotated[str, typer.Option("--source", show_default=False, help="A source of documents.")] = "",
    product: Annotated[str, typer.Option("--product", show_default=False, help="Or a product that asks.")] = "",
    tier: TierOption = "",
    take_back: Annotated[bool, typer.Option("--take-back", help="End the decision that there is.")] = False,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Set the tier of a source or a product from now on, lower than it would be if need be.

    It is the one way in which a tier falls, so it is recorded. Secrets are masked all the same, and a text that could
    not be looked into is tier-2 all the same. Documents that are stored already keep the tier that they have.

    Example: headrace policy decide-tier --tenant acme --source handbook --tier tier-1 --reason "No customer is in it"
    """
    if bool(source) == bool(product):
        raise typer.BadParameter("Name one: --source or --product.")
    if take_back == bool(tier):
        raise typer.BadParameter("Say --tier, or --take-back.")
    kind = policy_pb2.TIER_DECISION_KIND_SOURCE if source else policy_pb2.TIER_DECISION_KIND_PRODUCT
    wish: dict[str, Any] = {
        "tenant": tenant,
        "kind": kind,
        "name": source or product,
        "tier": parse_tier(tier),
        "reason": reason,
    }
    run(_decide(wish, person=person, stated=endpoints, as_json=as_json))


@policy.command()
def decisions(
    *,
    tenant: Annotated[str, typer.Option("--tenant", show_default=False, help="Only this tenant's.")] = "",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the decisions on tiers that are in force."""
    run(_decisions(tenant, person=person, stated=endpoints, as_json=as_json))


@dictionary.command("put")
def put_dictionary(
    file: Annotated[str, typer.Argument(help="One identifier a line; - reads standard input.", show_default=False)],
    *,
    tenant: _TenantOption,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put a tenant's identifiers in place of those before. They rest sealed, and are never shown again.

    Blank lines, and lines that begin with #, are left out. An empty file takes all of them away.
    """
    identifiers = _read_identifiers(file)
    run(_put_dictionary(identifiers, tenant, person=person, stated=endpoints, as_json=as_json))


@dictionary.command("show")
def show_dictionary(
    *,
    tenant: _TenantOption,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say how many identifiers a tenant has, and since when. Never which."""
    run(_show_dictionary(tenant, person=person, stated=endpoints, as_json=as_json))


async def _explain(purpose: str, tier: str, role: str, *, stated: str, as_json: bool) -> int:
    async with connected(stated) as client:
        number = PURPOSES.get(purpose, PURPOSE_UNSPECIFIED)
        response = await client.explain_policy(purpose=number, tier=parse_tier(tier), role=role)
    _say_explained(response, as_json=as_json, whole=not (purpose or role))
    return DONE


def _explain_file(file: Path, purpose: str, tier: str, role: str, *, as_json: bool) -> int:
    try:
        read = read_policy(file)
    except PolicyError as error:
        notice(str(error), style="red")
        return USED_WRONGLY
    number = parse_tier(tier)
    response = explain_file(
        read,
        purpose=Purpose(PURPOSES[purpose]) if purpose else None,
        tier=Tier(number) if number else None,
        role=role,
    )
    _say_explained(response, as_json=as_json, whole=not (purpose or role))
    return DONE


def _say_explained(response: ExplainResponse, *, as_json: bool, whole: bool) -> None:
    if as_json:
        say_json(_explained_json(response))
        return
    if len({(line.purpose, line.tier) for line in response.lines}) == 1 or len({x.role for x in response.lines}) == 1:
        say_table(["Purpose", "Tier", "Role", "Ruling", "Why"], _in_detail(response.lines))
    else:
        say_table(["Purpose", "Tier", "Allowed to", "Under a grant"], _in_short(response.lines))
        say("", "Everybody else: denied.")
    if whole:
        say("")
        models = [[line.backend, tier_word(line.tier), _word(line.ruling)] for line in response.backends]
        say_table(["Models", "Tier", "Ruling"], models)
        say("")
        say_table(["Kept", "Days"], [[tier_word(r.tier), str(r.days or "without limit")] for r in response.retention])
    say("", f"Policy {response.policy_version}, sha256 {response.sha256[:16]}…")


def _in_detail(lines: Any) -> list[list[str]]:
    """One line for each role; those that are denied alike share one."""
    rows: list[list[str]] = []
    for _, found in groupby(sorted(lines, key=_openness), key=_openness):
        some: list[RulingLine] = list(found)
        one = some[0]
        if one.ruling == policy_pb2.RULING_DENY and len(some) > 1:
            reason = one.reason.replace(f" {one.role}", " them", 1)
            roles = ", ".join(line.role for line in some)
            rows.append([purpose_word(one.purpose), tier_word(one.tier), roles, "deny", reason])
        else:
            rows += [
                [purpose_word(one.purpose), tier_word(one.tier), one.role, _word(one.ruling), one.reason]
                for one in some
            ]
    return rows


def _openness(line: RulingLine) -> tuple[int, int, int]:
    """What is allowed first, then what can be granted, then what is denied."""
    order = [policy_pb2.RULING_ALLOW, policy_pb2.RULING_GRANT, policy_pb2.RULING_DENY]
    return order.index(line.ruling) if line.ruling in order else len(order), line.purpose, line.tier


def _in_short(lines: Any) -> list[list[str]]:
    cells: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        cells[purpose_word(line.purpose), tier_word(line.tier)][_word(line.ruling)].append(line.role)
    return [[*cell, ", ".join(by["allow"]), ", ".join(by["grant"])] for cell, by in cells.items()]


def _word(ruling: Ruling.ValueType) -> str:
    return _WORDS.get(ruling, "deny")


def _explained_json(response: ExplainResponse) -> dict[str, Any]:
    return {
        "policy_version": response.policy_version,
        "sha256": response.sha256,
        "rulings": [
            {
                "purpose": purpose_word(line.purpose),
                "tier": tier_label(line.tier),
                "role": line.role,
                "ruling": _word(line.ruling),
                "reason": line.reason,
            }
            for line in response.lines
        ],
        "backends": [
            {"backend": line.backend, "tier": tier_label(line.tier), "ruling": _word(line.ruling)}
            for line in response.backends
        ],
        "retention": [{"tier": tier_label(line.tier), "days": line.days} for line in response.retention],
    }


async def _decide(wish: dict[str, Any], *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        decision = await client.decide_tier(**wish)
    if as_json:
        say_json(_decision_json(decision))
    elif decision.tier:
        say(f"{_about(decision)} is {tier_word(decision.tier)} from now on.")
    else:
        say(f"The decision on {_about(decision)} is taken back.")
    return DONE


async def _decisions(tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role="privacy") as client:
        found = await client.tier_decisions(tenant=tenant)
    if as_json:
        for decision in found:
            say_json(_decision_json(decision))
    elif found:
        columns = ["Tenant", "What", "Tier", "Decided by", "When (UTC)", "Why"]
        say_table(columns, [_decision_row(decision) for decision in found])
    else:
        say("Nothing was decided: every tier follows from the policy, the publisher and the text.")
    return DONE


def _kind(decision: TierDecision) -> str:
    return "source" if decision.kind == policy_pb2.TIER_DECISION_KIND_SOURCE else "product"


def _about(decision: TierDecision) -> str:
    return f"{decision.tenant}'s {_kind(decision)} {decision.name}"


def _decision_row(decision: TierDecision) -> list[str]:
    what = f"{_kind(decision)} {decision.name}"
    when = moment(decision.decided_at)
    return [decision.tenant, what, tier_word(decision.tier), decision.decided_by, when, decision.reason]


def _decision_json(decision: TierDecision) -> dict[str, Any]:
    return {
        "tenant": decision.tenant,
        "kind": _kind(decision),
        "name": decision.name,
        "tier": tier_label(decision.tier),
        "reason": decision.reason,
        "decided_by": decision.decided_by,
        "decided_at": json_moment(decision.decided_at),
    }


def _read_identifiers(file: str) -> list[str]:
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read ({error.strerror}).", param_hint="FILE") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not UTF-8.", param_hint="FILE") from None
    lines = (line.strip() for line in content.splitlines())
    identifiers = [line for line in lines if line and not line.startswith("#")]
    if sum(len(line.encode()) + 4 for line in identifiers) > _MOST_BYTES:
        raise typer.BadParameter(f"{file} is too large: at most {_MOST_BYTES // 1_000_000} MB.", param_hint="FILE")
    return identifiers


async def _put_dictionary(identifiers: list[str], tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        number = await client.put_dictionary(identifiers, tenant=tenant)
    if as_json:
        say_json({"tenant": tenant, "identifiers": number})
    else:
        say(f"{tenant} has {number} identifiers now.")
    return DONE


async def _show_dictionary(tenant: str, *, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        size = await client.dictionary(tenant=tenant)
    changed = json_moment(size.changed_at)
    if as_json:
        say_json({"tenant": tenant, "identifiers": size.identifiers, "changed_at": changed})
    elif changed:
        say(f"{tenant} has {size.identifiers} identifiers, since {moment(size.changed_at)} UTC.")
    else:
        say(f"{tenant} has no dictionary.")
    return DONE
