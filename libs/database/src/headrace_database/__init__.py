"""Postgres: pools, transactions, migrations and the spans of statements."""

from headrace_database.connection import Connection, Database, open_database

__all__ = ["Connection", "Database", "open_database"]
