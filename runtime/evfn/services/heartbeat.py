"""Keeps an instance's lease: beats on a connection of its own, and passes on what each beat tells of the others."""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from evfn.broker.connection import Connection, later
from evfn.broker.instances import About, Beats, Instances
from evfn.broker.keys import Keys
from evfn.clock import Clock
from evfn.errors import BrokerError, Fenced
from evfn.lease import interval


class Observer(Protocol):
    """Who wants to know of the beats."""

    def saw(self, beats: Beats) -> None:
        """An own beat succeeded and returned this."""

    def interrupted(self) -> None:
        """An own beat failed, or went over a new connection."""


class Heartbeat:
    """`about` is asked before each beat; what it says anew is told to all. `on_fenced` is called once, at the end.

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
        clock: Clock,
        random: Callable[[], float],
        on_fenced: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._instances = Instances(connection, keys)
        self._instance = instance
        self._interval = interval(lease)
        self._about = about
        self._told: About | None = None
        self._observer = observer
        self._clock = clock
        self._random = random
        self._on_fenced = on_fenced

    async def run(self) -> None:
        """Beat until cancelled or fenced."""
        tries = 0
        next_beat = self._clock.monotonic()
        while True:
            opened = self._connection.opened
            try:
                beats = await self._instances.beat(self._instance)
            except Fenced:
                self._on_fenced()
                return
            except BrokerError:
                self._observer.interrupted()
                await self._clock.sleep(min(later(tries, self._random()), self._interval))
                tries += 1
                continue
            tries = 0
            if self._connection.opened != opened:
                self._observer.interrupted()
            self._observer.saw(beats)
            await self._tell()
            # After a stall the beats that were missed are not made up for.
            now = self._clock.monotonic()
            next_beat = max(next_beat + self._interval.total_seconds(), now)
            await self._clock.sleep(timedelta(seconds=next_beat - now))

    async def _tell(self) -> None:
        about = self._about()
        if about != self._told:
            # It decides nothing: a server that takes no more writes, or a user without the right, stops nothing.
            with contextlib.suppress(BrokerError):
                await self._instances.tell(self._instance, about)
                self._told = about
