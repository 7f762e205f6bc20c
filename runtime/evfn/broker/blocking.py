"""The way to the server for programs without an event loop: one socket, used by one thread at a time."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, UnixDomainSocketConnection
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from evfn.broker import sentinel
from evfn.broker.connection import Argument
from evfn.broker.link import CONNECT_SECONDS, REPLY_SECONDS, pack
from evfn.broker.refusal import ScriptMissing, is_stale, translate
from evfn.broker.scripts import Script
from evfn.broker.url import Url
from evfn.errors import BrokerError
from evfn.failpoint import reached

_KINDS: dict[str, Callable[..., AbstractConnection]] = {
    "redis": redis.Connection,
    "rediss": redis.SSLConnection,
    "unix": UnixDomainSocketConnection,
    "redis+sentinel": redis.Connection,
    "rediss+sentinel": redis.SSLConnection,
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
        reached(script.before)
        replies = self.pipeline([("EVALSHA", script.sha, len(keys), *keys, *args) for keys, args in calls], seconds)
        for index, reply in enumerate(replies):
            if isinstance(reply, ScriptMissing):
                keys, args = calls[index]
                replies[index] = self.pipeline([("EVAL", script.text, len(keys), *keys, *args)], seconds)[0]
        reached(script.after)
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
        if self.url.sentinels.places:
            self._link = self._elected(seconds)
        else:
            self._link = self._open(self.url.options, seconds, self.server)
        return self._link

    def _open(self, options: Mapping[str, Any], seconds: float, server: str) -> AbstractConnection:
        link = _KINDS[self.url.scheme](
            **options,
            protocol=2,
            socket_timeout=REPLY_SECONDS,
            socket_connect_timeout=min(CONNECT_SECONDS, seconds),
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
        )
        try:
            link.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise translate(error, server, sent=False) from error
        return link

    def _elected(self, seconds: float) -> AbstractConnection:
        """A link to the master that the sentinels name now."""
        problems: list[BrokerError] = []
        for place in self.url.sentinels.places:
            try:
                return self._master(place, seconds)
            except BrokerError as error:
                problems.append(error)
        raise sentinel.failure(self.url, problems)

    def _master(self, place: sentinel.Place, seconds: float) -> AbstractConnection:
        patience = min(sentinel.ANSWER_SECONDS, seconds)
        options = {"host": place[0], "port": place[1], **self.url.sentinels.options}
        link = self._open(options, patience, sentinel.shown(self.url, place))
        try:
            master = sentinel.named(self.url, place, _asked(link, sentinel.ask(self.url), patience))
        except (RedisError, OSError) as error:
            raise translate(error, sentinel.shown(self.url, place), sent=False) from error
        finally:
            link.disconnect()  # type: ignore[no-untyped-call]
        server = sentinel.server(self.url, master)
        link = self._open({**self.url.options, "host": master[0], "port": master[1]}, seconds, server)
        try:
            role = _asked(link, ("ROLE",), seconds)[0]
        except NoPermissionError:
            # A replica refuses the first write, and then its link is given up.
            return link
        except (RedisError, OSError) as error:
            link.disconnect()  # type: ignore[no-untyped-call]
            raise translate(error, server, sent=False) from error
        if role != b"master":
            link.disconnect()  # type: ignore[no-untyped-call]
            raise sentinel.not_master(self.url, master)
        return link

    def _talk(self, link: AbstractConnection, packed: bytes, replies: int, seconds: float) -> list[Any]:
        link.send_packed_command([packed])  # type: ignore[no-untyped-call]
        result: list[Any] = []
        stale = False
        for _ in range(replies):
            try:
                result.append(link.read_response(timeout=min(REPLY_SECONDS, seconds)))
            except ResponseError as refusal:
                result.append(translate(refusal, self.server, sent=True))
                stale = stale or is_stale(refusal)
        if stale:
            self._drop()
        return result

    def _drop(self) -> None:
        if self._link is not None:
            self._link.disconnect()  # type: ignore[no-untyped-call]
            self._link = None


def _asked(link: AbstractConnection, command: Sequence[str], seconds: float) -> Any:
    link.send_packed_command([pack(command)])  # type: ignore[no-untyped-call]
    return link.read_response(timeout=seconds)
