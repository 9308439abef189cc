"""The policy: which tier a text has by where it comes from. A readable file, checked as a whole when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn

import yaml
from headrace_privacy import Tier
from headrace_runtime.errors import Failure
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

#: As the contracts have it for tenants, products and sources.
_NAME = r"^[a-z0-9_-]{1,64}$"


class PolicyError(Failure):
    """The policy cannot be used: each line names a key, its value and what was expected. Ends the start."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the policy file says. Names that it does not list have no tier here."""

    version: str
    products: Mapping[str, Tier]
    sources: Mapping[tuple[str, str], Tier]

    def tier_of_product(self, product: str) -> Tier | None:
        """Returns the tier of what this product asks, None when the policy does not list it."""
        return self.products.get(product)

    def tier_of_source(self, tenant: str, source: str) -> Tier | None:
        """Returns the tier of this tenant's source, None when the policy does not list it."""
        return self.sources.get((tenant, source))


def parse_policy(content: str, *, origin: str) -> Policy:
    """Reads a policy. Raises PolicyError, naming the origin and everything that is wrong, not only the first."""
    try:
        return _File.model_validate(_load(content, origin)).to_policy()
    except ValidationError as error:
        _explain(error, origin)


def _load(content: str, origin: str) -> Any:
    try:
        return yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise PolicyError(f"{origin}, line {line}: not YAML: {error.problem}") from None


def _explain(error: ValidationError, origin: str) -> NoReturn:
    lines = [f"{origin} is not a policy:"]
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(map(str, problem["loc"])) or "the file"
        lines.append(f"  {key}: {problem['msg']}{_value(problem)}")
    raise PolicyError("\n".join(lines)) from None


def _value(problem: Mapping[str, Any]) -> str:
    """Shows the value in a few words; a missing key has none, and a whole section would say nothing."""
    shown = repr(problem["input"])
    return "" if problem["type"] == "missing" or isinstance(problem["input"], dict | list) else f", not {shown[:80]}"


def _read_tier(value: object) -> Tier:
    tiers = {tier.label: tier for tier in Tier}
    if not isinstance(value, str) or value not in tiers:
        raise ValueError(f"expected one of {', '.join(tiers)}")
    return tiers[value]


_Tier = Annotated[Tier, BeforeValidator(_read_tier)]
_Name = Annotated[str, Field(pattern=_NAME)]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: _Name
    name: _Name
    tier: _Tier


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(min_length=1, max_length=64)
    unknown: Literal["tier_2"]
    products: dict[_Name, _Tier]
    sources: tuple[_Source, ...]

    @model_validator(mode="after")
    def _each_source_once(self) -> _File:
        keys = [(source.tenant, source.name) for source in self.sources]
        twice = sorted({f"{tenant}/{name}" for tenant, name in keys if keys.count((tenant, name)) > 1})
        if twice:
            raise ValueError(f"expected each source once, but {', '.join(twice)} stands there more often")
        return self

    def to_policy(self) -> Policy:
        return Policy(
            version=self.version,
            products=dict(self.products),
            sources={(source.tenant, source.name): source.tier for source in self.sources},
        )
