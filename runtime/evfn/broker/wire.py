"""What comes on a link, handed on in the same turn of the loop in which the socket brought it.

Reading a stream from a task costs a turn of the loop and a wake-up for everything that arrives; where the time from a
push to what follows from it counts, that is a good part of it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

from evfn.broker.link import Link

_NOTHING = object()


class Wire(asyncio.Protocol):
    """Takes over reading from a connected link on which no reply is outstanding.

    `on_reply` gets each reply, a refusal as the exception that redis-py makes of it; `on_push` what the server sends
    unasked. Both are called on the loop and must not block. `lost` is done when the connection is over.
    """

    def __init__(self, link: Link, on_reply: Callable[[Any], None], on_push: Callable[[list[Any]], None]) -> None:
        self._on_reply = on_reply
        self._on_push = on_push
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = hiredis.Reader(replyError=link.refusal, notEnoughData=_NOTHING)
        self._transport = link.give_away(self)

    def write(self, packed: bytes) -> None:
        """Send without waiting; nothing happens on a connection that is over."""
        self._transport.write(packed)

    def close(self) -> None:
        """End it: what was not answered never will be."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not _NOTHING:
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                else:
                    self._on_reply(reply)
        except hiredis.ProtocolError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
