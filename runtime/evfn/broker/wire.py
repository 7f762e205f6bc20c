"""What comes on a link once redis-py's handshake is over, handed on in the same turn of the loop that brought it.

redis-py's own reader copies every reply once more, arms a timeout for each, and wakes a task for all that arrives.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError

_INCOMPLETE = object()


class Wire(asyncio.BufferedProtocol):
    """Reads into `buffer`, which other wires of the same event loop may share; `error` makes an exception of a refusal.

    `on_reply` gets each reply, a refusal as an exception; `on_push` what the server sends unasked; `on_lost`, once, why
    the connection is over. All are called on the loop and must not block.
    """

    def __init__(
        self,
        buffer: bytearray,
        error: Callable[[str], Exception],
        *,
        on_reply: Callable[[Any], None],
        on_lost: Callable[[RedisError], None],
        on_push: Callable[[list[Any]], None] = lambda push: None,
    ) -> None:
        self._buffer = buffer
        # What asyncio reads of TLS goes into slices of it, and a slice of the buffer itself would be a copy.
        self._view = memoryview(buffer)
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._on_push = on_push
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=error, notEnoughData=_INCOMPLETE)
        self._transport: asyncio.WriteTransport | None = None
        self._former: asyncio.BaseProtocol | None = None
        self._writable: asyncio.Future[None] | None = None
        self.lost: RedisError | None = None

    def take_over(self, transport: asyncio.WriteTransport) -> None:
        """Read this from now on. No reply is outstanding on it; the protocol before hears of its end."""
        self._transport, self._former = transport, transport.get_protocol()
        transport.set_protocol(self)

    def write(self, packed: bytes) -> None:
        """Send without waiting; nothing happens on a connection that is over."""
        if self._transport is not None:
            self._transport.write(packed)

    def close(self) -> None:
        """End it: what was not answered never will be."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def in_pieces(self) -> bool:
        """Whether a reply has come in part."""
        return self._reader.has_data()

    @property
    def paused(self) -> bool:
        """Whether the socket takes nothing more for now."""
        return self._writable is not None

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
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                else:
                    self._on_reply(reply)
        except InvalidResponse as error:
            self._end(error)
            self.close()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(RedisConnectionError("the server closed the connection" if exc is None else str(exc)))
        self.resume_writing()
        if self._former is not None:
            self._former.connection_lost(exc)

    def _end(self, error: RedisError) -> None:
        if self.lost is None:
            self.lost = error
            self._on_lost(error)
