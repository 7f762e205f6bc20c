"""An instance on a server: a Redis of one's own, its log as JSON, its state told to whatever runs it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import Enum

from evfn.broker.connection import Connection
from evfn.clock import SystemClock
from evfn.endpoint.backlogs import Backlogs
from evfn.endpoint.readiness import Readiness
from evfn.endpoint.routes import Endpoint
from evfn.errors import EvfnError
from evfn.http import Address, Server
from evfn.listener import Happening, Listener, Listeners, ReloadEnded, Reloading, Started, Stopping
from evfn.metrics import Metrics
from evfn.project import OpenedProject, prepare_state
from evfn.runtime import Ended, Place, Runtime
from evfn.scheduling import give_way
from evfn.trigger import Project
from evfn_cli.checkup import warn_of_grave
from evfn_cli.json_log import JsonLog
from evfn_cli.line_writer import LineWriter
from evfn_cli.long_lived import LongLived
from evfn_cli.masks import Masks, masks
from evfn_cli.opened import Opened, reopen
from evfn_cli.render import say
from evfn_cli.request_log import RequestLog
from evfn_cli.server import ready
from evfn_cli.service_manager import ServiceManager
from evfn_cli.states import States
from evfn_cli.stopping import Stopping as Stops

TICK = timedelta(seconds=1)
NAMED = 10
"""Reasons why it is not ready that the service manager's one line has room for."""
WAITS = timedelta(seconds=30)
"""How much time the service manager is asked for, again and again, while the server is waited for."""


class _Phase(Enum):
    """What the service manager takes the instance to do."""

    BEGINNING = "beginning"
    """Or what a reload has added is not known yet."""
    SERVING = "serving"
    RELOADING = "reloading"
    STOPPING = "stopping"


