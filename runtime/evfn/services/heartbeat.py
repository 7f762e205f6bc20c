"""Keeps an instance's lease: beats on a connection of its own, and passes on what each beat tells of the others."""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from evfn.broker.connection import Connection, later
from evfn.broker.instances import About, Beats, Instances
from evfn.broker.keys import Keys
from evfn.clock import ServerClock
from evfn.errors import BrokerError, Fenced
from evfn.lease import interval


class Observer(Protocol):
    """Who wants to know of the beats."""

    def saw(self, beats: Beats) -> None:
        """An own beat succeeded and returned this."""

    def interrupted(self) -> None:
        """An own beat failed, or went over a new connection."""


class Heartbeat:
    """`about` is asked before each beat; what it says anew is told to all. `on_fenced` is called once, at the end,
    `on_problem` when beats begin to fail (with the reason) and when one succeeds again (with None).

    `connection` is nobody else's: no command that takes long may delay a beat.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        instance: str,
        lease: timedelta,
        about: Callable[[], About],
        observer: Observer,
        clock: ServerClock,
        random: Callable[[], float],
        on_fenced: Callable[[], None],
        on_problem: Callable[[str | None], None],
    ) -> None:
        self._connection = connection
        self._instances = Instances(connection, keys, clock)
        self._instance = instance
        self._interval = interval(lease)
        self._about = about
        self._told: About | None = None
        self._observer = observer
        self._clock = clock
        self._random = random
        self._on_fenced = on_fenced
        self._on_problem = on_problem

    async def run(self) -> None:
        """Beat until cancelled or fenced."""
        tries = 0
        while True:
            opened = self._connection.opened
            try:
                beats = await self._instances.beat(self._instance)
            except Fenced:
                self._on_fenced()
                return
            except BrokerError as error:
                self._observer.interrupted()
                if tries == 0:
                    self._on_problem(str(error))
                await self._clock.sleep(min(later(tries, self._random()), self._interval))
                tries += 1
                continue
            if tries > 0:
                self._on_problem(None)
            tries = 0
            if self._connection.opened != opened:
                self._observer.interrupted()
            self._observer.saw(beats)
            await self._tell()
            # Never sooner, whatever delayed this one: who counts beats that follow each other closely sees the others
            # stand still for less than a lease.
            await self._clock.sleep(self._interval)

    async def _tell(self) -> None:
        about = self._about()
        if about != self._told:
            # It decides nothing: a server that takes no more writes, or a user without the right, stops nothing.
            with contextlib.suppress(BrokerError):
                await self._instances.tell(self._instance, about)
                self._told = about
