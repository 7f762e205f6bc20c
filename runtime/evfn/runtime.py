"""Runs a project: an instance, and after a lost lease the next one."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from random import random

from evfn.broker.connection import Connection, later
from evfn.clock import Clock, ServerClock, SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.instance import DRAIN, Ended, Instance
from evfn.listener import Listener, Stopped, Unreachable, Warned
from evfn.project import OpenedProject, Reopen
from evfn.services.roster import Place
from evfn.tracing import environment
from evfn.tracing.tracer import Tracer
from evfn.trigger import Project
from evfn.vitals import Vitals
from evfn.workers.template_process import Template

__all__ = ["DRAIN", "Ended", "Place", "Runtime"]


class Runtime:
    """The composition root. `drain`, `abort` and `reload` are for signal handlers: they only say what shall happen.

    With `reopen`, edits of the project take effect while it runs: at once where it is to `watch` the files, else when
    `reload` is called. `patience` is how long a drain lets functions run. `tracer` makes the spans of
    attempts; by default the one that the environment asks for, if it does, with secrets taken out by `mask`.
    """

    def __init__(
        self,
        opened: OpenedProject,
        place: Place,
        listener: Listener,
        clock: Clock | None = None,
        *,
        reopen: Reopen | None = None,
        watch: bool = True,
        patience: timedelta = DRAIN,
        tracer: Tracer | None = None,
        mask: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._opened = opened
        self._reopen = reopen
        self._watch = watch
        self._patience = patience
        self._tracer = tracer
        self._mask = mask
        self._place = place
        self._listener = listener
        self.clock = ServerClock(clock or SystemClock())
        """The server's wall time, once it has said something."""
        self._instance: Instance | None = None
        self._stop: Ended | None = None
        self._cause = ""
        self._reload = ""
        self._served: set[tuple[str, str]] = set()
        self._connections: tuple[Connection, ...] = ()

    @property
    def vitals(self) -> Vitals:
        """How the instance of this moment stands."""
        triggers = {} if self._instance is None else self._instance.vitals
        return Vitals(triggers, sum(each.lost for each in self._connections))

    async def run(self, *, until_idle: bool = False) -> Ended:
        """Serve until stopped; returns why it ended. Raises BrokerError where the server is not usable at all."""
        connection = await Connection.open(self._place.server, clock=self.clock)
        heart = await Connection.open(self._place.server, clock=self.clock)
        self._connections = (connection, heart)
        template = Template()
        name = self._opened.project.name
        tracer = self._tracer or environment.tracer(os.environ, name, SystemClock(), self._mask, self._warner())
        tries = 0
        began = False
        said = ""
        try:
            while True:
                if self._instance is not None:
                    self._reload = self._reload or self._instance.reload_asked
                self._instance = Instance(
                    self._opened,
                    self._place,
                    connection,
                    heart,
                    template,
                    self._listener,
                    self.clock,
                    None if self._reopen is None else self._read_anew,
                    self._served,
                    watch=self._watch,
                    drain=self._patience,
                    tracer=tracer,
                )
                if self._reload:
                    self._instance.reload(self._reload)
                    self._reload = ""
                if self._stop is not None:
                    self._instance.end(self._stop, self._cause)
                try:
                    ended = await self._instance.run(until_idle=until_idle)
                except BrokerError as error:
                    # While it runs an instance waits for its server; this one could not begin, or not go on. What has
                    # worked before is worth waiting for whatever the reason: somebody may mend a password, or a right.
                    began = began or self._instance.began
                    if not began and not isinstance(error, BrokerUnavailable):
                        raise
                    if self._stop is not None:
                        self._listener.tell(Stopped(self._cause, 0))
                        return self._stop
                    if str(error) != said:
                        said = str(error)
                        self._listener.tell(Unreachable(said))
                    await self.clock.sleep(later(tries, random()))
                    tries += 1
                    continue
                tries, began, said = 0, True, ""
                if ended is not Ended.FENCED:
                    return ended
        finally:
            await template.stop()
            await connection.close()
            await heart.close()
            if tracer is not None and not await asyncio.to_thread(tracer.close):
                self._listener.tell(Warned("the last spans were not exported in time"))

    def _warner(self) -> Callable[[str], None]:
        """Tells a warning, whatever thread it comes from."""
        loop = asyncio.get_running_loop()

        def warn(text: str) -> None:
            with suppress(RuntimeError):  # The loop is closed: nobody listens any more.
                loop.call_soon_threadsafe(self._listener.tell, Warned(text))

        return warn

    def _read_anew(self) -> OpenedProject:
        """An instance that follows one whose lease was lost begins with what was read last."""
        if self._reopen is None:
            return self._opened
        opened = self._reopen()
        first = self._opened.project
        # Name and settings are those of the start as long as this process lives.
        self._opened = replace(opened, project=replace(opened.project, name=first.name, settings=first.settings))
        return opened

    @property
    def project(self) -> Project:
        """As it was read last, and could be used."""
        return self._opened.project

    def drain(self, cause: str) -> None:
        """First signal: finish what runs, take nothing new."""
        self._stop, self._cause = Ended.DRAINED, cause
        if self._instance is not None:
            self._instance.end(Ended.DRAINED, cause)

    def reload(self, cause: str) -> None:
        """Read manifest, `.env` and functions anew; what cannot be used leaves everything as it was."""
        if self._instance is None:
            self._reload = cause
        else:
            self._instance.reload(cause)

    def abort(self) -> None:
        """Second signal: stop now."""
        self._stop = Ended.ABORTED
        if self._instance is not None:
            self._instance.abort()
