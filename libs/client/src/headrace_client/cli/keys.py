"""`headrace keys rotate`."""

from __future__ import annotations

from datetime import UTC

import typer

from headrace_client.cli.console import notice, say, say_json
from headrace_client.cli.governance import connected
from headrace_client.cli.options import AsOption, EndpointsOption, JsonOption
from headrace_client.cli.running import DONE, run

keys = typer.Typer(no_args_is_help=True, help="Look after the keys that seal what is kept.")


@keys.command()
def rotate(
    *,
    person: AsOption = "",
    endpoints: EndpointsOption = "",
    as_json: JsonOption = False,
) -> None:
    """Wrap every data key anew under a fresh master key, and destroy the master key before it.

    No data is touched. Afterwards the keys in older backups of the database open nothing. One that was interrupted is
    finished by the next.
    """
    run(_rotate(person=person, stated=endpoints, as_json=as_json))


async def _rotate(*, person: str, stated: str, as_json: bool) -> int:
    async with connected(stated, person=person) as client:
        done = await client.rotate_keys()
    if as_json:
        say_json(
            {
                "keys": done.keys,
                "master_key_version": done.master_key_version,
                "destroyed": done.destroyed,
                "rotated_at": done.rotated_at.ToDatetime(UTC).isoformat(),
            }
        )
        return DONE
    say(f"{done.keys} keys are wrapped under master key {done.master_key_version}.")
    if done.destroyed:
        say("The master key before it is destroyed.")
    else:
        notice("The master key before it is not in Headrace's hands: take it out of the environment.", style="yellow")
    return DONE
