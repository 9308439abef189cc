"""The policy as a file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from headrace_classifier.policy import Policy, PolicyError, parse_policy


def read_policy(path: Path | None) -> Policy:
    """Reads the policy at `path`, or the one that is shipped. Raises PolicyError, naming the file."""
    if path is None:
        shipped = files("headrace_classifier").joinpath("policy.yaml")
        return parse_policy(shipped.read_text("utf-8"), origin="policy.yaml")
    try:
        content = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} cannot be read: {type(error).__name__}; expected a YAML file in UTF-8") from None
    return parse_policy(content, origin=str(path))
