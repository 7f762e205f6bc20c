"""RQ workers for this project: which queues, on which server, until which signal."""

import asyncio
import os
from collections.abc import Sequence

from evfn import instance_lock
from evfn.broker.connection import Connection, mask
from evfn.clock import SystemClock
from evfn.errors import UsageError
from evfn.jobs.crew import Crew, Ended
from evfn.jobs.home import Home
from evfn.manifest import duration
from evfn.nearest import did_you_mean
from evfn.project import Location, OpenedProject
from evfn.trigger import Isolation, Project
from evfn_cli.job_log import JobLog
from evfn_cli.masks import masks
from evfn_cli.opened import Opened, reopen
from evfn_cli.render import escape, say
from evfn_cli.server import ready


def run_jobs(opened: Opened, queues: Sequence[str], count: int, drain: str, *, as_json: bool) -> Ended:
    """Until a signal; whether what ran was finished then.

    Raises UsageError for what cannot be served, BrokerError where the server cannot be used.
    """
    try:
        patience = duration.parse(drain)
    except ValueError as error:
        raise UsageError(f"--drain-timeout: {escape(str(error))}") from error
    chosen = _queues(opened.project, queues)
    location = opened.location
    url = _server(location)
    asyncio.run(_ready(url))

    def home(defined: OpenedProject) -> Home:
        # Jobs that began before a reload end on the values of then.
        log.masks = log.masks.joined(masks(defined.project, os.environ, defined.env_file, {"server": url}))
        return Home(defined.project, defined.env_file, location.folder, location.functions, url)

    log = JobLog(location.folder, as_json=as_json)
    first = home(opened.definition)
    log.ready(chosen, count)
    members = [name for name in chosen for _ in range(count)]
    return Crew(first, members, patience, log.tell, lambda: home(reopen(location))).run()


def _queues(project: Project, named: Sequence[str]) -> list[str]:
    jobs = [trigger for trigger in project.triggers if trigger.isolation is Isolation.JOB]
    if not jobs:
        raise UsageError("no trigger of this manifest has `isolation: job`: there is nothing to run")
    there = list(dict.fromkeys(project.queue(trigger) for trigger in jobs))
    for name in named:
        if name not in there:
            hint = did_you_mean(name, there)
            raise UsageError(f"no trigger uses the queue {escape(name)!r}{hint}; there are: {', '.join(there)}")
    return list(dict.fromkeys(named)) or there


def _server(location: Location) -> str:
    """The server that the instances of this project use. Raises UsageError where there is none yet."""
    if location.server.url is not None:
        say(f"server: {escape(mask(location.server.url))} (from {location.server.source})")
        return location.server.url
    running = next((each.server for each in instance_lock.living(location.state) if each.server), None)
    if running is None:
        raise UsageError(
            "no instance runs in this folder, so there is no server either: start `evfn run` first,"
            " or name a server with --redis"
        )
    say("server: embedded, that of the instance running in this project")
    return running


async def _ready(url: str) -> None:
    connection = await Connection.open(url, clock=SystemClock())
    try:
        await ready(connection)
    finally:
        await connection.close()
