"""`headrace variants put|list|show|backends`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from headrace.inference.v1.variants_pb2 import Backend, Variant

from headrace_client.cli.console import notice, say, say_json, say_table
from headrace_client.cli.governance import connected, json_moment, moment
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption, TenantOption
from headrace_client.cli.prompt_files import read_variant, variant_text
from headrace_client.cli.running import DONE, run
from headrace_client.tiers import tier_label, tier_word

variants = typer.Typer(
    no_args_is_help=True,
    help="Say in which ways questions can be answered: which prompt, which model, what is read, how is written. A "
    "route sends queries to them (headrace routes).",
)

#: Who may change variants.
_ROLE = "developer"


@variants.command()
def put(
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
    """Store a variant under its next version. One that cannot answer is refused, with the reason.

    The file: `name` and `prompt`, and as you like `prompt_version` or `prompt_label` (production is followed when
    neither is said), `backend`, `model_version`, `reading` and `decoding`.
    """
    run(_put(read_variant(file), tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@variants.command("list")
def list_(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", show_default=False, help="Every version of this variant.")
    ] = "",
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the newest version of each variant, or every version of one, and what is broken of them."""
    run(_list(name, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@variants.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The variant.")],
    version: Annotated[
        int, typer.Argument(metavar="[VERSION]", min=0, show_default=False, help="Which: the newest, else.")
    ] = 0,
    *,
    tenant: TenantOption = "demo",
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a variant as the file that it can be put from."""
    run(_show(name, version, tenant=tenant, person=person, stated=endpoints, as_json=as_json))


@variants.command()
def backends(
    *,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the models that can be used, and how they do: at the instance of inference that is reached."""
    run(_backends(person=person, stated=endpoints, as_json=as_json))


# --- what they do -----------------------------------------------------------------------------------------------------


async def _put(variant: Variant, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        stored = await client.put_variant(variant, tenant=tenant)
    if as_json:
        say_json({**variant_json(stored.variant), "created": stored.created})
        return DONE
    made = stored.variant
    say(f"Variant {made.name} is version {made.version}{'' if stored.created else ', as it was'}.")
    return DONE


async def _list(name: str, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.variants(tenant=tenant, name=name)
    if as_json:
        for variant in found:
            say_json(variant_json(variant))
        return DONE
    if not found:
        say(f"{tenant} has no variant {name}.")
        return DONE
    say_table(["Variant", "Version", "Prompt", "Backend", "Stored (UTC)", "By"], [_row(variant) for variant in found])
    for variant in found:
        _warn(variant)
    return DONE


async def _show(name: str, version: int, *, tenant: str, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.variant(name, tenant=tenant, version=version)
    if as_json:
        say_json(variant_json(found))
        return DONE
    notice(f"{found.name} version {found.version}")
    say(variant_text(found).rstrip("\n"))
    _warn(found)
    return DONE


async def _backends(*, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person, role=_ROLE) as client:
        found = await client.backends()
    if as_json:
        for backend in found:
            say_json(backend_json(backend))
        return DONE
    say_table(
        [
            "Backend",
            "Model",
            "Version",
            "May see",
            "$ a million in",
            "out",
            "State",
            "Done",
            "Failed",
            "p50 ms",
            "p95 ms",
        ],
        [backend_row(backend) for backend in found],
    )
    return DONE


# --- words ------------------------------------------------------------------------------------------------------------


def _warn(variant: Variant) -> None:
    if variant.broken:
        notice(f"{variant.name} version {variant.version} cannot answer: {variant.broken}.", style="yellow")


def _row(variant: Variant) -> list[str]:
    by = "comes with Headrace" if variant.built_in else variant.created_by
    backend = variant.backend or "the default one"
    return [variant.name, str(variant.version), prompt_words(variant), backend, moment(variant.created_at), by]


def prompt_words(variant: Variant) -> str:
    """ "brief 2", or "brief production" where a label is followed."""
    return f"{variant.prompt} {variant.prompt_version or variant.prompt_label}"


def variant_json(variant: Variant) -> dict[str, Any]:
    """A variant as one object."""
    return {
        "name": variant.name,
        "version": variant.version,
        "prompt": variant.prompt,
        "prompt_version": variant.prompt_version or None,
        "prompt_label": variant.prompt_label or None,
        "backend": variant.backend,
        "model_version": variant.model_version,
        "reading": MessageToDict(variant.reading, preserving_proto_field_name=True),
        "decoding": {
            "max_output_tokens": variant.decoding.max_output_tokens,
            "temperature": variant.decoding.temperature,
            "top_p": variant.decoding.top_p,
            "seed": variant.decoding.seed,
        },
        "built_in": variant.built_in,
        "broken": variant.broken or None,
        "created_by": variant.created_by,
        "created_at": json_moment(variant.created_at),
    }


def backend_row(backend: Backend) -> list[str]:
    """A backend as a row."""
    return [
        backend.name,
        backend.model.name,
        backend.model.version[:16],
        tier_word(backend.max_tier) if backend.max_tier else "nothing without a grant",
        _dollars(backend.input_price),
        _dollars(backend.output_price),
        backend.state,
        str(backend.completions),
        str(backend.failures),
        f"{backend.p50_ms:.0f}",
        f"{backend.p95_ms:.0f}",
    ]


def backend_json(backend: Backend) -> dict[str, Any]:
    """A backend as one object."""
    return {
        "name": backend.name,
        "kind": backend.kind,
        "policy_name": backend.policy_name,
        "model": {"name": backend.model.name, "version": backend.model.version, "provider": backend.model.provider},
        "max_tier": tier_label(backend.max_tier) if backend.max_tier else None,
        "input_price_micro_usd": backend.input_price,
        "output_price_micro_usd": backend.output_price,
        "calls_per_minute": backend.calls_per_minute or None,
        "state": backend.state,
        "completions": backend.completions,
        "failures": backend.failures,
        "p50_ms": backend.p50_ms,
        "p95_ms": backend.p95_ms,
    }


def _dollars(micro: int) -> str:
    return f"{(Decimal(micro) / 1_000_000).normalize():f}"
