"""What a server answers on one socket, in the order in which it was asked."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from evfn.broker.wire import Wire


class Replies:
    """The questions that wait for their replies on a `wire` of their own; `buffer` and `error` are the wire's."""

    def __init__(self, buffer: bytearray, error: Callable[[str], Exception]) -> None:
        self.wire = Wire(buffer, error, on_reply=self._replied, on_lost=self._lost)
        self._awaited: deque[asyncio.Future[Any]] = deque()
        self._unasked = False

    @property
    def calm(self) -> bool:
        """Whether the socket is open, and nothing is to come and nothing came that nobody asked for."""
        wire = self.wire
        return wire.lost is None and not self._unasked and not self._awaited and not wire.in_pieces

    def next(self) -> "asyncio.Future[Any]":
        """The reply to what is sent now: a refusal stands as a value. Raises redis-py's ConnectionError where the
        socket is lost, and InvalidResponse where it speaks another protocol."""
        future = asyncio.get_running_loop().create_future()
        if self.wire.lost is None:
            self._awaited.append(future)
        else:
            future.set_exception(self.wire.lost)
        return future

    def _replied(self, reply: object) -> None:
        if not self._awaited:
            self._unasked = True
            return
        future = self._awaited.popleft()
        if not future.done():
            future.set_result(reply)

    def _lost(self, error: RedisError) -> None:
        while self._awaited:
            future = self._awaited.popleft()
            if not future.done():
                future.set_exception(error)
                # Whoever waits for several learns it from the first; of the others nothing is to be said.
                future.exception()
