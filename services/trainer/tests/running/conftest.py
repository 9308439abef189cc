"""A house for each store."""

from __future__ import annotations

import pytest
from headrace_database import Database

from services.trainer.tests.running.house import House, MemoryHouse, PostgresHouse


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def house(request: pytest.FixtureRequest, tenant: str) -> House:
    """Runs over one store."""
    if request.param == "memory":
        return MemoryHouse(tenant)
    database: Database = request.getfixturevalue("opened")
    return PostgresHouse(tenant, database)
