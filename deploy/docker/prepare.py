"""Prepares the servers that the services run on: once, before they start, and again after an update.

    python deploy/docker/prepare.py database     roles, schemas and migrations of every service
    python deploy/docker/prepare.py topics       the topics of the contracts, their dead letters, and who may use which
    python deploy/docker/prepare.py keys         the keys that services believe and sign with, and the audit log's

Settings: HEADRACE_SETUP_DATABASE, the superuser's DSN of the database "postgres"; HEADRACE_PASSWORD_<SERVICE>, the
password of that service's role; HEADRACE_SETUP_KAFKA, Kafka's bootstrap servers, and HEADRACE_SETUP_KAFKA_PASSWORD,
its superuser's password: without it the broker is taken to ask nobody, and gets no access-control list;
HEADRACE_SETUP_KEYS, the folder above that of the keys. What exists is left as it is, but the passwords are set again.
"""
# ruff: noqa: INP001 - a script of the image, not a package

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg
from headrace_database.lint import lint
from headrace_embedded.audit_key import ensure_audit_key
from headrace_embedded.identity import ensure_keys
from headrace_embedded.migrations import migrate_all
from headrace_embedded.servers import acls, provision, topics
from headrace_embedded.servers.exemptions import EXEMPT
from headrace_stream.security import OPEN, BusSecurity

#: What is safe in a DSN and in SQL as it stands.
PASSWORD = re.compile(r"[A-Za-z0-9_.~-]{8,}")


def passwords(environ: Mapping[str, str]) -> dict[str, str]:
    """The password of each service's role, by role. The receiver of traces does not run here: nobody knows its own."""
    chosen = {schema: _password(environ, schema) for schema in provision.SERVICES}
    chosen["traces"] = environ.get("HEADRACE_PASSWORD_TRACES") or secrets.token_urlsafe()
    return {provision.role_of(schema): password for schema, password in chosen.items()}


def _password(environ: Mapping[str, str], service: str) -> str:
    name = f"HEADRACE_PASSWORD_{service.upper()}"
    if not PASSWORD.fullmatch(environ.get(name, "")):
        sys.exit(f"{name}: set it to at least 8 of A-Z, a-z, 0-9, _, ., ~ and -")
    return environ[name]


def _required(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        sys.exit(f"{name} is not set.")
    return environ[name]


async def prepare_database(environ: Mapping[str, str]) -> None:
    """Makes roles and schemas, brings every schema to its newest state, and looks whether anything goes round its rows'
    policies: no service starts on a database in which something does."""
    superuser = _required(environ, "HEADRACE_SETUP_DATABASE")
    database = environ.get("HEADRACE_SETUP_NAME", provision.DATABASE)
    dsn = await provision.provision(superuser, database=database, passwords=passwords(environ))
    for schema, applied in (await migrate_all(dsn)).items():
        sys.stdout.write(f"{schema}: {', '.join(applied) or 'up to date'}\n")
    connection = await asyncpg.connect(dsn)
    try:
        faults = await lint(connection, provision.SCHEMAS, exempt=EXEMPT)
    finally:
        await connection.close()
    if faults:
        sys.exit("\n".join(f"{fault}: {fault.mend}" for fault in faults))


async def prepare_topics(environ: Mapping[str, str]) -> None:
    """Makes the topics that are missing, and says who may read and write them."""
    kafka = _required(environ, "HEADRACE_SETUP_KAFKA")
    password = environ.get("HEADRACE_SETUP_KAFKA_PASSWORD", "")
    security = BusSecurity(acls.SUPERUSER, password) if password else OPEN
    made = await topics.create_topics(kafka, security=security)
    sys.stdout.write(f"{len(made)} topics made\n")
    if password:
        put = await asyncio.to_thread(acls.put_acls, kafka, username=acls.SUPERUSER, password=password)
        sys.stdout.write(f"{put} lines in Kafka's access-control list\n")


async def prepare_keys(environ: Mapping[str, str]) -> None:
    """Makes the keys that are missing, below the folder that HEADRACE_SETUP_KEYS names."""
    home = Path(_required(environ, "HEADRACE_SETUP_KEYS"))
    keys = await asyncio.to_thread(ensure_keys, home)
    await asyncio.to_thread(ensure_audit_key, keys.folder)
    sys.stdout.write(f"keys in {keys.folder}\n")


VERBS = {"database": prepare_database, "topics": prepare_topics, "keys": prepare_keys}

if __name__ == "__main__":
    if sys.argv[1:] not in [[verb] for verb in VERBS]:
        sys.exit("usage: prepare.py database|topics|keys")
    asyncio.run(VERBS[sys.argv[1]](os.environ))
