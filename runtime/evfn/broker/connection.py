"""The instance's way to the server: a few links used in turn, nothing ever repeated behind the caller's back."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from redis.exceptions import RedisError, ResponseError

from evfn.broker.backoff import later
from evfn.broker.link import Argument, Link, link, pack
from evfn.broker.refusal import GroupGone, KeyTaken, ReplyLost, ScriptMissing, is_stale, translate
from evfn.broker.server import Server, parse_info
from evfn.broker.url import Url, mask, parse
from evfn.clock import Clock
from evfn.errors import BrokerError, BrokerUnavailable

__all__ = ["Argument", "Connection", "GroupGone", "KeyTaken", "ReplyLost", "ScriptMissing", "later", "mask"]

_INFO = pack(("INFO", "server"))
_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
_BUFFER = 1 << 18
"""Bytes read at once: a reply of hundreds of events in one or two turns of the loop."""
_LAST_TRY = 0.1
"""Seconds that a try needs at least."""
LINKS = 16
"""Most sockets one connection opens; further calls wait for their turn."""
LANES = 2
"""Most of them that are somebody's for longer than a call. Who has one must still get another; and where more have a
backlog at a time, the server has enough to do without."""


class Connection:
    """Calls may overlap; each has a link of its own while it waits for its reply.

    Every method raises BrokerUnavailable (ReplyLost where the command may have been carried out) for what may pass
    later, and BrokerError for what will not.
    """

    def __init__(self, url: Url, clock: Clock, draw: Callable[[], float]) -> None:
        self.url = url
        self.clock = clock
        self._draw = draw
        self._idle: list[Link] = []
        self._used: set[Link] = set()
        self._turns = asyncio.Semaphore(LINKS)
        self._lanes = 0
        self._closed = False
        self.opened = 0
        """How many sockets were opened so far: one more says that an earlier one was lost, or that calls overlapped."""
        self.lost = 0
        """How many sockets to the server were lost so far, that of a watch over this connection included."""
        self.epoch = 0
        """Grows whenever there is another server behind the address, or may be: restarted, or replaced by a replica. It
        may have lost what the one before had acknowledged, and give out stream ids that were given out before."""
        self._run_id: bytes | None = None
        self._buffer = bytearray(_BUFFER)

    @classmethod
    async def open(cls, url: str, *, clock: Clock, draw: Callable[[], float] = random.random) -> "Connection":
        """Raises UsageError for a URL that cannot mean a server. The server itself is first needed by a call."""
        return cls(parse(url), clock, draw)

    @property
    def server(self) -> str:
        """The server's URL without its password."""
        return self.url.masked

    async def call(self, *command: Argument, epoch: int | None = None) -> Any:
        """One command; its reply as it came: bytes, int, list, None.

        With `epoch` it is sent only while that is the connection's; else BrokerUnavailable.
        """
        return _only(await self._exchange(pack(command), 1, epoch))

    async def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Several commands in one go. What the server refuses stands as a BrokerError in its place."""
        if not commands:
            return []
        return await self._exchange(b"".join(map(pack, commands)), len(commands))

    async def ping(self) -> None:
        """Raises where the server does not serve."""
        await self.call("PING")

    async def wait_ready(self, patience: timedelta | None = None) -> Server:
        """Wait until the server serves, for ever or this long (also where it does not answer at all), and probe it.

        Raises BrokerError at once for what waiting cannot mend (password, version, not a Redis), BrokerUnavailable
        when the time is up.
        """
        deadline = None if patience is None else self.clock.monotonic() + patience.total_seconds()
        tries = 0
        while True:
            left = None if deadline is None else max(deadline - self.clock.monotonic(), _LAST_TRY)
            try:
                async with asyncio.timeout(left):
                    return await self.probe()
            except TimeoutError:
                raise BrokerUnavailable(f"{self.server} does not answer") from None
            except BrokerUnavailable:
                if deadline is not None and self.clock.monotonic() >= deadline:
                    raise
            pause = later(tries, self._draw())
            if deadline is not None:
                pause = min(pause, timedelta(seconds=max(deadline - self.clock.monotonic(), 0)))
            await self.clock.sleep(pause)
            tries += 1

    async def probe(self) -> Server:
        """Which server this is. Raises BrokerError where it is too old."""
        await self.ping()
        try:
            text = await self.call("INFO", "server")
        except BrokerUnavailable:
            raise
        except BrokerError:
            # INFO may be forbidden to this user; an unknown server is given the benefit of the doubt.
            return Server("unknown", ())
        server = parse_info(text.decode("utf-8", "replace"))
        server.require_supported(self.server)
        return server

    async def close(self) -> None:
        """Close every link; calls under way fail."""
        self._closed = True
        for each in [*self._idle, *self._used]:
            await each.disconnect()
        self._idle.clear()

    async def _exchange(self, packed: bytes, replies: int, epoch: int | None = None) -> list[Any]:
        async with self._turns:
            one = await self._take()
            self._used.add(one)
            try:
                if epoch is not None and epoch != self.epoch:
                    raise BrokerUnavailable(f"{self.server} was restarted or replaced")
                return await self._talk(one, packed, replies)
            finally:
                self._used.discard(one)
                if one.calm and not self._closed:
                    self._idle.append(one)

    @asynccontextmanager
    async def lane(self) -> AsyncIterator["Lane | None"]:
        """One link for calls that overlap and keep their order; None where as many as may be are taken, or the server
        cannot be reached."""
        if self._lanes >= LANES:
            yield None
            return
        self._lanes += 1
        try:
            async with self._turns:
                try:
                    one = await self._take()
                except BrokerError:
                    yield None
                    return
                self._used.add(one)
                try:
                    yield Lane(self, one)
                finally:
                    self._used.discard(one)
                    if one.calm and not self._closed:
                        self._idle.append(one)
                    else:
                        await one.disconnect(nowait=True)
        finally:
            self._lanes -= 1

    async def _take(self) -> Link:
        if self._closed:
            raise BrokerUnavailable(f"the connection to {self.server} was closed")
        while self._idle:
            one = self._idle.pop()
            # Bytes nobody asked for, or the end of the stream: the server closed it while it was idle.
            if one.calm:
                return one
            await self._drop(one)
        one = link(self.url)
        self.opened += 1
        try:
            await one.connect()  # type: ignore[no-untyped-call]
            run_id = await run_id_of(one)
        except (RedisError, OSError, TimeoutError) as error:
            await one.disconnect(nowait=True)
            raise translate(error, self.server, sent=False) from error
        except BaseException:
            await one.disconnect(nowait=True)
            raise
        self.met(run_id)
        one.take_over(self._buffer)
        return one

    def met(self, run_id: bytes | None) -> None:
        """A new socket leads to this life of a server."""
        if self._run_id not in (None, run_id):
            self.epoch += 1
        self._run_id = run_id

    async def _drop(self, one: Link) -> None:
        if not one.is_connected:
            return  # Another call on it has found out before.
        await one.disconnect(nowait=True)
        self.lose()

    def lose(self) -> None:
        """A socket to the server was lost."""
        self.lost += 1
        if self._run_id is None:
            # Nobody says which server it is: after every loss it may be another.
            self.epoch += 1

    async def _talk(self, one: Link, packed: bytes, replies: int) -> list[Any]:
        try:
            result = await one.ask(packed, replies)
            for index, reply in enumerate(result):
                if isinstance(reply, ResponseError):
                    result[index] = translate(reply, self.server, sent=True)
                    if is_stale(reply):
                        await self._drop(one)
                elif isinstance(reply, RedisError):
                    # It serves nobody now, as while it loads its data.
                    raise reply
        except (RedisError, OSError, TimeoutError) as error:
            await self._drop(one)
            raise translate(error, self.server, sent=True) from error
        except BaseException:
            # Cancelled before its reply: the next caller must not get ours.
            await one.disconnect(nowait=True)
            raise
        return result


class Lane:
    """One link of a connection, see `Connection.lane`."""

    def __init__(self, connection: Connection, one: Link) -> None:
        self._connection = connection
        self._link = one

    @property
    def broken(self) -> bool:
        """Whether it is of no more use."""
        return not self._link.is_connected

    async def call(self, *command: Argument) -> Any:
        """As `Connection.call`."""
        return _only(await self._connection._talk(self._link, pack(command), 1))


def _only(replies: list[Any]) -> Any:
    """The one reply to one command. Raises BrokerError where the server refused it."""
    (reply,) = replies
    if isinstance(reply, BrokerError):
        raise reply
    return reply


async def run_id_of(one: Link) -> bytes | None:
    """What the server calls this life of its own; None where this user may not ask."""
    await one.send_packed_command(_INFO)
    try:
        found = _RUN_ID.search(await one.read_response())
    except ResponseError:
        return None
    return None if found is None else found[1]
