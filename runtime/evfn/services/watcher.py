"""Wakes dispatchers when their streams grow, and every few seconds anyway: the watch is a hint, never the truth."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta

from evfn.broker.group import Source
from evfn.broker.watch import Watch
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.services.dispatcher import Dispatcher
from evfn.services.subscription import Subscription

SWEEP = timedelta(seconds=5)
"""How often all streams are looked at, whatever the watch says."""


class Watcher:
    """Ties stream keys to the triggers that read them."""

    def __init__(self, watch: Watch, dispatchers: Callable[[], Iterable[Dispatcher]], clock: Clock) -> None:
        self._watch = watch
        self._dispatchers = dispatchers
        self._clock = clock
        self._by_key: dict[str, list[tuple[Dispatcher, Subscription, Source]]] = {}
        self._armed = asyncio.Event()
        self._looked = False
        watch.on_wake = self._wake
        watch.on_seen = self._seen
        watch.on_reset = self._reset

    def add(self, dispatcher: Dispatcher, subscription: Subscription, newest: Mapping[Source, bytes]) -> None:
        """Watch both streams of this subscription. Those whose `newest` id is given are fetched from once it is
        another."""
        for source in Source:
            key = subscription.group.key(source)
            if source in newest:
                self._watch.knows(key, newest[source])
            self._by_key.setdefault(key, []).append((dispatcher, subscription, source))
            self._watch.arm(key)

    def remove(self, subscription: Subscription) -> None:
        """Watch neither stream of it any more, unless somebody else does."""
        for source in Source:
            key = subscription.group.key(source)
            left = [each for each in self._by_key.pop(key, []) if each[1] is not subscription]
            if left:
                self._by_key[key] = left
            else:
                self._watch.forget(key)

    async def run(self) -> None:
        """Sweep until cancelled; the watch itself runs on its own connection."""
        async with asyncio.TaskGroup() as group:
            # Where one of the two ends, so does the other: a watch that died unseen would leave only the sweeps.
            group.create_task(self._watch.run())
            group.create_task(self._sweep())

    async def _sweep(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SWEEP.total_seconds()):
                await self._armed.wait()
        while True:
            await self.run_once()
            await self._clock.sleep(SWEEP)

    async def run_once(self) -> None:
        """Wake what changed unnoticed since the last sweep, and what had a problem: it may be mended."""
        self._looked = True
        try:
            await self._watch.look()
        except BrokerError:
            self._reset()  # The dispatchers find out what is wrong, and say it.
        for dispatcher in self._dispatchers():
            for subscription in dispatcher.subscriptions.values():
                if subscription.problems:
                    for source in Source:
                        dispatcher.wake(subscription, source)

    def _wake(self, key: str) -> None:
        # Armed again before the dispatcher's fetch goes out: what is added after that fetch causes another push.
        self._watch.arm(key)
        for dispatcher, subscription, source in self._by_key.get(key, ()):
            dispatcher.wake(subscription, source, self._watch.ask)

    def _seen(self, key: str, newest: bytes) -> None:
        """A sweep found that. It is news only where nobody has fetched up to there: else each sweep would fetch from
        all that grew since the one before."""
        behind = [each for each in self._by_key.get(key, ()) if each[1].newest[each[2]] != newest]
        if behind:
            self._watch.arm(key)
        for dispatcher, subscription, source in behind:
            dispatcher.wake(subscription, source)

    def _reset(self) -> None:
        if not self._looked and self._watch.connected:
            # It is known what they held when their groups were started; what came since then is found by a look.
            self._armed.set()
            return
        for dispatcher in self._dispatchers():
            dispatcher.wake_all()
