"""`evfn serve`: an instance for servers, its log for machines."""

import asyncio

import click

from evfn.errors import UsageError
from evfn_cli.options import common
from evfn_cli.render import escape


@click.command("serve")
@click.option(
    "--http",
    "http",
    metavar="ADDRESS",
    envvar="EVFN_HTTP",
    help="Answer /healthz, /readyz, /metrics, /scale/TRIGGER at :PORT (this machine only) or HOST:PORT.  [EVFN_HTTP]",
)
@click.option(
    "--drain-timeout",
    metavar="TIME",
    default="30s",
    show_default=True,
    envvar="EVFN_DRAIN_TIMEOUT",
    help="How long running functions get to finish at the end.  [EVFN_DRAIN_TIMEOUT]",
)
@common
@click.pass_context
def command(context: click.Context, *, http: str | None, drain_timeout: str) -> int:
    """Run this project's functions on a server.

    The Redis server must be named. The log goes to stdout, one JSON object a line. No file is watched: SIGHUP reads
    manifest, .env and functions anew, and what cannot be used leaves everything as it was.

    SIGTERM finishes what runs, within --drain-timeout, and ends with 0; with 1 where functions had to be killed. A
    second signal aborts. Either way nothing is lost: what was not finished is delivered again.
    """
    # What runs is imported only now: `evfn serve --help` needs none of it.
    from evfn.http import Address
    from evfn.manifest import duration
    from evfn_cli.opened import open_project
    from evfn_cli.production import Serve

    try:
        drain = duration.parse(drain_timeout)
    except ValueError as error:
        raise UsageError(f"--drain-timeout: {escape(str(error))}") from error
    address = None if not http else Address.parse(http)
    warnings: list[str] = []
    opened = open_project(context, tell=warnings.append)
    server = opened.location.server
    if server.url is None or not server.named:
        raise UsageError(
            "evfn serve needs a Redis server: name it with --redis redis://HOST:PORT, or in EVFN_REDIS_URL,"
            " or the file that holds its URL with --redis-file (evfn run uses one of its own)"
        )
    return asyncio.run(Serve(opened, server.url, drain=drain, address=address, warnings=warnings).run())
