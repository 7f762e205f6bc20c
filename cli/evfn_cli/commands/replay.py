"""`evfn replay`: past events to one trigger again."""

import click

from evfn_cli.options import common

_PLACES = "2h ago, a time (RFC 3339), a stream id"


@click.command("replay")
@click.argument("trigger")
@click.option("--from", "since", metavar="PLACE", help=f"Where to begin: {_PLACES}, earliest.")
@click.option("--to", "until", metavar="PLACE", help=f"Where to end: {_PLACES} (with it), a time (before it).  [now]")
@click.option("--topic", "topics", metavar="TOPIC", multiple=True, help="Only this one of its topics; may be repeated.")
@click.option("--filter", "condition", metavar="CEL", help="Only events for which this is true.")
@click.option("--rate", metavar="N/s", help="At most so many a second; 10/m a minute.  [default: as they are taken]")
@click.option("--dry-run", is_flag=True, help="Only say how many there are.")
@click.option("--resume", is_flag=True, help="Go on with the replay that is not finished.")
@click.option("--cancel", is_flag=True, help="Give it up; what it has brought already still runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@common
@click.pass_context
def command(
    context: click.Context,
    *,
    trigger: str,
    since: str | None,
    until: str | None,
    topics: tuple[str, ...],
    condition: str | None,
    rate: str | None,
    dry_run: bool,
    resume: bool,
    cancel: bool,
    as_json: bool,
) -> int:
    """Give past events to one trigger again, and to no other.

    Each is a new invocation, for which the trigger's own filter is asked as for any event; its function sees the
    replay's id in context.replay. New events go on meanwhile. A replay that was interrupted, even by kill -9, goes on
    where it stopped with --resume, or with the same command again; no event comes twice.
    """
    if [since is not None, resume, cancel].count(True) != 1:
        raise click.UsageError("write where to begin (--from), or --resume, or --cancel", context)
    if since is None and (until is not None or topics or condition is not None or dry_run):
        raise click.UsageError("what a replay began with stays: --resume takes only --rate", context)
    if cancel and rate is not None:
        raise click.UsageError("--cancel ends a replay, so it has no --rate", context)
    # What asks the server is imported only now: `evfn replay --help` needs none of it.
    import asyncio

    from evfn_cli.opened import open_project
    from evfn_cli.replay_request import Asked
    from evfn_cli.replaying import Replaying

    opened = open_project(context, filters=False)
    asked = Asked(since, until, topics, condition, rate)
    replaying = Replaying(opened, opened.trigger(trigger), asked, as_json=as_json)
    if cancel:
        return asyncio.run(replaying.cancel())
    if resume:
        return asyncio.run(replaying.resume())
    return asyncio.run(replaying.count() if dry_run else replaying.begin())
