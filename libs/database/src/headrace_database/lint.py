"""What must never be in the catalog: ways around row-level security, and tables that it does not hold.

Each rule is one query over pg_catalog; its rows are the faults. What is meant to be otherwise is exempted by name, with
a reason.
"""

# ruff: noqa: S608 - every query is made of our own words
from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import asyncpg


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the rule that it breaks, its name in the database, and what to do."""

    rule: str
    thing: str
    mend: str

    def __str__(self) -> str:
        return f"{self.thing}: {self.rule}"


@dataclass(frozen=True, slots=True)
class Exemption:
    """One rule that one table, "schema.table" or "*.table" in every schema, need not keep, and why."""

    rule: str
    table: str
    reason: str

    def covers(self, fault: Fault) -> bool:
        """Says whether the fault is meant to be."""
        schema, _, name = self.table.partition(".")
        its_schema, _, its_name = fault.thing.partition(".")
        return self.rule == fault.rule and name == its_name and schema in {"*", its_schema}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a catalog must keep. `query` returns the names of what breaks it; $1 is the schemas (text[])."""

    name: str
    query: str
    mend: str


VIEW = "a view that shows what its owner may see"
MATERIALIZED = "a materialized view"
DEFINER = "a function that runs as its owner"
UNGUARDED = "a table without row-level security"
UNFORCED = "a table whose owner sees every row"
UNDECIDED = "a table without a policy"
WITHOUT_TENANT = "a table without a tenant"
OPEN = "a policy that lets every tenant through"
ORACLE = "a unique key that tells one tenant what another has"
UNTIERED = "a role that no policy limits to a tier"
OWNED_BY_LOGIN = "owned by a role that can log in"
MIGHTY = "a role that row-level security does not hold"
PUBLIC = "open to everybody"

_TABLES = """
tables AS (
    SELECT c.oid, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity, n.nspname || '.' || c.relname AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p')
)
"""

# Who may log in and has any right in the schemas. The owner's rights are its own; the superuser is nobody's grantee.
_GRANTED = """
granted AS (
    SELECT DISTINCT r.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolreplication
    FROM pg_namespace n, aclexplode(n.nspacl) AS a JOIN pg_roles r ON r.oid = a.grantee
    WHERE n.nspname = ANY($1) AND r.rolcanlogin
)
"""

