"""The policy, for a service that starts."""

from __future__ import annotations

from pathlib import Path

from headrace_privacy.policy import Policy
from headrace_privacy.policy_file import PolicyError, read_policy

from headrace_runtime.errors import Conflict


def load_policy(path: Path | str | None) -> Policy:
    """Reads the policy at `path`, or the one that is shipped when there is none. Raises Conflict, which ends the start,
    with everything that is wrong with it."""
    try:
        return read_policy(Path(path) if path else None)
    except PolicyError as error:
        raise Conflict(str(error)) from None
