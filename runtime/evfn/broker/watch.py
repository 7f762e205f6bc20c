"""Learns within a fraction of a millisecond that a stream grew, for thousands of streams on one connection.

A read-only XLEN makes the server remember the key for this connection; whoever changes it next causes one push, after
which the key must be armed again. XREADGROUP and XACK by anyone cause none. The watch is a hint, never the truth.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from random import random
from typing import Any, cast

from redis.exceptions import RedisError, ResponseError

from evfn.broker.connection import Connection, later, run_id_of
from evfn.broker.link import Link, link, pack
from evfn.broker.refusal import ReplyLost, is_stale, translate
from evfn.broker.scripts import Script
from evfn.broker.wire import Wire
from evfn.errors import BrokerError, BrokerUnavailable

NEWEST = Script("newest", "...")
POLL = timedelta(milliseconds=100)
ASK_AGAIN = timedelta(seconds=30)
"""How long streams are polled before the server is asked again to push: the right may have been given."""
CHECK = timedelta(seconds=2)
"""How often an idle connection is asked for a sign of life; as long again and it is given up."""
_LOOKED_AT_ONCE = 200
"""Keys in one call: the server does nothing else meanwhile, for almost a millisecond."""
_BUFFER = 1 << 16
"""Bytes read at once."""
Answer = asyncio.Future[Any]
Ask = Callable[[bytes], Answer | None]
"""See `Watch.ask`."""


class Watch:
    """Set `on_wake` (a key's stream may have grown), `on_seen` (a look found this newest id, another than the look
    before; without it that wakes) and `on_reset` (anything may have been missed: all keys are armed anew, look at
    everything once), then `run`. All are called on the loop and must not block."""

    def __init__(self, connection: Connection, *, on_warning: Callable[[str], None] = lambda text: None) -> None:
        self._connection = connection
        self._on_warning = on_warning
        self.on_wake: Callable[[str], None] = lambda key: None
        self.on_seen: Callable[[str, bytes], None] = lambda key, newest: self.on_wake(key)
        self.on_reset: Callable[[], None] = lambda: None
        self._polling_until: float | None = None
        self._keys: dict[str, bytes] = {}
        self._awaited: deque[str | Answer | None] = deque()
        self._answered = 0
        self._wire: Wire | None = None
        self._epoch = 0
        self._gathered: list[bytes] | None = None
        self._refused: set[str] = set()
        self._newest: dict[str, bytes] = {}

    def arm(self, key: str) -> None:
        """Watch this key for its next change; a key that is absent too.

        It goes out before anything else does that is written after this call, so a fetch that follows sees whatever
        is added too early to be pushed. What is armed from within `on_wake` goes out together.
        """
        packed = self._keys.get(key)
        if packed is None:
            packed = self._keys[key] = pack(("XLEN", key))
        if self._wire is not None:
            self._send(packed, key)

    def ask(self, packed: bytes) -> Answer | None:
        """Send a command on the connection of the watch, behind what was armed; None where there is none just now, or
        it leads to another server than the instance's other sockets do.

        The reply is as RESP3 has it. It raises BrokerError as calls do; what stays unanswered is lost with the
        connection, after four seconds at the latest. Everything else waits behind the reply, so it must be short.
        """
        if self._wire is None or self._epoch != self._connection.epoch:
            return None
        answer = asyncio.get_running_loop().create_future()
        self._send(packed, answer)
        # At once, for what is left to do in this turn of the loop can be done while the server works.
        self._flush()
        return answer

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
        return self._wire is not None

    @property
    def armed(self) -> bool:
        """Whether the server has answered every arming: what changes from now on is pushed."""
        return self._wire is not None and not self._awaited

    def forget(self, key: str) -> None:
        """Stop watching this key."""
        self._keys.pop(key, None)
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
            run_id = await run_id_of(one)
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
        self._connection.met(run_id)
        self._epoch = self._connection.epoch
        lost = asyncio.Event()
        wire = self._wire = Wire(
            bytearray(_BUFFER),
            one.refusal,
            on_reply=self._replied,
            on_lost=lambda _: lost.set(),
            on_push=self._pushed,
        )
        wire.take_over(one.transport)
        checking = asyncio.create_task(self._check(wire))
        try:
            self._arm_all()
            await lost.wait()
            self._connection.lose()
        finally:
            self._wire = None
            broke = ReplyLost(f"the connection to {self._connection.server} broke")
            for awaited in self._awaited:
                if isinstance(awaited, asyncio.Future) and not awaited.done():
                    awaited.set_exception(broke)
            self._awaited.clear()
            await one.disconnect(nowait=True)
            checking.cancel()
            # Whoever cancels this meanwhile must be heard, so nothing here takes a cancellation for that of the check.
            await asyncio.gather(checking, return_exceptions=True)

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
        wire = self._wire
        if wire is not None and self._keys:
            self._awaited.extend(self._keys)
            wire.write(b"".join(self._keys.values()))
        # Whoever looks now looks after the arming went out; later changes are pushed.
        self.on_reset()

    def _send(self, packed: bytes, awaited: str | Answer | None) -> None:
        self._awaited.append(awaited)
        if self._gathered is not None:
            self._gathered.append(packed)
        elif self._wire is not None:
            self._wire.write(packed)

    def _flush(self) -> None:
        if self._gathered and self._wire is not None:
            self._wire.write(b"".join(self._gathered))
            self._gathered.clear()

    def _pushed(self, push: list[Any]) -> None:
        if push[1] is None:
            # The server's table of watched keys overflowed or was flushed.
            self._arm_all()
            return
        self._gathered = []
        try:
            for name in push[1]:
                key = name.decode("utf-8", "replace")
                if key in self._keys:
                    self.on_wake(key)
        finally:
            self._flush()
            self._gathered = None

    def _replied(self, reply: object) -> None:
        awaited = self._awaited.popleft() if self._awaited else None
        self._answered += 1
        refusal = reply if isinstance(reply, Exception) else None
        if isinstance(awaited, asyncio.Future):
            if awaited.done():
                return
            if refusal is None:
                awaited.set_result(reply)
            else:
                awaited.set_exception(translate(refusal, self._connection.server, sent=True))
        elif refusal is None:
            self._refused.discard(awaited or "")
        else:
            self._unarmed(awaited, translate(refusal, self._connection.server, sent=True))
        if refusal is not None and (not isinstance(refusal, ResponseError) or is_stale(refusal)) and self._wire:
            # It loads, or is no master any more: the next connection waits for it, or leads to another.
            self._wire.close()

    def _unarmed(self, key: str | None, error: BrokerError) -> None:
        # A key of another type, or one this user may not read: the sweeps still look at it.
        if key is not None and key not in self._refused:
            self._refused.add(key)
            self._on_warning(f"{key} cannot be watched: {error}")

    async def _check(self, wire: Wire) -> None:
        """Close a connection on which nothing arrives any more."""
        while True:
            await self._connection.clock.sleep(CHECK)
            if self._awaited:
                answered = self._answered
                await self._connection.clock.sleep(CHECK)
                if self._awaited and self._answered == answered:
                    break
            else:
                self._send(pack(("PING",)), None)
        wire.close()

    async def look(self) -> None:
        """Look at all keys once, pushed or not: `on_seen` for those whose newest id is another than at the last look.

        At the first look, and after a failure, that is every key that is there; where looks are all there is, a reset.
        Raises BrokerError.
        """
        fresh = not self._newest
        keys = list(self._keys)
        for at in range(0, len(keys), _LOOKED_AT_ONCE):
            chunk = keys[at : at + _LOOKED_AT_ONCE]
            try:
                ids = await self._newest_of(chunk)
            except BrokerUnavailable:
                self._newest.clear()
                raise
            for key, newest in zip(chunk, ids, strict=True):
                known = self._newest.get(key)
                self._newest[key] = newest
                if known != newest and not (fresh and self.polling):
                    self.on_seen(key, newest)
        if fresh and self.polling:
            self.on_reset()

    async def _newest_of(self, keys: list[str]) -> list[bytes]:
        try:
            return cast("list[bytes]", await NEWEST.run(self._connection, keys, []))
        except BrokerUnavailable:
            raise
        except BrokerError:
            # A script is refused as a whole where this user lacks the right to one of its keys.
            replies = await self._connection.pipeline([("XREVRANGE", key, "+", "-", "COUNT", 1) for key in keys])
            # What cannot be read is to be tried, so that its trigger says why.
            return [b"?" if isinstance(reply, BrokerError) else reply[0][0] if reply else b"" for reply in replies]
