"""The `headrace` command."""

from headrace_client.cli.app import main

__all__ = ["main"]
