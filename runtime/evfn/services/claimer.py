"""Takes over the deliveries of instances that are gone: stopped, killed on this machine, or released by hand-over."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from evfn import instance_lock
from evfn.broker.group import RELEASED, Source
from evfn.broker.instances import Instances
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.services.dispatcher import Dispatcher
from evfn.services.subscription import Subscription

LOOK = timedelta(seconds=2)
"""How often the set of instances is looked at; its change, or a full sweep, looks at every group."""
FULL_SWEEP = 15
"""Every so many looks, all groups are looked at even though nobody left."""
UNFINISHED = timedelta(milliseconds=20)
"""How often it is looked whether a trigger that could not take all has room again."""


class Claimer:
    """`folder` is the state folder with this machine's instance locks: a free lock means dead at once."""

    def __init__(
        self,
        instances: Instances,
        instance: str,
        folder: Path,
        dispatchers: Callable[[], Iterable[Dispatcher]],
        clock: Clock,
    ) -> None:
        self._instances = instances
        self._instance = instance
        self._folder = folder
        self._dispatchers = dispatchers
        self._clock = clock
        self._seen: frozenset[str] = frozenset()
        self._looks = 0
        self._waiting: set[Dispatcher] = set()

    def look_soon(self) -> None:
        """A trigger is served that was not: what was handed over of it is its own again."""
        self._seen = frozenset()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.run_once()
            except BrokerError:
                self._seen = frozenset()
            next_look = self._clock.monotonic() + LOOK.total_seconds()
            while self._clock.monotonic() < next_look and not any(each.takes and each.room for each in self._waiting):
                await self._clock.sleep(UNFINISHED if self._waiting else LOOK)

    async def run_once(self) -> None:
        """Claim whatever may be claimed now and can start at once."""
        alive = {name for name in await self._instances.all() if not self._is_dead(name)}
        changed = frozenset(alive) != self._seen
        self._looks += 1
        if not (changed or self._waiting or self._looks % FULL_SWEEP == 0):
            return
        self._waiting.clear()
        for dispatcher in self._dispatchers():
            for subscription in list(dispatcher.subscriptions.values()):
                for source in Source:
                    await self._claim_from(dispatcher, subscription, source, alive)
        self._seen = frozenset(alive)
        if not self._waiting:
            await self._clear_away(alive)

    def _is_dead(self, name: str) -> bool:
        return name != self._instance and instance_lock.held(self._folder, name) is False

    async def _claim_from(
        self, dispatcher: Dispatcher, subscription: Subscription, source: Source, alive: set[str]
    ) -> None:
        for consumer in await subscription.group.consumers(source):
            if consumer.name == self._instance or consumer.name in alive:
                continue
            if consumer.pending == 0:
                if consumer.name != RELEASED:
                    await subscription.group.delete_consumer_if_idle(source, consumer.name)
                continue
            charged = consumer.name != RELEASED
            # No more suspects than can start at once, each alone in its worker.
            room = min(dispatcher.room, dispatcher.trigger.workers.max) if charged else dispatcher.room
            if not dispatcher.takes or room <= 0:
                self._waiting.add(dispatcher)
                continue
            claimed = await subscription.group.claim(source, consumer.name, dead=charged, count=min(room, 512))
            dispatcher.accept_claimed(subscription, source, claimed, charged=charged)
            if consumer.pending > len(claimed):
                self._waiting.add(dispatcher)

    async def _clear_away(self, alive: set[str]) -> None:
        for name in await self._instances.all():
            if name not in alive and self._is_dead(name):
                await self._instances.deregister(name)
        for name in instance_lock.ids(self._folder):
            if self._is_dead(name):
                instance_lock.clear(self._folder, name)
