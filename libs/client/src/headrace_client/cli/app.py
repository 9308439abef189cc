"""The command and its verbs: those here, and those that other packages bring."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points, version
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from headrace_client.cli.approvals import approvals
from headrace_client.cli.ask import ask
from headrace_client.cli.audit import audit
from headrace_client.cli.bench import bench
from headrace_client.cli.console import notice, say
from headrace_client.cli.datasets import datasets
from headrace_client.cli.dlq import dlq
from headrace_client.cli.documents import documents
from headrace_client.cli.drift import drift
from headrace_client.cli.erase import erase
from headrace_client.cli.evaluations import evaluations
from headrace_client.cli.feedback import feedback
from headrace_client.cli.judges import judges
from headrace_client.cli.keys import keys
from headrace_client.cli.lineage import lineage
from headrace_client.cli.loop import loop
from headrace_client.cli.models import models
from headrace_client.cli.policy import policy
from headrace_client.cli.prompts import prompts
from headrace_client.cli.publish import publish
from headrace_client.cli.reconcile import reconcile_command
from headrace_client.cli.report import report
from headrace_client.cli.review_queue import review
from headrace_client.cli.routes import routes
from headrace_client.cli.rubrics import rubrics
from headrace_client.cli.running import FAILED, USED_WRONGLY
from headrace_client.cli.runs import answers, evaluate, replay, runs
from headrace_client.cli.token import token
from headrace_client.cli.trace import trace
from headrace_client.cli.train import train
from headrace_client.cli.variants import variants

#: A package that brings verbs names a function here that takes the typer app and adds them to it.
GROUP = "headrace.commands"

#: What a package that is broken or half installed can raise while it is loaded.
_BROKEN = (ImportError, AttributeError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError)


#: As one meets them: start, ask, look, mend. What other packages bring besides comes after.
_ORDER = [
    "up",
    "down",
    "status",
    "doctor",
    "demo",
    "ask",
    "publish",
    "documents",
    "feedback",
    "review",
    "rubrics",
    "judges",
    "evaluations",
    "datasets",
    "evaluate",
    "replay",
    "runs",
    "answers",
    "report",
    "prompts",
    "variants",
    "routes",
    "drift",
    "train",
    "loop",
    "models",
    "lineage",
    "trace",
    "policy",
    "approvals",
    "audit",
    "erase",
    "keys",
    "dlq",
    "reconcile",
    "token",
    "bench",
]


class _InOrder(TyperGroup):
    """Lists the verbs in the order in which one meets them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs' names. The type of the context is private to typer."""
        known = {name: place for place, name in enumerate(_ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: (known.get(name, len(known)), name))


def build_app() -> typer.Typer:
    """The app with the verbs of this package."""
    app = typer.Typer(
        name="headrace",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        cls=_InOrder,
        help="Questions to grounded, cited answers, over a stream of events.\n\n"
        "Leaves with 0 when done, 1 when it failed, 2 when used wrongly, 3 when the policy forbids it.",
    )
    app.callback()(_whole)
    app.command()(ask)
    app.command()(publish)
    app.add_typer(documents, name="documents")
    app.command()(trace)
    app.command()(token)
    app.command()(feedback)
    app.add_typer(review, name="review")
    app.add_typer(rubrics, name="rubrics")
    app.add_typer(judges, name="judges")
    app.add_typer(evaluations, name="evaluations")
    app.add_typer(datasets, name="datasets")
    app.command()(evaluate)
    app.command()(replay)
    app.add_typer(runs, name="runs")
    app.add_typer(answers, name="answers")
    app.command()(report)
    app.add_typer(prompts, name="prompts")
    app.add_typer(variants, name="variants")
    app.add_typer(routes, name="routes")
    app.add_typer(drift, name="drift")
    app.add_typer(train, name="train")
    app.add_typer(loop, name="loop")
    app.add_typer(models, name="models")
    app.command()(lineage)
    app.add_typer(policy, name="policy")
    app.add_typer(approvals, name="approvals")
    app.add_typer(audit, name="audit")
    app.add_typer(erase, name="erase")
    app.add_typer(keys, name="keys")
    app.add_typer(dlq, name="dlq")
    app.command("reconcile")(reconcile_command)
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)
    return app


def _say_version(is_asked: bool) -> None:
    if is_asked:
        say(f"headrace {version('headrace-client')}")
        raise typer.Exit


def _whole(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    del version


def load_verbs(app: typer.Typer, found: Iterable[EntryPoint]) -> None:
    """Adds the verbs of other packages. A package that cannot be loaded costs its own verbs only."""
    for point in sorted(found, key=lambda point: point.name):
        try:
            add: Callable[[typer.Typer], Any] = point.load()
            add(app)
        except _BROKEN as error:
            notice(f"The verbs of {point.value} could not be loaded ({type(error).__name__}: {error}).", style="yellow")


def complete_app() -> typer.Typer:
    """The app with every verb that is installed."""
    app = build_app()
    load_verbs(app, entry_points(group=GROUP))
    return app


def main() -> None:
    """Runs the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our characters shows others in their place
    try:
        complete_app()()
    except UnicodeError:
        notice("A text that was given is not valid UTF-8.", style="red")
        sys.exit(USED_WRONGLY)
    except BrokenPipeError:
        # Whoever read our output has closed it, as `head` does. Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