class Serve:
    """One `evfn serve`, from its server to its last line. `warnings` are those of the manifest."""

    def __init__(
        self,
        opened: Opened,
        url: str,
        *,
        drain: timedelta,
        address: Address | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self._opened = opened
        self._url = url
        self._drain = drain
        self._address = address
        self._warnings = warnings
        self._writer = LineWriter(1, on_lost=self._lost, on_closed=_unread)
        self._log = JsonLog(self._writer.write, opened.location.folder, self._masks(opened.definition))
        self._manager = ServiceManager()
        self._readiness = Readiness(self._changed)
        ready = self._readiness
        self._metrics = None if address is None else Metrics(opened.project, url, ready=lambda: not ready.reasons)
        told: list[Listener] = [ready, self, self._log, *([] if self._metrics is None else [self._metrics])]
        self._states = States(opened.location.state, Listeners(*told))
        self._stops = Stops(signal.SIGINT, signal.SIGTERM)
        self._phase = _Phase.BEGINNING
        self._asked = False
        self._judging: asyncio.Handle | None = None

    async def run(self) -> int:
        """Until a signal ends it; returns the exit code, or dies of the signal that aborted it."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        return await self._stops.during(self._serve, self._end)

    def tell(self, happening: Happening) -> None:
        """Pass on to the service manager what it wants to know."""
        match happening:
            case Reloading():
                self._phase = _Phase.RELOADING
                self._manager.reloading()
            case ReloadEnded() | Started():
                # A new lease begins with what was read last: no reload outlives one.
                if self._phase is _Phase.RELOADING:
                    self._phase = _Phase.BEGINNING
                self._changed()
            case Stopping():
                self._phase = _Phase.STOPPING
                self._manager.stopping()
                self._manager.more_time(self._drain + WAITS)

    async def _serve(self) -> int | None:
        location = self._opened.location
        prepare_state(location.state)
        for warning in self._warnings:
            self._log.say("warning", text=warning)
        ticking = asyncio.create_task(self._tick())
        beating = asyncio.create_task(self._beat())
        try:
            async with self._endpoint():
                ended = await self._work()
        except EvfnError as error:
            self._log.say("failed", problem=str(error))
            raise
        finally:
            ticking.cancel()
            beating.cancel()
        if ended is Ended.ABORTED:
            return None
        return 1 if ended is Ended.OVERDUE else 0

    async def _work(self) -> Ended:
        location = self._opened.location
        await self._wait_for_server()
        give_way()
        place = Place(
            location.folder,
            location.functions,
            location.state,
            self._url,
            (location.manifest, location.env_file),
        )
        runtime = self._stops.runtime = Runtime(
            self._opened.definition,
            place,
            Listeners(self._states, LongLived()),
            reopen=self._reopen,
            watch=False,
            patience=self._drain,
            mask=self._mask,
        )
        if self._metrics is not None:
            self._metrics.watch(runtime)
        if self._asked:
            runtime.reload("SIGHUP")
        return await runtime.run()

    @asynccontextmanager
    async def _endpoint(self) -> AsyncIterator[None]:
        """Answer over HTTP from before the server is there until all is let go of."""
        if self._address is None or self._metrics is None:
            yield
            return
        connection = await Connection.open(self._url, clock=SystemClock())
        backlogs = Backlogs(connection, self._project, SystemClock())
        endpoint = Endpoint(self._readiness, backlogs, self._log.mask, self._metrics)
        server = Server(endpoint, RequestLog(self._log))
        try:
            self._log.say("listening", address=str(await server.start(self._address)))
            yield
        finally:
            await server.close()
            await backlogs.close()
            await self._metrics.close()

    def _project(self) -> Project:
        return self._opened.project if self._stops.runtime is None else self._stops.runtime.project

    async def _wait_for_server(self) -> None:
        """Raises BrokerError at once for what waiting cannot mend."""
        connection = await Connection.open(self._url, clock=SystemClock())
        try:
            self._manager.status(f"waiting for {connection.server}")
            await ready(connection, tell=lambda text: self._log.say("unreachable", problem=text))
            await warn_of_grave(connection, lambda text: self._log.say("warning", text=text))
        finally:
            await connection.close()

    def _reopen(self) -> OpenedProject:
        read = reopen(self._opened.location)
        # What runs on the values before goes on with them, until it ends or for good.
        self._log.masks = self._log.masks.joined(self._masks(read))
        return read

    def _mask(self, text: str) -> str:
        """What functions write, without the secrets of this moment: a reload may bring others."""
        return self._log.masks.mask_written(text)

    def _masks(self, read: OpenedProject) -> Masks:
        return masks(read.project, os.environ, read.env_file, {"server": self._url})

    def _reload(self) -> None:
        if self._stops.runtime is None:
            self._asked = True
        else:
            self._stops.runtime.reload("SIGHUP")

    def _changed(self) -> None:
        """Something that decides whether it is ready may be another way; what changes together is judged together."""
        if self._judging is None:
            self._judging = asyncio.get_running_loop().call_soon(self._judge)

    def _judge(self) -> None:
        self._judging = None
        reasons = self._readiness.reasons
        if self._readiness.known and self._phase is _Phase.BEGINNING and self._manager.ready():
            self._phase = _Phase.SERVING
        count = self._readiness.triggers
        text = f"{self._opened.project.name}: {count} trigger{'' if count == 1 else 's'}"
        for each in reasons[:NAMED]:
            text += f"; {each.trigger} is {each.lack.value}: {each.problem}" if each.trigger else f"; {each.problem}"
        self._manager.status(self._log.mask(text)[:500])

    async def _tick(self) -> None:
        while True:
            await SystemClock().sleep(TICK)
            self._log.tick()
            if self._phase in (_Phase.BEGINNING, _Phase.RELOADING):
                self._manager.more_time(WAITS)
                # Where the manager could not be told that all is known it is told now.
                self._changed()

    async def _beat(self) -> None:
        while self._manager.watchdog is not None:
            self._manager.works()
            await SystemClock().sleep(self._manager.watchdog)

    def _end(self) -> None:
        self._states.forget()
        self._log.flush()
        self._writer.close()

    def _lost(self, count: int) -> str:
        return self._log.line("lines_lost", count=count)


def _unread() -> None:
    say("the log cannot be written any more; evfn goes on without it")
