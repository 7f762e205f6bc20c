"""`evfn rq-worker`: runs the jobs of triggers with `isolation: job`, on any machine that has the project."""

import os
import sys

import click

from evfn_cli.options import common


@click.command("rq-worker")
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="An RQ queue to serve; may be repeated.  [default: those of the manifest's triggers]",
)
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    default=1,
    metavar="N",
    show_default=True,
    help="RQ workers for each queue: so many jobs run at a time.",
)
@click.option(
    "--drain-timeout",
    "drain",
    default="30s",
    metavar="TIME",
    show_default=True,
    envvar="EVFN_DRAIN_TIMEOUT",
    help="How long what runs may take to finish when it is told to stop; then it is run again elsewhere.",
)
@click.option(
    "--log",
    "form",
    type=click.Choice(["text", "json"]),
    help="Lines for a person, or one JSON object a line.  [default: text on a terminal, else json]",
)
@common
@click.pass_context
def command(context: click.Context, *, queues: tuple[str, ...], count: int, drain: str, form: str | None) -> int:
    """Run the jobs of this project's triggers with isolation: job.

    Start it on as many machines as there is work for; an instance (evfn serve, or evfn run) enqueues the jobs and
    settles what comes of them. RQ's own tools, such as rq info, show them.

    SIGTERM finishes what runs, within --drain-timeout, and ends with 0; with 1 where jobs had to be ended. A second
    signal aborts. Either way nothing is lost, and no attempt is burnt. SIGHUP reads manifest and .env anew; functions
    are imported for every job.
    """
    # What runs is imported only now: `evfn rq-worker --help` needs none of it.
    from evfn.errors import UsageError
    from evfn.manifest import duration
    from evfn_cli.job_runner import JobRunner
    from evfn_cli.opened import open_project
    from evfn_cli.render import escape

    as_json = form == "json" if form is not None else not sys.stdout.isatty()
    try:
        patience = duration.parse(drain)
    except ValueError as error:
        raise UsageError(f"--drain-timeout: {escape(str(error))}") from error
    ended = JobRunner(open_project(context), queues, count, as_json=as_json).run(patience)
    if ended.by is not None:
        import signal

        signal.signal(ended.by, signal.SIG_DFL)
        os.kill(os.getpid(), ended.by)
    return 0 if ended.finished else 1