RULES: Sequence[Rule] = (
    Rule(
        VIEW,
        """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY($1) AND c.relkind = 'v' AND NOT EXISTS (
            SELECT FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'security_invoker' AND option_value IN ('true', 'on', '1', 'yes'))
        """,
        "make it WITH (security_invoker = true)",
    ),
    Rule(
        MATERIALIZED,
        """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY($1) AND c.relkind = 'm'
        """,
        "it knows no policies: make it a table that has some",
    ),
    Rule(
        DEFINER,
        """
        SELECT n.nspname || '.' || p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = ANY($1) AND p.prosecdef
        """,
        "make it SECURITY INVOKER",
    ),
    Rule(
        UNGUARDED,
        f"WITH {_TABLES} SELECT name FROM tables WHERE NOT relrowsecurity",
        "ALTER TABLE … ENABLE ROW LEVEL SECURITY",
    ),
    Rule(
        UNFORCED,
        f"WITH {_TABLES} SELECT name FROM tables WHERE NOT relforcerowsecurity",
        "ALTER TABLE … FORCE ROW LEVEL SECURITY",
    ),
    Rule(
        UNDECIDED,
        f"""
        WITH {_TABLES} SELECT name FROM tables AS t
        WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polpermissive)
        """,
        "give it a policy on its tenant",
    ),
    Rule(
        WITHOUT_TENANT,
        f"""
        WITH {_TABLES} SELECT name FROM tables AS t WHERE NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'tenant' AND NOT a.attisdropped)
        """,
        "give it a column `tenant`, or exempt it and say why",
    ),
    Rule(
        OPEN,
        f"""
        WITH {_TABLES} SELECT DISTINCT name FROM tables AS t JOIN pg_policy p ON p.polrelid = t.oid
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'tenant' AND NOT a.attisdropped
        WHERE p.polpermissive AND concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
            NOT LIKE '%headrace.tenant%'
        """,
        "compare the tenant with current_setting('headrace.tenant', true), or exempt it and say why",
    ),
    Rule(
        ORACLE,
        f"""
        WITH {_TABLES} SELECT DISTINCT name FROM tables AS t JOIN pg_index i ON i.indrelid = t.oid
        WHERE i.indisunique AND NOT EXISTS (
            SELECT FROM pg_attribute a
            WHERE a.attrelid = t.oid AND a.attname = 'tenant' AND a.attnum = ANY(i.indkey::smallint[]))
        """,
        "put the tenant into every unique key, or exempt the table and say why",
    ),
    Rule(
        UNTIERED,
        f"""
        WITH {_TABLES} SELECT DISTINCT name FROM tables AS t
        JOIN pg_attribute c ON c.attrelid = t.oid AND c.attname = 'tier' AND NOT c.attisdropped
        CROSS JOIN LATERAL (
            SELECT grantee FROM aclexplode(t.relacl)
            UNION SELECT x.grantee FROM pg_attribute g, aclexplode(g.attacl) AS x WHERE g.attrelid = t.oid
        ) AS rights
        WHERE rights.grantee <> t.relowner AND NOT EXISTS (
            SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND NOT p.polpermissive AND p.polcmd = '*'
                AND rights.grantee = ANY(p.polroles) AND pg_get_expr(p.polqual, p.polrelid) ~ '\\mtier\\M')
        """,
        "give each role that has rights in it a policy AS RESTRICTIVE TO that role USING (tier <= …)",
    ),
    Rule(
        OWNED_BY_LOGIN,
        """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_roles r ON r.oid = c.relowner
        WHERE n.nspname = ANY($1) AND r.rolcanlogin AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT n.nspname || '.' || p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        JOIN pg_roles r ON r.oid = p.proowner WHERE n.nspname = ANY($1) AND r.rolcanlogin
        UNION ALL
        SELECT n.nspname FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
        WHERE n.nspname = ANY($1) AND r.rolcanlogin
        """,
        "ALTER … OWNER TO headrace_owner",
    ),
    Rule(
        MIGHTY,
        f"""
        WITH {_GRANTED} SELECT rolname FROM granted AS g
        WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication OR EXISTS (
            SELECT FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner
            WHERE n.nspname = ANY($1) AND NOT g.rolsuper AND pg_has_role(g.oid, o.oid, 'MEMBER'))
        """,
        "take SUPERUSER, BYPASSRLS, CREATEROLE, REPLICATION and the membership in the owner's role from it",
    ),
    Rule(
        PUBLIC,
        """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY($1) AND (
            EXISTS (SELECT FROM aclexplode(c.relacl) WHERE grantee = 0)
            OR EXISTS (SELECT FROM pg_attribute a, aclexplode(a.attacl) AS x
                WHERE a.attrelid = c.oid AND x.grantee = 0))
        UNION ALL
        SELECT nspname FROM pg_namespace, aclexplode(nspacl) WHERE nspname = ANY($1) AND grantee = 0
        """,
        "REVOKE ALL ON … FROM PUBLIC, and grant it to the role that needs it",
    ),
)


async def lint(
    connection: asyncpg.Connection[asyncpg.Record], schemas: Collection[str], *, exempt: Sequence[Exemption] = ()
) -> list[Fault]:
    """Returns what is wrong in these schemas, by rule and name. Any role may look: the catalog is open to all.

    Raises what asyncpg raises.
    """
    found = [fault for rule in RULES for fault in await _broken(connection, rule, schemas)]
    return [fault for fault in found if not any(exemption.covers(fault) for exemption in exempt)]


async def _broken(connection: asyncpg.Connection[asyncpg.Record], rule: Rule, schemas: Collection[str]) -> list[Fault]:
    rows = await connection.fetch(rule.query, list(schemas))
    return sorted((Fault(rule.name, row[0], rule.mend) for row in rows), key=lambda fault: fault.thing)
