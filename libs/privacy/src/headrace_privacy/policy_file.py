"""The policy as a file: YAML, checked as a whole. An error names its line, its key, its value and what was expected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from headrace_privacy.policy import LOCAL_BACKEND, OTHER_BACKENDS, ROLES, Cell, Policy, Purpose, RulingKind
from headrace_privacy.tier import Tier

#: As the contracts have it for tenants, products and sources.
_NAME = r"^[a-z0-9_-]{1,64}$"
#: "local", "*", or a host as in an address: no scheme, no port.
_BACKEND = r"^(local|\*|[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)$"

#: A place in the file: keys and positions, outermost first.
_Place = tuple[str | int, ...]

SHIPPED = "policy.yaml"


class PolicyError(Exception):
    """The policy cannot be used. Its text names the file and everything that is wrong, a line for each."""


def read_policy(path: Path | None) -> Policy:
    """Reads the policy at `path`, or the one that is shipped. Raises PolicyError, naming the file."""
    if path is None:
        return parse_policy(files("headrace_privacy").joinpath(SHIPPED).read_text("utf-8"), origin=SHIPPED)
    try:
        content = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} cannot be read: {type(error).__name__}; expected a YAML file in UTF-8") from None
    return parse_policy(content, origin=str(path))


def parse_policy(content: str, *, origin: str) -> Policy:
    """Reads a policy. Raises PolicyError, naming the origin and everything that is wrong, not only the first."""
    tree = _compose(content, origin)
    if problems := list(_twice(tree)):
        raise PolicyError("\n".join([f"{origin} is not a policy:", *problems]))
    try:
        read = _File.model_validate(yaml.safe_load(content))
    except ValidationError as error:
        _explain(error, tree, origin=origin)
    return read.to_policy(hashlib.sha256(content.encode()).hexdigest())


def _compose(content: str, origin: str) -> yaml.Node | None:
    try:
        for event in yaml.parse(content, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise PolicyError(f"{origin}: *{event.anchor} is an alias; expected what it stands for, written out")
        return yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise PolicyError(f"{origin}, line {line}: not YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise PolicyError(f"{origin}: not YAML: it holds a character that YAML does not allow") from None


def _twice(node: yaml.Node | None, place: _Place = ()) -> Iterator[str]:
    """A key that stands twice in one section: YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _twice(item, (*place, number))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = (*place, str(key.value))
            if key.value in seen:
                yield f"  line {key.start_mark.line + 1}, {_named(here)}: stands there twice; expected once"
            seen.add(key.value)
            yield from _twice(value, here)


def _explain(error: ValidationError, tree: yaml.Node | None, *, origin: str) -> NoReturn:
    lines = [f"{origin} is not a policy:"]
    for problem in error.errors(include_url=False, include_context=False):
        place = tuple(part for part in problem["loc"] if part != "[key]")
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(
            f"  line {_line(tree, place)}, {_named(place)}: {_PLAIN.get(problem['type'], message)}{_value(problem)}"
        )
    raise PolicyError("\n".join(lines)) from None


#: What pydantic says in its own words, in ours.
_PLAIN = {
    "extra_forbidden": "unknown key",
    "missing": "missing; it is required",
    "model_type": "expected a section of keys",
    "dict_type": "expected a section of keys",
}


def _named(place: _Place) -> str:
    return ".".join(map(str, place)) or "the file"


def _value(problem: Mapping[str, Any]) -> str:
    """Shows the value in a few words; a missing key has none, and a whole section would say nothing."""
    silent = problem["type"] in ("missing", "extra_forbidden") or isinstance(problem["input"], dict | list)
    return "" if silent else f", not {problem['input']!r}"[:90]


def _line(node: yaml.Node | None, place: _Place) -> int:
    """The line of a place, or of the innermost section around it that is there."""
    line = node.start_mark.line + 1 if node is not None else 1
    for part in place:
        found = _child(node, part)
        if found is None:
            return line
        line, node = found
    return line


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    return None


def _read_tier(value: object) -> Tier:
    tiers = {tier.label: tier for tier in Tier}
    if not isinstance(value, str) or value not in tiers:
        raise ValueError(f"expected one of {', '.join(tiers)}")
    return tiers[value]


def _read_purpose(value: object) -> Purpose:
    purposes = {purpose.label: purpose for purpose in Purpose}
    if not isinstance(value, str) or value not in purposes:
        raise ValueError(f"expected one of {', '.join(purposes)}")
    return purposes[value]


def _read_kind(value: object) -> RulingKind:
    kinds = {kind.name.lower(): kind for kind in RulingKind}
    if not isinstance(value, str) or value not in kinds:
        raise ValueError(f"expected one of {', '.join(kinds)}")
    return kinds[value]


