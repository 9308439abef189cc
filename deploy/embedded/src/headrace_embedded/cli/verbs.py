"""What the entry points of the group `headrace.commands` name: each adds one verb to the command."""

from __future__ import annotations

import typer

from headrace_embedded.cli import demo, doctor, status, up


def add_up(app: typer.Typer) -> None:
    """Adds `headrace up`."""
    app.command("up")(up.up)


def add_down(app: typer.Typer) -> None:
    """Adds `headrace down`."""
    app.command("down")(up.down)


def add_status(app: typer.Typer) -> None:
    """Adds `headrace status`."""
    app.command("status")(status.status)


def add_doctor(app: typer.Typer) -> None:
    """Adds `headrace doctor`."""
    app.command("doctor")(doctor.doctor)


def add_demo(app: typer.Typer) -> None:
    """Adds `headrace demo`."""
    app.command("demo")(demo.demo)
