"""What a conversation is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation. fixed: it belongs to the prompt and holds nothing of the user's."""

    role: Role
    text: str = field(repr=False)
    fixed: bool = False
