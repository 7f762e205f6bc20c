"""Learns within a fraction of a millisecond that a stream grew, for thousands of streams on one connection.

A read-only XLEN makes the server remember the key for this connection; whoever changes it next causes one push, after
which the key must be armed again. XREADGROUP and XACK by anyone cause none. The watch is a hint, never the truth.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from random import random
from typing import Any, cast

from redis.exceptions import RedisError, ResponseError

from evfn.broker.connection import Connection, later
from evfn.broker.link import Link, link, pack
from evfn.broker.refusal import translate
from evfn.broker.scripts import Script
from evfn.errors import BrokerError, BrokerUnavailable

NEWEST = Script("newest", "...")
POLL = timedelta(milliseconds=100)
ASK_AGAIN = timedelta(seconds=30)
"""How long streams are polled before the server is asked again to push: the right may have been given."""
CHECK = timedelta(seconds=2)
"""How often an idle connection is asked for a sign of life; as long again and it is given up."""
_ARMED_AT_ONCE = 1_000
_PUSHED = object()


class Watch:
    """Set `on_wake` (a key's stream may have grown) and `on_reset` (anything may have been missed: all keys are armed
    anew, look at everything once), then `run`. Both are called on the loop and must not block."""

    def __init__(self, connection: Connection, *, on_warning: Callable[[str], None] = lambda text: None) -> None:
        self._connection = connection
        self._on_warning = on_warning
        self.on_wake: Callable[[str], None] = lambda key: None
        self.on_reset: Callable[[], None] = lambda: None
        self._polling_until: float | None = None
        self._keys: dict[str, None] = {}
        self._to_arm: dict[str, None] = {}
        self._awaited: deque[str | None] = deque()
        self._link: Link | None = None
        self._gathering = False
        self._refused: set[str] = set()
        self._newest: dict[str, bytes] = {}

    def arm(self, key: str) -> None:
        """Watch this key for its next change; a key that is absent too.

        It goes out before anything else does that is written after this call, so a fetch that follows sees whatever
        is added too early to be pushed. What is armed from within `on_wake` goes out together.
        """
        self._keys[key] = None
        self._to_arm[key] = None
        if not self._gathering:
            self._flush()

    def knows(self, key: str, newest: bytes) -> None:
        """The key's newest id, as it was before the watch began: a look wakes it where it is another by then."""
        self._newest[key] = newest

    @property
    def polling(self) -> bool:
        """Whether all streams are looked at again and again, for the server does not push."""
        return self._polling_until is not None

    @property
    def connected(self) -> bool:
        """Whether there is a connection on which the server could push."""
        return self._link is not None

    @property
    def armed(self) -> bool:
        """Whether the server has answered every arming: what changes from now on is pushed."""
        return self._link is not None and not self._to_arm and not self._awaited

    def forget(self, key: str) -> None:
        """Stop watching this key."""
        self._keys.pop(key, None)
        self._to_arm.pop(key, None)
        self._newest.pop(key, None)

    async def run(self) -> None:
        """Watch until cancelled, through every loss of the server."""
        tries = 0
        while True:
            try:
                if self._polling_until is not None and self._connection.clock.monotonic() < self._polling_until:
                    await self.look()
                    await self._connection.clock.sleep(POLL)
                else:
                    await self._listen()
                tries = 0
            except BrokerError:
                await self._connection.clock.sleep(later(tries, random()))
                tries += 1

    async def _listen(self) -> None:
        """One connection's life. Returns after it broke, or where the server does not push; raises BrokerError where
        there is none."""
        one = link(self._connection.url, protocol=3)
        try:
            await one.connect()  # type: ignore[no-untyped-call]
            await one.send_command("CLIENT", "TRACKING", "ON", "NOLOOP")
            refusal = await self._refusal(one)
        except (RedisError, OSError, TimeoutError) as error:
            await one.disconnect(nowait=True)
            raise translate(error, self._connection.server, sent=False) from error
        if refusal is not None:
            await one.disconnect(nowait=True)
            if isinstance(refusal, BrokerUnavailable):
                raise refusal
            self._poll(refusal)
            return
        self._polling_until = None
        one.on_push(self._pushed)
        self._link = one
        checking = asyncio.create_task(self._check(one))
        try:
            self._arm_all()
            while True:
                try:
                    reply = await one.read_response(timeout=math.inf, push_request=True)
                except ResponseError as error:
                    key = self._awaited.popleft() if self._awaited else None
                    self._unarmed(key, translate(error, self._connection.server, sent=True))
                    continue
                # None: a callback raised, which redis-py logs; no command sent here is answered by it.
                if reply is not None and reply is not _PUSHED and self._awaited:
                    self._refused.discard(self._awaited.popleft() or "")
        except (RedisError, OSError, TimeoutError):
            self._connection.lost += 1
            return
        finally:
            self._link = None
            self._awaited.clear()
            checking.cancel()
            with suppress(asyncio.CancelledError):
                await checking
            await one.disconnect(nowait=True)

    async def _refusal(self, one: Link) -> BrokerError | None:
        """Why the server does not push, or not now."""
        try:
            await one.read_response()
        except ResponseError as error:
            return translate(error, self._connection.server, sent=True)
        return None

    def _poll(self, refusal: BrokerError) -> None:
        if not self.polling:
            self._on_warning(
                f"{self._connection.server} does not push changes to this user ({refusal}); "
                f"streams are polled every {POLL // timedelta(milliseconds=1)} ms instead"
            )
        self._polling_until = self._connection.clock.monotonic() + ASK_AGAIN.total_seconds()

    def _arm_all(self) -> None:
        self._to_arm.update(self._keys)
        self._flush()
        # Whoever looks now looks after the arming went out; later changes are pushed.
        self.on_reset()

    def _flush(self) -> None:
        one = self._link
        if one is None or not self._to_arm:
            return
        keys, self._to_arm = list(self._to_arm), {}
        self._awaited.extend(keys)
        one.write(b"".join(pack((b"XLEN", key)) for key in keys))

    async def _pushed(self, push: list[Any]) -> object:
        if push[1] is None:
            # The server's table of watched keys overflowed or was flushed.
            self._arm_all()
            return _PUSHED
        self._gathering = True
        try:
            for name in push[1]:
                key = name.decode("utf-8", "replace")
                if key in self._keys:
                    self.on_wake(key)
        finally:
            self._gathering = False
            self._flush()
        return _PUSHED

    def _unarmed(self, key: str | None, error: BrokerError) -> None:
        # A key of another type, or one this user may not read: the sweeps still look at it.
        if key is not None and key not in self._refused:
            self._refused.add(key)
            self._on_warning(f"{key} cannot be watched: {error}")

    async def _check(self, one: Link) -> None:
        """Close a connection on which nothing arrives any more, so that reading it ends."""
        while True:
            await self._connection.clock.sleep(CHECK)
            if self._awaited:
                oldest = self._awaited[0]
                waiting = len(self._awaited)
                await self._connection.clock.sleep(CHECK)
                if self._awaited and self._awaited[0] == oldest and len(self._awaited) >= waiting:
                    break
            else:
                self._awaited.append(None)
                one.write(pack((b"PING",)))
        await one.disconnect(nowait=True)

    async def look(self) -> None:
        """Look at all keys once, pushed or not: wakes those whose newest entry is another than at the last look.

        The first look, and every one after a failure, counts as a reset. Raises BrokerError.
        """
        fresh = not self._newest
        keys = list(self._keys)
        for at in range(0, len(keys), _ARMED_AT_ONCE):
            chunk = keys[at : at + _ARMED_AT_ONCE]
            try:
                ids = await self._newest_of(chunk)
            except BrokerUnavailable:
                self._newest.clear()
                raise
            for key, newest in zip(chunk, ids, strict=True):
                known = self._newest.get(key)
                self._newest[key] = newest
                if known is not None and known != newest:
                    self.on_wake(key)
        if fresh:
            self.on_reset()

    async def _newest_of(self, keys: list[str]) -> list[bytes]:
        try:
            return cast("list[bytes]", await NEWEST.run(self._connection, keys, []))
        except BrokerUnavailable:
            raise
        except BrokerError:
            # A script is refused as a whole where this user lacks the right to one of its keys.
            replies = await self._connection.pipeline([("XREVRANGE", key, "+", "-", "COUNT", 1) for key in keys])
            return [b"" if isinstance(reply, BrokerError) or not reply else reply[0][0] for reply in replies]
