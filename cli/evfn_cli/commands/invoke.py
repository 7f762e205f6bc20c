"""`evfn invoke`: run one function on one event, here and now."""

import click

from evfn_cli.options import common


@click.command("invoke")
@click.argument("target", metavar="TRIGGER|FUNCTION")
@click.option("--data", metavar="DATA", help="The event's data, read as `evfn emit` reads them; - reads stdin.")
@click.option("--event", "file", metavar="FILE", help="A CloudEvent in JSON, or a dead letter; - reads stdin.")
@click.option("--debug", is_flag=True, help="Open a debugger (pdb) where the function fails, or at its breakpoint().")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common
@click.pass_context
def command(
    context: click.Context, *, target: str, data: str | None, file: str | None, debug: bool, as_json: bool
) -> int:
    """Run one function on an event, without a server.

    Once, with what comes of it shown: events that it emits are printed, not published. Exit code 1 where it fails.
    """
    if debug and as_json:
        raise click.UsageError("--debug talks to a person, --json to a program; name one", context)
    if data is not None and file is not None:
        raise click.UsageError("name --data or --event, not both", context)
    # What runs functions is imported only now: `evfn invoke --help` needs none of it.
    from evfn_cli.opened import open_project
    from evfn_cli.trial import invoke

    return 0 if invoke(open_project(context), target, data, file, as_json=as_json, debug=debug) else 1
