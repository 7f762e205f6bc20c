"""`evfn tail`: the events of a topic, those there are and those that come."""

import click

from evfn_cli.options import common

MOST = 10_000


@click.command("tail")
@click.argument("topic", required=False)
@click.option("-n", "--lines", "count", type=click.IntRange(0, MOST), help="The last so many.  [default: 10]")
@click.option("--from", "since", metavar="PLACE", help="All since: 10m ago, a time (RFC 3339), a stream id, earliest.")
@click.option("--no-follow", is_flag=True, help="End after what is there now.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as CloudEvents JSON, one a line.")
@common
@click.pass_context
def command(
    context: click.Context, *, topic: str | None, count: int | None, since: str | None, no_follow: bool, as_json: bool
) -> None:
    """Show the last events of a topic, then those that come.

    Until Ctrl-C. Without TOPIC those of every topic that the project's triggers listen on or emit to. TOPIC may be a
    pattern, in quotes: 'readings.*'. Nothing is taken from any trigger.
    """
    if count is not None and since is not None:
        raise click.UsageError("-n counts from the end, --from begins at a place; name one", context)
    # What asks the server is imported only now: `evfn tail --help` needs none of it.
    from evfn_cli.opened import open_project
    from evfn_cli.tailing import Tailing, Wanted
    from evfn_cli.until_signal import until_signal

    wanted = Wanted(topic, 10 if count is None else count, since, follow=not no_follow, as_json=as_json)
    until_signal(Tailing(open_project(context, filters=False), wanted).run)
