"""What the server knows of each trigger, read when somebody asks, and kept for a moment."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.status import GroupStatus, status
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.trigger import Project

FRESH = timedelta(seconds=1)
"""How long a reading is used again: several scrapers cost the server no more than one."""
PATIENCE = timedelta(seconds=2)
"""How long the server may take; a scrape must not hang with it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """`triggers` has what each one's topics hold, without those of which the server did not tell all. `complete` says
    whether there are none of them."""

    triggers: Mapping[str, list[GroupStatus]] = field(default_factory=dict)
    complete: bool = False


class Readings:
    """Reads over a connection of its own: what waits here keeps no event waiting."""

    def __init__(self, project: Project, server: str, clock: Clock) -> None:
        self._project = project
        self._server = server
        self._clock = clock
        self._keys = Keys(project.settings.key_prefix)
        self._connection: Connection | None = None
        self._reading: asyncio.Task[Reading] | None = None
        self._last = Reading()
        self._until = 0.0

    async def read(self, topics: Mapping[str, tuple[str, ...]]) -> Reading:
        """The state of these triggers on these topics, at most a moment old. Never raises for a server that is away."""
        if self._clock.monotonic() < self._until:
            return self._last
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(topics))
        # One who gives up must not take the reading from the others.
        return await asyncio.shield(self._reading)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def _read(self, topics: Mapping[str, tuple[str, ...]]) -> Reading:
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                self._last = await self._ask(topics)
        except (BrokerError, TimeoutError):
            self._last = Reading()
        finally:
            self._until = self._clock.monotonic() + FRESH.total_seconds()
            self._reading = None
        return self._last

    async def _ask(self, topics: Mapping[str, tuple[str, ...]]) -> Reading:
        connection = self._connection
        if connection is None:
            connection = self._connection = await Connection.open(self._server, clock=self._clock)
        # Also where there is nothing to ask: whether it serves is told as well.
        await connection.ping()
        pairs = [(trigger, topic) for trigger, names in topics.items() for topic in names]
        found = await asyncio.gather(
            *(status(connection, self._keys, topic, self._project.group(trigger)) for trigger, topic in pairs)
        )
        triggers: dict[str, list[GroupStatus]] = {trigger: [] for trigger in topics}
        for (trigger, _), each in zip(pairs, found, strict=True):
            triggers[trigger].append(each)
        # What is refused (a key of another type, a missing right) would look like nothing to do.
        told = {name: parts for name, parts in triggers.items() if all(part.problem is None for part in parts)}
        return Reading(told, complete=len(told) == len(triggers))
