"""RQ workers for this project: which queues, on which server, until which signal."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from evfn import instance_lock
from evfn.broker.connection import Connection, mask
from evfn.clock import SystemClock
from evfn.errors import UsageError
from evfn.jobs.crew import Crew, Ended
from evfn.jobs.home import Home
from evfn.jobs.told import Noted
from evfn.nearest import did_you_mean
from evfn.project import Location, OpenedProject
from evfn.trigger import Isolation, Project
from evfn_cli.job_log import JobLog
from evfn_cli.masks import masks
from evfn_cli.opened import Opened, reopen
from evfn_cli.render import escape, say
from evfn_cli.server import ready


class JobRunner:
    """RQ workers of one project, `count` for each of the `named` queues, or of all that its triggers use."""

    def __init__(self, opened: Opened, named: Sequence[str], count: int, *, as_json: bool) -> None:
        self._opened = opened
        self._named = named
        self._count = count
        self._log = JobLog(opened.location.folder, as_json=as_json)
        self._url = ""

    def run(self, drain: timedelta) -> Ended:
        """Until a signal; whether what ran was finished then, within that time.

        Raises UsageError for what cannot be served, BrokerError where the server cannot be used.
        """
        queues = _queues(self._opened.project, self._named)
        self._url = _server(self._opened.location)
        home = self._home(self._opened.definition)
        asyncio.run(self._wait_for_server())
        self._log.ready(home.project.name, mask(self._url), queues, self._count)
        ended = Crew(home, queues * self._count, drain, self._log.tell, self._reopen).run()
        self._log.stopped(finished=ended.finished)
        return ended

    def _reopen(self) -> tuple[Home, list[str]]:
        read, first = reopen(self._opened.location), self._opened.project
        if (read.project.name, read.project.settings) != (first.name, first.settings):
            self._log.tell(Noted("a new name, or new settings, take effect when evfn rq-worker is started again"))
        project = replace(read.project, name=first.name, settings=first.settings)
        return self._home(replace(read, project=project)), _queues(project, self._named) * self._count

    def _home(self, defined: OpenedProject) -> Home:
        # Jobs that began before a reload end on the values of then.
        found = masks(defined.project, os.environ, defined.env_file, {"server": self._url})
        self._log.masks = self._log.masks.joined(found)
        place = self._opened.location
        return Home(defined.project, defined.env_file, place.folder, place.functions, self._url)

    async def _wait_for_server(self) -> None:
        connection = await Connection.open(self._url, clock=SystemClock())
        try:
            await ready(connection, tell=lambda text: self._log.tell(Noted(text)))
        finally:
            await connection.close()


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
