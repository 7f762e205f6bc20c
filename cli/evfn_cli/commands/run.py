"""`evfn run`: an instance for development, its log on the terminal."""

import asyncio

import click

from evfn_cli.options import common


@click.command("run")
@click.option("--until-idle", is_flag=True, help="End when nothing is waiting, running or due.")
@click.option(
    "--json", "as_json", is_flag=True, help="The log goes to stderr; the last line is `evfn status --json`'s."
)
@click.option("--no-reload", is_flag=True, help="Keep to the code and manifest of the start.")
@common
@click.pass_context
def command(context: click.Context, *, until_idle: bool, as_json: bool, no_reload: bool) -> int:
    """Run this project's functions as events arrive.

    The first Ctrl-C finishes what runs, a second one aborts: nothing is lost, what was not finished is delivered again.

    Edits of functions, of what they import, of the manifest and of .env serve the next event. What does not load leaves
    the code before it running, and says why.

    With --until-idle the exit code is 3 where events were dead-lettered, 1 where a function did not load.
    """
    # What runs is imported only now: `evfn run --help` needs none of it.
    from evfn_cli.development import Run
    from evfn_cli.opened import open_project

    opened = open_project(context)
    # What runs until it is idle is over before anybody edits.
    reload = not no_reload and not until_idle
    return asyncio.run(Run(opened, until_idle=until_idle, as_json=as_json, reload=reload).run())
