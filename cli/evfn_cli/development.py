"""An instance for development: its server, its signals, its log on the terminal."""

import asyncio
import json
import os
import signal
from contextlib import suppress
from datetime import timedelta
from functools import partial

import click

from evfn import instance_lock
from evfn.broker.connection import Connection
from evfn.clock import SystemClock
from evfn.listener import Listeners, TriggerState
from evfn.project import prepare_state
from evfn.runtime import Ended, Place, Runtime
from evfn.scheduling import give_way
from evfn_cli import editor_schema
from evfn_cli.checkup import warn_of_grave
from evfn_cli.log import MOMENT_SECONDS, Log
from evfn_cli.long_lived import LongLived
from evfn_cli.masks import masks
from evfn_cli.opened import Opened, reopen
from evfn_cli.render import out, say
from evfn_cli.server import again, ready, server_url
from evfn_cli.snapshot import snapshot
from evfn_cli.states import States
from evfn_cli.stopping import Stopping


class Run:
    """One `evfn run`, from its server to its last line."""

    def __init__(self, opened: Opened, *, until_idle: bool, as_json: bool, reload: bool) -> None:
        self._opened = opened
        self._until_idle = until_idle
        self._as_json = as_json
        self._reload = reload
        self._log = Log(self._write, opened.location.folder)
        self._states = States(opened.location.state, self._log)
        self._stopping = Stopping(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._silent = False

    async def run(self) -> int:
        """Until it ends by itself or by a signal; returns the exit code, or dies of the signal that aborted it."""
        return await self._stopping.during(self._serve, self._states.forget)

    async def _serve(self) -> int | None:
        location = self._opened.location
        prepare_state(location.state)
        with suppress(OSError):
            editor_schema.refresh(location.state)
        for each in instance_lock.living(location.state):
            say(f"another instance runs in this folder (pid {each.pid}): the two share the events between them")
        async with server_url(location) as url:
            await self._wait_for(url)
            give_way()
            definition = (location.manifest, location.env_file) if self._reload else ()
            place = Place(location.folder, location.functions, location.state, url, definition)
            opened = self._opened.definition
            runtime = self._stopping.runtime = Runtime(
                opened,
                place,
                Listeners(self._states, LongLived()),
                reopen=partial(reopen, location) if self._reload else None,
                mask=masks(opened.project, os.environ, opened.env_file, {"server": url}).mask_written,
            )
            ticking = asyncio.create_task(self._tick())
            try:
                ended = await runtime.run(until_idle=self._until_idle)
            finally:
                ticking.cancel()
                self._log.flush()
            if ended is Ended.ABORTED:
                return None
            if self._as_json:
                await self._print_status(url)
        if ended is Ended.IDLE:
            return self._outcome()
        return 1 if ended is Ended.OVERDUE else 0

    def _outcome(self) -> int:
        """The exit code of a run that came to its end: events of a broken trigger were not even tried."""
        broken = [name for name, state in self._states.triggers.items() if state["state"] == TriggerState.BROKEN.value]
        if broken:
            say(f"the events of {', '.join(broken)} wait until the function loads")
            return 1
        return 3 if self._log.dead_letters else 0

    async def _wait_for(self, url: str) -> None:
        """Until the server serves. Raises BrokerError at once for what waiting cannot mend."""
        connection = await Connection.open(url, clock=SystemClock())
        try:
            await ready(connection)
            if self._opened.location.server.url is not None:
                await warn_of_grave(connection)
        finally:
            await connection.close()

    async def _print_status(self, url: str) -> None:
        connection = await Connection.open(url, clock=SystemClock())
        try:
            found = await again(lambda: snapshot(connection, self._opened))
        finally:
            await connection.close()
        for trigger, state in self._states.triggers.items():
            if state["state"] != "loading":
                found["triggers"][trigger].update(state)
        out(json.dumps(found))

    async def _tick(self) -> None:
        while True:
            await SystemClock().sleep(timedelta(seconds=MOMENT_SECONDS / 2))
            self._log.tick()

    def _write(self, line: str) -> None:
        if self._silent:
            return
        try:
            click.echo(line, err=self._as_json)
        except OSError:
            # Nobody reads any more, or the disk is full; the events are worth more than the log.
            self._silent = True
            with suppress(OSError):
                say("the log cannot be written any more; evfn goes on without it")
