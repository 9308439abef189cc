"""Each fault, planted in a catalog that has none, is found; what is exempted by name is not, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from headrace_database import lint
from headrace_database.lint import Exemption, Fault

pytestmark = pytest.mark.real

SCHEMA = "feedback"
ROLE = "headrace_feedback"

#: A table that keeps every rule; the faults are planted beside and on it.
SOUND = f"""
SET ROLE headrace_owner;
CREATE TABLE {SCHEMA}.sound (tenant text, id uuid, tier smallint, words text, PRIMARY KEY (tenant, id));
ALTER TABLE {SCHEMA}.sound ENABLE ROW LEVEL SECURITY;
ALTER TABLE {SCHEMA}.sound FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON {SCHEMA}.sound USING (tenant = NULLIF(current_setting('headrace.tenant', true), ''));
CREATE POLICY up_to_tier_2 ON {SCHEMA}.sound AS RESTRICTIVE TO {ROLE} USING (tier <= 3);
GRANT SELECT ON {SCHEMA}.sound TO {ROLE};
RESET ROLE;
"""

SEEDS = [
    (lint.VIEW, "v", f"CREATE VIEW {SCHEMA}.v AS SELECT * FROM {SCHEMA}.sound"),
    (lint.VIEW, "v", f"CREATE VIEW {SCHEMA}.v WITH (security_invoker = false) AS SELECT * FROM {SCHEMA}.sound"),
    (lint.MATERIALIZED, "m", f"CREATE MATERIALIZED VIEW {SCHEMA}.m AS SELECT * FROM {SCHEMA}.sound"),
    (
        lint.DEFINER,
        "f",
        f"CREATE FUNCTION {SCHEMA}.f() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1",
    ),
    (lint.UNGUARDED, "sound", f"ALTER TABLE {SCHEMA}.sound DISABLE ROW LEVEL SECURITY"),
    (lint.UNFORCED, "sound", f"ALTER TABLE {SCHEMA}.sound NO FORCE ROW LEVEL SECURITY"),
    (lint.UNDECIDED, "sound", f"DROP POLICY tenant ON {SCHEMA}.sound"),
    (lint.OPEN, "sound", f"CREATE POLICY everybody ON {SCHEMA}.sound USING (true)"),
    (lint.OPEN, "sound", f"CREATE POLICY writers ON {SCHEMA}.sound FOR INSERT WITH CHECK (tenant <> '')"),
    (lint.ORACLE, "sound", f"CREATE UNIQUE INDEX ON {SCHEMA}.sound (id)"),
    (lint.WITHOUT_TENANT, "sound", f"ALTER TABLE {SCHEMA}.sound DROP COLUMN tenant CASCADE"),
    (lint.UNTIERED, "sound", f"DROP POLICY up_to_tier_2 ON {SCHEMA}.sound"),
    (lint.UNTIERED, "sound", f"GRANT SELECT ON {SCHEMA}.sound TO {ROLE}_public"),
    (lint.UNTIERED, "sound", f"GRANT UPDATE (words) ON {SCHEMA}.sound TO {ROLE}_tier_1"),
    (lint.OWNED_BY_LOGIN, "sound", f"ALTER TABLE {SCHEMA}.sound OWNER TO {ROLE}"),
    (lint.OWNED_BY_LOGIN, "", f"ALTER SCHEMA {SCHEMA} OWNER TO postgres"),
    (lint.MIGHTY, ROLE, f"ALTER ROLE {ROLE} SUPERUSER"),
    (lint.MIGHTY, ROLE, f"ALTER ROLE {ROLE} BYPASSRLS"),
    (lint.MIGHTY, ROLE, f"GRANT headrace_owner TO {ROLE}"),
    (lint.PUBLIC, "sound", f"GRANT SELECT ON {SCHEMA}.sound TO PUBLIC"),
    (lint.PUBLIC, "sound", f"GRANT SELECT (words) ON {SCHEMA}.sound TO PUBLIC"),
    (lint.PUBLIC, "", f"GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC"),
]


@pytest_asyncio.fixture
async def planted(database: Any) -> AsyncIterator[Any]:
    """A superuser's connection in a transaction that is taken back, with the sound table in it."""
    connection = await asyncpg.connect(database.superuser)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(SOUND)
    yield connection
    await transaction.rollback()
    await connection.close()


async def test_a_sound_table_has_no_fault(planted: Any) -> None:
    assert await lint.lint(planted, [SCHEMA]) == []


@pytest.mark.parametrize(("rule", "name", "seed"), SEEDS)
async def test_a_planted_fault_is_found(planted: Any, rule: str, name: str, seed: str) -> None:
    await planted.execute(seed)
    thing = name if name in {"", ROLE} else f"{SCHEMA}.{name}"
    assert (rule, thing or SCHEMA) in {(fault.rule, fault.thing) for fault in await lint.lint(planted, [SCHEMA])}


def test_every_rule_has_a_seed() -> None:
    assert {rule.name for rule in lint.RULES} == {rule for rule, _, _ in SEEDS}


async def test_another_schemas_faults_are_not_this_ones(planted: Any) -> None:
    await planted.execute(f"DROP POLICY tenant ON {SCHEMA}.sound")
    assert await lint.lint(planted, ["ingest"]) == []


@pytest.mark.parametrize(
    ("rule", "table", "covered"),
    [
        (lint.ORACLE, "feedback.sound", True),
        (lint.ORACLE, "*.sound", True),
        (lint.OPEN, "*.sound", False),
        (lint.ORACLE, "ingest.sound", False),
        (lint.ORACLE, "*.soundness", False),
    ],
)
def test_an_exemption_covers_one_rule_of_one_table(rule: str, table: str, covered: bool) -> None:
    fault = Fault(lint.ORACLE, "feedback.sound", "")
    assert Exemption(rule, table, "because").covers(fault) is covered
