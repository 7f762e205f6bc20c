"""The way to the server for programs without an event loop: one socket, used by one thread at a time."""

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from evfn.broker.connection import Argument
from evfn.broker.link import CONNECT_SECONDS, REPLY_SECONDS, pack
from evfn.broker.refusal import ScriptMissing, translate
from evfn.broker.scripts import Script
from evfn.broker.url import Url

_KINDS: dict[str, Callable[..., AbstractConnection]] = {
    "redis": redis.Connection,
    "rediss": redis.SSLConnection,
    "unix": UnixDomainSocketConnection,
}


class BlockingConnection:
    """Raises as `Connection` does; nothing is repeated behind the caller's back here either."""

    def __init__(self, url: Url) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._link: AbstractConnection | None = None
        self._pid = os.getpid()

    @property
    def server(self) -> str:
        """The server's URL without its password."""
        return self.url.masked

    def pipeline(self, commands: Sequence[Sequence[Argument]], seconds: float = REPLY_SECONDS) -> list[Any]:
        """Several commands in one go. What the server refuses stands as a BrokerError in its place.

        `seconds` is how long the connecting and each reply may take; never longer than usual.
        """
        packed = b"".join(map(pack, commands))
        if self._pid != os.getpid():
            # Forked: the socket is the parent's, and so may be the lock's holder.
            self._lock, self._link, self._pid = threading.Lock(), None, os.getpid()
        with self._lock:
            link = self._connected(seconds)
            try:
                return self._talk(link, packed, len(commands), seconds)
            except (RedisError, OSError) as error:
                self._drop()
                raise translate(error, self.server, sent=True) from error
            except BaseException:
                # Interrupted between two replies: the next caller must not get ours.
                self._drop()
                raise

    def run_many(
        self,
        script: Script,
        calls: Sequence[tuple[Sequence[str], Sequence[Argument]]],
        seconds: float = REPLY_SECONDS,
    ) -> list[Any]:
        """As `Script.run_many`."""
        replies = self.pipeline([("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls], seconds)
        for index, reply in enumerate(replies):
            if isinstance(reply, ScriptMissing):
                keys, args = calls[index]
                replies[index] = self.pipeline([("EVAL", script.text, len(keys), *keys, *args)], seconds)[0]
        return replies

    def close(self) -> None:
        """Close the socket; a later call opens another."""
        with self._lock:
            self._drop()

    def _connected(self, seconds: float) -> AbstractConnection:
        if self._link is not None:
            try:
                # Bytes nobody asked for, or the end of the stream: the server closed it while it was idle.
                if not self._link.can_read(0):
                    return self._link
            except (RedisError, OSError):
                pass
            self._drop()
        link = _KINDS[self.url.scheme](
            **self.url.options,
            protocol=2,
            socket_timeout=REPLY_SECONDS,
            socket_connect_timeout=min(CONNECT_SECONDS, seconds),
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
        )
        try:
            link.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise translate(error, self.server, sent=False) from error
        self._link = link
        return link

    def _talk(self, link: AbstractConnection, packed: bytes, replies: int, seconds: float) -> list[Any]:
        link.send_packed_command([packed])  # type: ignore[no-untyped-call]
        result: list[Any] = []
        for _ in range(replies):
            try:
                result.append(link.read_response(timeout=min(REPLY_SECONDS, seconds)))
            except ResponseError as refusal:
                result.append(translate(refusal, self.server, sent=True))
        return result

    def _drop(self) -> None:
        if self._link is not None:
            self._link.disconnect()  # type: ignore[no-untyped-call]
            self._link = None
