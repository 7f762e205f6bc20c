"""Moves due retries into their triggers' inboxes, each within milliseconds of its time."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from itertools import count

from evfn.broker.connection import later
from evfn.broker.group import Source
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.services.dispatcher import Dispatcher
from evfn.services.subscription import Subscription

TOGETHER = timedelta(milliseconds=10)
"""After a promotion, what falls due so soon is moved with the next one."""
SWEEP = timedelta(seconds=5)
"""How often every retry set is looked at, for retries that other instances scheduled."""
PROMOTED = 500
"""How many retries one call moves."""


class Promoter:
    """Knows when this instance's own retries are due; finds those of others by sweeping."""

    def __init__(
        self,
        dispatchers: Callable[[], Iterable[Dispatcher]],
        any_waiting: Callable[[list[tuple[str, str]]], Awaitable[list[bool]]],
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._any_waiting = any_waiting
        self._dispatchers = dispatchers
        self._clock = clock
        self._random = random
        self._due: list[tuple[int, int, Subscription]] = []
        self._order = count()
        self._changed = asyncio.Event()
        self._tries = 0

    def expect(self, subscription: Subscription, due_ms: int) -> None:
        """A retry of this subscription is due at this instant, in milliseconds since the epoch."""
        if not self._due or due_ms < self._due[0][0]:
            self._changed.set()
        heapq.heappush(self._due, (due_ms, next(self._order), subscription))

    async def run(self) -> None:
        """Promote until cancelled."""
        next_sweep = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if now >= next_sweep:
                next_sweep = now + SWEEP.total_seconds()
                await self.run_once()
            if await self._promote_due():
                # Under load something is due at every moment: moved one by one, each would cost a round trip and more.
                await self._clock.sleep(TOGETHER)
                continue
            wait = next_sweep - self._clock.monotonic()
            if self._due:
                wait = min(wait, self._due[0][0] / 1000 - self._clock.now().timestamp())
            self._changed.clear()
            try:
                async with asyncio.timeout(max(wait, 0.001)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def run_once(self) -> None:
        """Look at every retry set once, and promote from those that hold something."""
        places = [(d, s) for d in self._dispatchers() for s in d.subscriptions.values()]
        try:
            waiting = await self._any_waiting([(s.topic, s.group.group) for _, s in places])
        except BrokerError:
            return  # The dispatchers say what is wrong with the server; the next sweep comes in any case.
        for (dispatcher, subscription), some in zip(places, waiting, strict=True):
            if some:
                await self._promote(dispatcher, subscription)

    async def _promote_due(self) -> bool:
        """Promote what is due by now; whether anything was."""
        now_ms = int(self._clock.now().timestamp() * 1000)
        ready: dict[int, Subscription] = {}
        while self._due and self._due[0][0] <= now_ms:
            _, _, subscription = heapq.heappop(self._due)
            ready[id(subscription)] = subscription
        if not ready:
            return False
        owners = {id(s): d for d in self._dispatchers() for s in d.subscriptions.values()}
        for key, subscription in ready.items():
            if key in owners:
                await self._promote(owners[key], subscription)
        return True

    async def _promote(self, dispatcher: Dispatcher, subscription: Subscription) -> None:
        try:
            promotion = await subscription.group.promote(PROMOTED)
        except BrokerError:
            # The dispatcher reports what is wrong with the server or the key; here it only means: later.
            delay = later(self._tries, self._random())
            self._tries += 1
            self.expect(subscription, int((self._clock.now() + delay).timestamp() * 1000) + 100)
            return
        self._tries = 0
        if promotion.moved:
            dispatcher.wake(subscription, Source.INBOX)
        if promotion.next_due_ms is not None:
            # Due by the server's clock; ours may differ.
            ahead_ms = max(promotion.next_due_ms - promotion.now_ms, 0)
            own_ms = int(self._clock.now().timestamp() * 1000) + ahead_ms + 1
            if not any(s is subscription and due <= own_ms + 1 for due, _, s in self._due[:64]):
                self.expect(subscription, own_ms)
