"""How often a command that goes on may search through all keys of the server: that holds up everybody else there."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

LEAST_SECONDS = 5.0
"""Between the beginnings of two searches."""
SHARE = 0.02
"""Of all the time, at most so much goes into searches, however many keys there are."""

T = TypeVar("T")


class SearchPace:
    """Says when the next search is due, from what the last one took. `clock` tells seconds and never steps."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = float("-inf")

    @property
    def due(self) -> bool:
        """Whether it is time for another one."""
        return self._clock() >= self._next

    async def search(self, call: Callable[[], Awaitable[T]]) -> T:
        """Carry one out."""
        began = self._clock()
        found = await call()
        self._next = began + max(LEAST_SECONDS, (self._clock() - began) / SHARE)
        return found
