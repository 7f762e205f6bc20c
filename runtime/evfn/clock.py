"""The one clock of an instance: wall time, monotonic time and sleeping, so that tests can replace all three.

Instances on machines whose clocks differ all go by the server's: an event that first failed on one of them and is tried
again on another must not expire for that.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The current instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps, comparable between processes of one machine."""

    async def sleep(self, duration: timedelta) -> None:
        """Wait without blocking the loop."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        await asyncio.sleep(duration.total_seconds())


class ServerClock:
    """The server's wall time, as its replies tell it; until the first one, and for all else, `own`.

    Between two replies it goes on with the monotonic time, so that neither a step of the machine's clock nor a slow
    reply moves it; a step of the server's moves it at the next reply.
    """

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead = own.now().timestamp() - own.monotonic()

    def saw(self, instant: datetime, *, sent: float, received: float) -> None:
        """The server's clock showed this at some moment between these two, both on `monotonic`."""
        least, most = instant.timestamp() - received, instant.timestamp() - sent
        self._ahead = min(max(self._ahead, least), most)

    def now(self) -> datetime:
        """The server's instant, aware, in UTC."""
        return datetime.fromtimestamp(self._ahead + self._own.monotonic(), UTC)

    def monotonic(self) -> float:
        """As the own clock."""
        return self._own.monotonic()

    async def sleep(self, duration: timedelta) -> None:
        """As the own clock."""
        await self._own.sleep(duration)
