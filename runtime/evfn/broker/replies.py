"""What a server answers on one socket, in the order in which it was asked."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError

_INCOMPLETE = object()


class Replies(asyncio.BufferedProtocol):
    """Takes a socket over from redis-py's reader, which copies every reply once more and arms a timeout for each.

    `buffer` is where the socket is read into; sockets of one event loop may share it. `error` makes an exception of an
    error's text. `former` is the protocol before, which hears of the end.
    """

    def __init__(
        self, buffer: bytearray, error: Callable[[str], Exception], former: asyncio.BaseProtocol | None
    ) -> None:
        self._buffer = buffer
        # What asyncio reads of TLS goes into slices of it, and a slice of the buffer itself would be a copy.
        self._view = memoryview(buffer)
        self._former = former
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=error, notEnoughData=_INCOMPLETE)
        self._awaited: deque[asyncio.Future[Any]] = deque()
        self._unasked = False
        self._lost: RedisError | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def calm(self) -> bool:
        """Whether the socket is open, and nothing is to come and nothing came that nobody asked for."""
        return self._lost is None and not self._unasked and not self._awaited and not self._reader.has_data()

    @property
    def paused(self) -> bool:
        """Whether the socket takes nothing more for now."""
        return self._writable is not None

    def next(self) -> "asyncio.Future[Any]":
        """The reply to what is sent now: an error stands as a value. Raises redis-py's ConnectionError where the socket
        is lost, and InvalidResponse where it speaks another protocol."""
        future = asyncio.get_running_loop().create_future()
        if self._lost is None:
            self._awaited.append(future)
        else:
            future.set_exception(self._lost)
        return future

    async def drained(self) -> None:
        """Until the socket takes what is sent."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]  # its stub knows bytes only
        try:
            while (reply := self._reader.gets()) is not _INCOMPLETE:
                if not self._awaited:
                    self._unasked = True
                    continue
                future = self._awaited.popleft()
                if not future.done():
                    future.set_result(reply)
        except RedisError as error:
            self._fail(error)

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(RedisConnectionError("the server closed the connection" if exc is None else str(exc)))
        self.resume_writing()
        if self._former is not None:
            self._former.connection_lost(exc)

    def _fail(self, error: RedisError) -> None:
        self._lost = self._lost or error
        while self._awaited:
            future = self._awaited.popleft()
            if not future.done():
                future.set_exception(error)
                # Whoever waits for several learns it from the first; of the others nothing is to be said.
                future.exception()
