"""Runs a project: an instance, and after a lost lease the next one."""

from evfn.broker.connection import Connection
from evfn.clock import Clock, SystemClock
from evfn.instance import Ended, Instance, Place
from evfn.listener import Listener
from evfn.trigger import Project
from evfn.workers.template_process import Template

__all__ = ["Ended", "Place", "Runtime"]


class Runtime:
    """The composition root. `drain` and `abort` are for signal handlers: they only say what shall happen."""

    def __init__(self, project: Project, place: Place, listener: Listener, clock: Clock | None = None) -> None:
        self._project = project
        self._place = place
        self._listener = listener
        self._clock = clock or SystemClock()
        self._instance: Instance | None = None
        self._stop: Ended | None = None
        self._cause = ""

    async def run(self, *, until_idle: bool = False) -> Ended:
        """Serve until stopped; returns why it ended. Raises BrokerError where the server is not usable at all."""
        connection = await Connection.open(self._place.server, clock=self._clock)
        template = Template()
        try:
            while True:
                self._instance = Instance(self._project, self._place, connection, template, self._listener, self._clock)
                if self._stop is not None:
                    self._instance.end(self._stop, self._cause)
                ended = await self._instance.run(until_idle=until_idle)
                if ended is not Ended.FENCED:
                    return ended
        finally:
            await template.stop()
            await connection.close()

    def drain(self, cause: str) -> None:
        """First signal: finish what runs, take nothing new."""
        self._stop, self._cause = Ended.DRAINED, cause
        if self._instance is not None:
            self._instance.end(Ended.DRAINED, cause)

    def abort(self) -> None:
        """Second signal: stop now."""
        self._stop = Ended.ABORTED
        if self._instance is not None:
            self._instance.abort()
