"""The gate's rules: one file, read once, refused with the name of what is wrong in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from headrace_runtime.errors import Conflict
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Setting = Literal["as_served", "own_words"]


class Strict(BaseModel):
    """Says which field is wrong; knows no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ShareRule(Strict):
    """A measure of a report, from 0 to 1, that may not fall (or rise, where lower is better).

    falls_by: so far the candidate's estimate may lie on the wrong side of the champion's. What lies further fails where
    it is as likely as `sure` that it is worse at all. It also fails where the whole interval, at 95 % for all
    shares together, lies further than `proven_by` there. by_kind: how far it may on each kind with enough pairs.
    """

    measures: tuple[str, ...] = Field(min_length=1)
    setting: Setting = "as_served"
    falls_by: float = Field(ge=0, le=1)
    better: Literal["higher", "lower"] = "higher"
    by_kind: float | None = Field(None, ge=0, le=1)
    sure: float = Field(0.8, ge=0.5, lt=1)
    proven_by: float = Field(0.0, ge=0, le=1)
    least_pairs: int = Field(20, ge=1)
    needed: Literal["one", "none"] = "none"
    says: str


class RatioRule(Strict):
    """Something that may grow so many times over at most."""

    measure: Literal["latency", "held_out_loss"]
    times: float = Field(gt=0)
    least_pairs: int = Field(20, ge=0)
    says: str


class SizeRule(Strict):
    """The memory that the weights take, by the size of their files."""

    most_gib: float = Field(gt=0)


class MemorisationRule(Strict):
    """What planted secrets may tell."""

    least_planted: int = Field(ge=1)
    extracted: int = Field(ge=0)
    margin_bits: float = Field(ge=0)


class JudgeRule(Strict):
    """Judges count where their calibration lets them decide; the others are told, and decide nothing."""

    falls_by: float = Field(ge=0, le=1)
    sure: float = Field(0.8, ge=0.5, lt=1)
    least_pairs: int = Field(20, ge=1)


class MustPassRule(Strict):
    """The tenant's own rows: none of them may be lost that the champion passes."""

    measures: tuple[str, ...] = Field(min_length=1)
    lost: int = Field(ge=0)


class GainRule(Strict):
    """A measure that must be as likely as `sure` to be better than the champion's."""

    measure: str
    sure: float = Field(0.8, ge=0, lt=1)
    least_pairs: int = Field(20, ge=1)
    says: str


class LossRule(Strict):
    """The loss on held-out rows may be so many times the base's."""

    times: float = Field(gt=0)
    says: str


class EmbedderRules(Strict):
    """What decides of embedders."""

    gain: GainRule
    shares: Mapping[str, ShareRule]
    held_out_loss: LossRule
    size: SizeRule
    must_pass: MustPassRule


class CalibrationRule(Strict):
    """How far confidence and share of right answers may differ, beside the champion's."""

    rises_by: float = Field(ge=0, le=1)
    least_pairs: int = Field(20, ge=1)
    says: str


class KindsRules(Strict):
    """What decides of what recognises kinds."""

    gain: GainRule
    shares: Mapping[str, ShareRule]
    calibration: CalibrationRule


class GateRules(Strict):
    """The file. See gate.yaml, which tells what each means. Its first part is of generators."""

    shares: Mapping[str, ShareRule]
    ratios: Mapping[str, RatioRule]
    size: SizeRule
    memorisation: MemorisationRule
    judges: JudgeRule
    must_pass: MustPassRule
    embedder: EmbedderRules
    kinds: KindsRules


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules, and their version: the first 16 hex digits of the SHA-256 over the file."""

    rules: GateRules
    version: str


def read_gate(text: str) -> Gate:
    """Reads the rules. Raises Conflict, which says what is wrong and where."""
    try:
        rules = GateRules.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise Conflict(f"the gate's rules are not YAML: {type(error).__name__}") from None
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)
        )
        raise Conflict(f"the gate's rules cannot be used: {wrong}") from None
    return Gate(rules, hashlib.sha256(text.encode()).hexdigest()[:16])


def load_gate(path: Path | None) -> Gate:
    """Reads a file of rules, or the one that is shipped. Raises Conflict."""
    if path is None:
        return read_gate(files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8"))
    try:
        return read_gate(path.read_text("utf-8"))
    except OSError as error:
        raise Conflict(f"the gate's rules cannot be read: {path}: {error.strerror}") from None
