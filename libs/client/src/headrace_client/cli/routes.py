"""`headrace routes list|put|delete|explain`, and `headrace routes kinds put|show`."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from headrace.inference.v1.routes_pb2 import Arm, Kind, Limits, Route, Shadow, VariantReference

from headrace_client.cli.console import notice, say, say_json, say_table, waiting
from headrace_client.cli.governance import connected
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption, TierOption, checked_tier
from headrace_client.cli.routes_words import (
    COLUMNS,
    explained_json,
    explained_lines,
    idle_words,
    kind_json,
    quality_json,
    quality_table,
    route_json,
    route_row,
    shares_words,
    warnings,
)
from headrace_client.cli.running import DONE, run
from headrace_client.cli.shares import affected
from headrace_client.tiers import parse_tier

routes = typer.Typer(
    no_args_is_help=True,
    help="Say which variants answer which kind of query, and see why one would. A change takes effect on every "
    "instance at once, and is on the audit log.",
)
kinds = typer.Typer(no_args_is_help=True, help="The kinds of query that are told apart, by examples.")
routes.add_typer(kinds, name="kinds")

_VARIANT = re.compile(r"([a-z0-9_-]{1,64})(?:@([1-9][0-9]{0,8}))?", re.ASCII)
#: Who may change routes.
_ROLE = "developer"

KindArgument = Annotated[
    str, typer.Argument(metavar="KIND", show_default=False, help='A kind, or "*" for whatever has no route of its own.')
]
ReasonOption = Annotated[str, typer.Option("--reason", show_default=False, help="Why, for whoever reads it later.")]


@routes.command("list")
def list_(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", show_default=False, help="Every version of this kind's route.")
    ] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the routes in force, or every version of one kind's."""
    run(_list(kind, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@routes.command()
def put(
    kind: KindArgument,
    arms: Annotated[
        list[str],
        typer.Option("--arm", show_default=False, metavar="VARIANT[@VERSION]=WEIGHT", help="Who answers; say again."),
    ],
    *,
    fallbacks: Annotated[
        list[str] | None,
        typer.Option("--fallback", metavar="VARIANT[@VERSION]", show_default=False, help="And when none of these can."),
    ] = None,
    shadows: Annotated[
        list[str] | None,
        typer.Option(
            "--shadow",
            metavar="VARIANT[@VERSION]=SHARE",
            show_default=False,
            help="Who answers this share of the queries too, unseen: 0.1.",
        ),
    ] = None,
    max_cost: Annotated[
        str, typer.Option("--max-cost", metavar="DOLLARS", show_default=False, help="What one answer may cost.")
    ] = "",
    daily_budget: Annotated[
        str, typer.Option("--daily-budget", metavar="DOLLARS", show_default=False, help="What a day may cost.")
    ] = "",
    max_latency: Annotated[
        int, typer.Option("--max-latency", metavar="MS", min=0, show_default=False, help="How long an answer may take.")
    ] = 0,
    max_tier: Annotated[
        str,
        typer.Option(
            "--max-tier",
            callback=checked_tier,
            show_default=False,
            metavar="public|tier-1|tier-2",
            help="The strictest tier that these variants serve; what is stricter goes to the fallbacks.",
        ),
    ] = "",
    reason: ReasonOption = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a kind of query to variants, by weight.

    A conversation keeps its variant. A variant without a version is its newest one, which is written down.

    Example: headrace routes put how-to --arm default=90 --arm shorter=10 --reason "Try the shorter prompt"
    """
    route = Route(
        kind=kind,
        arms=[Arm(variant=variant, weight=number) for variant, number in map(_with_number, arms)],
        fallbacks=[_variant(word) for word in fallbacks or ()],
        shadows=[Shadow(variant=variant, share=number) for variant, number in map(_with_number, shadows or ())],
        limits=Limits(
            cost_micro_usd=_micro_usd(max_cost),
            daily_budget_micro_usd=_micro_usd(daily_budget),
            latency_ms=max_latency,
            max_tier=parse_tier(max_tier),
        ),
        reason=reason,
    )
    run(_put(route, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@routes.command()
def delete(
    kind: KindArgument,
    *,
    reason: ReasonOption = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
) -> None:
    """Take a kind's route away: that of "*" holds again, or the default of the house."""
    run(_delete(kind, reason, tenant=tenant, person=person, stated=endpoints))


@routes.command()
def explain(
    text: Annotated[str, typer.Argument(show_default=False, help="A question. Nothing is answered.")] = "",
    *,
    kind: Annotated[str, typer.Option("--kind", show_default=False, help="Or a kind, without a question.")] = "",
    tier: TierOption = "",
    conversation: Annotated[str, typer.Option("--conversation", show_default=False, help="Of this conversation.")] = "",
    kinds_model: Annotated[
        str,
        typer.Option(
            "--kinds-model",
            metavar="NAME@VERSION",
            show_default=False,
            help='Have this trained model recognise the kind, in service or not; "examples": the tenant\'s examples.',
        ),
    ] = "",
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Say which variant would answer a question now, and why.

    Example: headrace routes explain "How do I catch an exception?" --tier public
    """
    asked = {
        "text": text,
        "kind": kind,
        "tier": parse_tier(tier),
        "conversation_id": conversation,
        "kinds_model": kinds_model,
    }
    run(_explain(asked, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@kinds.command("put")
def put_kinds(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False, help="YAML; see the how-to."),
    ],
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Replace the kinds of query by those in a file, and see how well they are told apart.

    The file: `kinds:`, a list of `name`, `description` and `examples`, at least three questions each.
    """
    run(_put_kinds(read_kinds(file), tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@kinds.command("show")
def show_kinds(
    *,
    examples: Annotated[bool, typer.Option("--examples", help="Show the examples too.")] = False,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the kinds in force, and how well they are told apart."""
    run(_show_kinds(examples, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


# --- what they do -----------------------------------------------------------------------------------------------------


async def _list(kind: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.routes(tenant=tenant, kind=kind)
    if as_json:
        for route in found:
            say_json(route_json(route))
    elif found:
        say_table(COLUMNS, [route_row(route) for route in found])
    else:
        say(f"{tenant} has no {'such route' if kind else 'routes'}: the default of the house answers.")
    return DONE


async def _put(route: Route, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        before = {one.kind: one for one in await client.routes(tenant=tenant)}
        stored = await client.put_route(route, tenant=tenant)
    if as_json:
        say_json(route_json(stored))
        return DONE
    was = before.get(stored.kind) or before.get("*")
    say(f"Route {stored.kind} is version {stored.version}: {shares_words(stored)}.", affected(was, stored))
    return DONE


async def _delete(kind: str, reason: str, *, tenant: str, person: str, stated: str) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        before = {one.kind: one for one in await client.routes(tenant=tenant)}
        await client.delete_route(kind, tenant=tenant, reason=reason)
    after = before.get("*") if kind != "*" else None
    holds = f"route * (version {after.version}) holds for it" if after else "the default of the house answers it"
    say(f"Route {kind} is taken away: {holds}.")
    return DONE


async def _explain(asked: dict[str, Any], *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.explain_route(tenant=tenant, **asked)
    if as_json:
        say_json(explained_json(found))
    else:
        say(*explained_lines(found))
    return DONE


async def _put_kinds(given: list[Kind], *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    with waiting("Learning the kinds"):
        async with connected(stated, person=person, role=_ROLE) as client:
            found = await client.put_kinds(given, tenant=tenant)
            passed_over = (await client.kinds(tenant=tenant)).passed_over_model
    if as_json:
        say_json({**quality_json(found), "passed_over_model": passed_over})
        return DONE
    say(f"Version {found.version} of the kinds is in force. Told by the other examples, each example is:")
    say_table(*quality_table(found.quality))
    for line in (*warnings(found.quality), *idle_words(passed_over)):
        notice(line, style="yellow")
    return DONE


async def _show_kinds(with_examples: bool, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.kinds(tenant=tenant)
    if as_json:
        kinds_told = [kind_json(kind) for kind in found.kinds]
        models = {"kinds_model": found.kinds_model, "passed_over_model": found.passed_over_model}
        say_json({**quality_json(found), "kinds": kinds_told, **models})
        return DONE
    say(f"Version {found.version}, learned with {found.embedder.name} {found.embedder.version}.")
    if found.kinds_model:
        say(f"They are recognised by {found.kinds_model}. Without it, told by the other examples, each example is:")
    say_table(*quality_table(found.quality))
    for line in idle_words(found.passed_over_model):
        notice(line, style="yellow")
    for kind in found.kinds if with_examples else ():
        say("", f"{kind.name}: {kind.description}".rstrip(": "), *(f"  {example}" for example in kind.examples))
    return DONE


# --- reading ----------------------------------------------------------------------------------------------------------


def read_kinds(file: Path) -> list[Kind]:
    """Reads the kinds of a YAML file. Raises BadParameter, which names what is missing and never an example."""
    try:
        parsed = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise typer.BadParameter(f"{file} cannot be read as YAML ({type(error).__name__}).") from None
    listed = parsed.get("kinds") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise typer.BadParameter(f"{file} has no list `kinds`.")
    return [_read_kind(entry, f"{file}: kinds[{i}]") for i, entry in enumerate(listed)]


def _read_kind(entry: Any, place: str) -> Kind:
    known = {"name", "description", "examples"}
    if not isinstance(entry, dict) or not {"name", "examples"} <= entry.keys() <= known:
        raise typer.BadParameter(f"{place}: a kind has name, description and examples, and nothing else.")
    examples = entry["examples"]
    if not isinstance(examples, list) or not all(isinstance(example, str) for example in examples):
        raise typer.BadParameter(
            f"{place}.examples: a list of questions, each a text (in quotes, where it has a colon)."
        )
    return Kind(name=str(entry["name"]), description=str(entry.get("description") or ""), examples=examples)


def _with_number(word: str) -> tuple[VariantReference, float]:
    name, separator, number = word.rpartition("=")
    try:
        return _variant(name), float(number)
    except ValueError:
        hint = "" if separator else " without its number"
        raise typer.BadParameter(f"{word!r} is a variant{hint}; say shorter=10 or shorter@2=10.") from None


def _variant(word: str) -> VariantReference:
    found = _VARIANT.fullmatch(word)
    if found is None:
        raise typer.BadParameter(f"{word!r} is not a variant; say its name, or its name and version: shorter@2.")
    return VariantReference(name=found[1], version=int(found[2] or 0))


def _micro_usd(dollars: str) -> int:
    wrong = typer.BadParameter(f"{dollars!r} is no amount in dollars, to the millionth: 0.002.")
    try:
        amount = Decimal(dollars or 0) * 1_000_000
    except InvalidOperation:
        raise wrong from None
    if not amount.is_finite() or not 0 <= amount < 2**63 or amount != int(amount):
        raise wrong
    return int(amount)
