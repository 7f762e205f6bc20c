"""One socket to the server, with redis-py's handshake and hiredis doing all packing and parsing.

redis.asyncio packs commands in Python, arms a task per write and copies every reply once more; on the path of every
event that costs more than the server does.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
from redis.asyncio import Connection as TcpLink
from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from evfn.broker import sentinel
from evfn.broker.refusal import translate
from evfn.broker.replies import Replies
from evfn.broker.url import Url
from evfn.errors import BrokerError

CONNECT_SECONDS = 3.0
REPLY_SECONDS = 5.0
"""How long a sent command may go unanswered. Never off: a half-open connection would hang for ever."""


Argument = bytes | str | int


def pack(command: Sequence[Argument]) -> bytes:
    """A command as it goes over the wire."""
    packed: bytes = hiredis.pack_command(tuple(command))  # type: ignore[arg-type]  # its stub names a tuple of one
    return packed


class Link(AbstractConnection):
    """Packing by hiredis; once connected, what comes is read by an `evfn.broker.wire`."""

    _replies: Replies | None = None

    def pack_command(self, *args: Any) -> list[bytes]:
        return [pack(args)]

    @property
    def transport(self) -> asyncio.WriteTransport:
        """The socket's, once it is connected. Raises redis-py's ConnectionError."""
        if self._writer is None:
            raise RedisConnectionError("not connected")
        return self._writer.transport

    def refusal(self, text: str) -> Exception:
        """What redis-py makes of a refusal."""
        error: Exception = self._parser.parse_error(text)  # type: ignore[no-untyped-call]
        return error

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """As redis-py's, which waits with `asyncio.wait_for`: before Python 3.12 that may swallow a cancellation."""
        del check_health  # idle links are looked at when they are taken, see Connection
        writer = self._writer
        if writer is None:
            raise RedisConnectionError("not connected")
        parts = [command] if isinstance(command, bytes) else [command.encode()] if isinstance(command, str) else command
        try:
            writer.writelines(parts)
            async with asyncio.timeout(self.socket_timeout):
                await writer.drain()
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise RedisTimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"while writing: {error}") from error
        except BaseException:
            # Half a command may be out: nothing else can use this socket.
            await self.disconnect(nowait=True)
            raise

    def take_over(self, buffer: bytearray) -> None:
        """From now on only `ask` is used; `buffer` may be that of other links of this event loop."""
        self._replies = Replies(buffer, self.refusal)
        self._replies.wire.take_over(self.transport)

    @property
    def calm(self) -> bool:
        """Whether it is connected, and nothing is awaited on it and nothing came that nobody asked for."""
        return self.is_connected and self._replies is not None and self._replies.calm

    async def ask(self, packed: bytes, count: int) -> list[Any]:
        """Send so many commands and wait for their replies, among which errors stand as values.

        Calls may overlap; they are answered in their order. Raises redis-py's errors where the link breaks or the
        server is silent: each reply has `socket_timeout` to come. Then, and where the call is cancelled, the link is of
        no more use.
        """
        replies = self._replies
        if replies is None or not self.is_connected:
            raise RedisConnectionError("not connected")
        wire = replies.wire
        result: list[Any] = []
        try:
            async with asyncio.timeout(self.socket_timeout) as limit:
                await wire.drained()
                wire.write(packed)
                awaited = [replies.next() for _ in range(count)]
                if wire.paused:
                    await wire.drained()
                    limit.reschedule(self._deadline())
                for each in awaited:
                    if result and not each.done():
                        limit.reschedule(self._deadline())
                    result.append(await each)
                return result
        except TimeoutError:
            raise RedisTimeoutError("the server is silent") from None

    def _deadline(self) -> float | None:
        return None if self.socket_timeout is None else asyncio.get_running_loop().time() + self.socket_timeout


class _Tcp(Link, TcpLink):
    pass


class _Tls(Link, SSLConnection):
    pass


class _Unix(Link, UnixDomainSocketConnection):
    async def _connect(self) -> None:
        # redis-py's own would shake hands here and once more afterwards.
        async with asyncio.timeout(self.socket_connect_timeout):
            self._reader, self._writer = await asyncio.open_unix_connection(self.path)


_KINDS: dict[str, type[Link]] = {"redis": _Tcp, "rediss": _Tls, "unix": _Unix}


class _Elected(Link):
    """A link to whichever server the sentinels name as master when it connects."""

    url: Url
    host: str
    port: int

    async def connect(self) -> None:
        """Raises BrokerUnavailable where there is no master just now, BrokerError where there will be none."""
        problems: list[BrokerError] = []
        for place in self.url.sentinels.places:
            try:
                self.host, self.port = await _named(self.url, place)
                await self._connect_to_master()
                return
            except BrokerError as error:
                problems.append(error)
        raise sentinel.failure(self.url, problems)

    async def _connect_to_master(self) -> None:
        master = self.host, self.port
        try:
            await super().connect()  # type: ignore[no-untyped-call]
            await self.send_command("ROLE")
            role = (await self.read_response())[0]
        except NoPermissionError:
            # A replica refuses the first write, and then its link is given up.
            return
        except (RedisError, OSError, TimeoutError) as error:
            await self.disconnect(nowait=True)
            raise translate(error, sentinel.server(self.url, master), sent=False) from error
        except BaseException:
            await self.disconnect(nowait=True)
            raise
        if role != b"master":
            await self.disconnect(nowait=True)
            raise sentinel.not_master(self.url, master)


class _ElectedTcp(_Elected, _Tcp):
    pass


class _ElectedTls(_Elected, _Tls):
    pass


async def _named(url: Url, place: sentinel.Place) -> sentinel.Place:
    """The master that one sentinel names."""
    kind = _Tls if url.scheme == "rediss+sentinel" else _Tcp
    one = kind(
        host=place[0],
        port=place[1],
        **url.sentinels.options,
        **_common(sentinel.ANSWER_SECONDS, sentinel.ANSWER_SECONDS),
    )
    try:
        await one.connect()  # type: ignore[no-untyped-call]
        await one.send_command(*sentinel.ask(url))
        return sentinel.named(url, place, await one.read_response())
    except (RedisError, OSError, TimeoutError) as error:
        raise translate(error, sentinel.shown(url, place), sent=False) from error
    finally:
        await one.disconnect(nowait=True)


def link(url: Url, *, protocol: int = 2) -> Link:
    """A link that is not connected yet. It never repeats a command by itself."""
    options = {**url.options, **_common(CONNECT_SECONDS, REPLY_SECONDS), "protocol": protocol}
    if not url.sentinels.places:
        return _KINDS[url.scheme](**options)
    elected = (_ElectedTls if url.scheme == "rediss+sentinel" else _ElectedTcp)(**options)
    elected.url = url
    return elected


def _common(connect_seconds: float, reply_seconds: float) -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": reply_seconds,
        "socket_connect_timeout": connect_seconds,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
    }