def _read_role(value: object) -> str:
    if not isinstance(value, str) or value not in ROLES:
        raise ValueError(f"expected one of {', '.join(ROLES)}")
    return value


_Tier = Annotated[Tier, BeforeValidator(_read_tier)]
_Purpose = Annotated[Purpose, BeforeValidator(_read_purpose)]
_Kind = Annotated[RulingKind, BeforeValidator(_read_kind)]
_Role = Annotated[str, BeforeValidator(_read_role)]
_Name = Annotated[str, Field(pattern=_NAME)]
_Backend = Annotated[str, Field(pattern=_BACKEND)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Section):
    tenant: _Name
    name: _Name
    tier: _Tier


class _Roles(_Section):
    allow: tuple[_Role, ...] = ()
    grant: tuple[_Role, ...] = ()

    @model_validator(mode="after")
    def _each_role_once(self) -> _Roles:
        named = [*self.allow, *self.grant]
        if twice := sorted({role for role in named if named.count(role) > 1}):
            raise ValueError(f"expected each role once, but {', '.join(twice)} stands there more often")
        return self

    def to_cell(self) -> Cell:
        return Cell(frozenset(self.allow), frozenset(self.grant))


class _Uses(_Section):
    """One purpose: what each tier may be used for."""

    because: str = Field("", max_length=500)
    public: _Roles = _Roles()
    tier_1: _Roles = _Roles()
    tier_2: _Roles = _Roles()

    @model_validator(mode="after")
    def _no_tier_is_more_open_than_a_laxer_one(self) -> _Uses:
        cells = self.cells()
        for laxer, stricter in ((Tier.PUBLIC, Tier.TIER_1), (Tier.TIER_1, Tier.TIER_2)):
            more_open = _more_open(cells[laxer], cells[stricter])
            if more_open:
                raise ValueError(f"expected {stricter.label} to be no more open than {laxer.label}: see {more_open[0]}")
        return self

    def cells(self) -> dict[Tier, Cell]:
        return {tier: getattr(self, tier.label).to_cell() for tier in Tier}


def _more_open(laxer: Cell, stricter: Cell) -> Sequence[str]:
    return [role for role in ROLES if stricter.kind_for(role).openness > laxer.kind_for(role).openness]


class _Backends(_Section):
    """One kind of model server."""

    public: _Kind
    tier_1: _Kind
    tier_2: _Kind

    @model_validator(mode="after")
    def _no_tier_is_more_open_than_a_laxer_one(self) -> _Backends:
        if not self.public.openness >= self.tier_1.openness >= self.tier_2.openness:
            raise ValueError("expected no tier to be more open than a laxer one")
        return self

    def kinds(self) -> dict[Tier, RulingKind]:
        return {Tier.PUBLIC: self.public, Tier.TIER_1: self.tier_1, Tier.TIER_2: self.tier_2}


class _Grants(_Section):
    longest_days: int = Field(ge=1, le=366, strict=True)


class _Retention(_Section):
    public: int = Field(ge=0, le=36_500, strict=True)
    tier_1: int = Field(ge=0, le=36_500, strict=True)
    tier_2: int = Field(ge=0, le=36_500, strict=True)

    def days(self) -> dict[Tier, int]:
        return {Tier.PUBLIC: self.public, Tier.TIER_1: self.tier_1, Tier.TIER_2: self.tier_2}


class _File(_Section):
    version: str = Field(min_length=1, max_length=64)
    unknown: Literal["tier_2"]
    products: dict[_Name, _Tier]
    sources: tuple[_Source, ...]
    purposes: dict[_Purpose, _Uses]
    backends: dict[_Backend, _Backends]
    grants: _Grants
    retention: _Retention

    @model_validator(mode="after")
    def _each_source_once(self) -> _File:
        keys = [(source.tenant, source.name) for source in self.sources]
        twice = sorted({f"{tenant}/{name}" for tenant, name in keys if keys.count((tenant, name)) > 1})
        if twice:
            raise ValueError(f"expected each source once, but {', '.join(twice)} stands there more often")
        return self

    @model_validator(mode="after")
    def _every_backend_is_covered(self) -> _File:
        for name in (LOCAL_BACKEND, OTHER_BACKENDS):
            if name not in self.backends:
                raise ValueError(f'expected backends to say what holds for "{name}"')
        return self

    def to_policy(self, sha256: str) -> Policy:
        return Policy(
            version=self.version,
            products=dict(self.products),
            sources={(source.tenant, source.name): source.tier for source in self.sources},
            purposes={(p, tier): cell for p, uses in self.purposes.items() for tier, cell in uses.cells().items()},
            words={purpose: uses.because for purpose, uses in self.purposes.items() if uses.because},
            backends={name: kinds.kinds() for name, kinds in self.backends.items()},
            longest_grant_days=self.grants.longest_days,
            retention_days=self.retention.days(),
            sha256=sha256,
        )
