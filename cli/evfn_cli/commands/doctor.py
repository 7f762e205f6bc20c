"""`evfn doctor`: what of the server may break evfn's promises."""

import asyncio
import json

import click

from evfn_cli.options import common
from evfn_cli.render import out


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all findings.")
@common
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> int:
    """Say what of the server may break evfn's promises, and what to do.

    Looks at its version, persistence, memory, rights, replication and limits, and changes nothing. Exit code 1 where
    something is grave: events are lost, or cannot be taken at all.
    """
    # What asks the server is imported only now: `evfn doctor --help` needs none of it.
    from evfn.broker.findings import Gravity
    from evfn_cli import checkup
    from evfn_cli.opened import open_project

    opened = open_project(context, filters=False)
    server, found = asyncio.run(checkup.examine(opened))
    if as_json:
        out(json.dumps(checkup.as_object(opened.project.name, server, found)))
    else:
        checkup.show(found)
    return 1 if any(each.gravity is Gravity.GRAVE for each in found) else 0
