"""What governance needs of a store: grants, decisions on tiers, dictionaries and the audit log, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_identity import EVERYBODY
from headrace_privacy.policy import Purpose

from headrace_classifier.approvals import Grant
from headrace_classifier.audit import Entry
from headrace_classifier.dictionaries import StoredDictionary
from headrace_classifier.tier_decisions import About, TierDecision

__all__ = ["EVERYBODY", "Register", "Registry"]


class Register(Protocol):
    """One transaction. It sees the rows of the tenant that it was opened for."""

    async def add_grant(self, grant: Grant) -> None:
        """Stores a request; its id must be free."""

    async def hold_grant(self, grant_id: UUID) -> Grant | None:
        """The grant, which nobody else changes until the transaction ends; None when there is none to be seen."""

    async def change_grant(self, grant: Grant) -> None:
        """Stores what was decided on a held grant."""

    async def grant(self, grant_id: UUID) -> Grant | None:
        """One grant, None when there is none to be seen."""

    async def grants(self, *, most: int) -> Sequence[Grant]:
        """The newest requests, newest first."""

    async def approved(self, tenant: str, purpose: Purpose) -> Sequence[Grant]:
        """What was approved for a purpose and not revoked. It may have expired."""

    async def put_tier_decision(self, decision: TierDecision) -> None:
        """Stores a decision in place of the one before, and tells every instance once it is committed."""

    async def remove_tier_decision(self, about: About) -> bool:
        """Removes a decision and tells every instance; says whether there was one."""

    async def tier_decisions(self) -> Sequence[TierDecision]:
        """The decisions in force, by tenant, kind and name."""

    async def put_dictionary(self, dictionary: StoredDictionary) -> None:
        """Stores a tenant's dictionary in place of the one before, and tells every instance once it is committed."""

    async def dictionary(self, tenant: str) -> StoredDictionary | None:
        """A tenant's dictionary."""

    async def dictionaries(self) -> Mapping[str, datetime]:
        """Who has a dictionary, and since when."""

    async def hold_log(self) -> None:
        """Lets nobody else record until this transaction ends: what is read from then on holds at the row it adds."""

    async def record(self, entry: Entry) -> int:
        """Adds a row to the audit log and returns its number. Comes last: others wait for this transaction's end."""


class Registry(Protocol):
    """Opens transactions."""

    def open(self, tenant: str) -> AbstractAsyncContextManager[Register]:
        """Opens one that sees a tenant's rows, or everybody's for EVERYBODY. Raises Unavailable."""
