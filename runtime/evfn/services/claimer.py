"""Takes over the deliveries of instances that are gone: stopped, killed, cut off, or handed over by the living."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from evfn import instance_lock
from evfn.broker.group import RELEASED, Consumer, Group, Source
from evfn.broker.instances import About, Beats, Instances
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.lease import Observation
from evfn.services.dispatcher import Dispatcher
from evfn.services.subscription import Subscription

FULL_SWEEP = 8
"""Every so many beats, all groups are looked at even though nobody left."""
IDLE = timedelta(milliseconds=50)
"""How often it is looked whether a trigger that took nothing (loading, broken) takes again."""
UNFINISHED = timedelta(milliseconds=2)
"""How often it is looked whether a trigger that could not take all has room again."""
MOST = 512


class Claimer:
    """`folder` is the state folder with this machine's instance locks: a free lock means dead at once.

    `on_others` gets what the other instances say of themselves, whenever their set changed.
    """

    def __init__(
        self,
        instances: Instances,
        instance: str,
        lease: timedelta,
        folder: Path,
        dispatchers: Callable[[], Iterable[Dispatcher]],
        clock: Clock,
        on_others: Callable[[Mapping[str, About]], None],
    ) -> None:
        self._instances = instances
        self._instance = instance
        self._folder = folder
        self._dispatchers = dispatchers
        self._clock = clock
        self._on_others = on_others
        self._observation = Observation(instance, lease)
        self._about: dict[str, About] = {}
        self._stale: frozenset[str] = frozenset()
        self._news = asyncio.Event()
        self._beats = Beats({})
        self._dead: Mapping[str, int] = {}
        self._looked: tuple[frozenset[str], int] | None = None
        self._looks = 0
        self._waiting: set[Dispatcher] = set()
        self._idle: set[Dispatcher] = set()

    def look_soon(self) -> None:
        """A trigger is served that was not: what was handed over of it is its own again."""
        self._looked = None
        self._news.set()

    def saw(self, beats: Beats) -> None:
        """Every own beat tells who lives."""
        self._beats = beats
        self._dead = self._observation.saw(beats.counters, self._leases)
        self._news.set()

    def interrupted(self) -> None:
        """An outage: whoever looked dead before it may only have been cut off, as this instance was."""
        self._observation.interrupted()
        self._dead = {}
        self._looked = None

    async def run(self) -> None:
        """Look after every beat, and whenever there is room for what could not be taken, until cancelled."""
        while True:
            await self._next_look()
            try:
                await self.run_once()
            except BrokerError:
                # The next beat tells how things stand.
                self._looked = None
                self._make_way(set())

    async def _next_look(self) -> None:
        while not self._news.is_set():
            if any(each.takes for each in self._idle):
                self._looked = None
                return
            if any(each.takes and (each.fetcher.room or each.startable) for each in self._waiting):
                return
            if self._waiting:
                await self._clock.sleep(UNFINISHED)
            elif self._idle:
                await self._clock.sleep(IDLE)
            else:
                await self._news.wait()
        self._news.clear()

    async def run_once(self) -> None:
        """Claim whatever may be claimed now and can start at once."""
        alive = {name for name in self._beats.counters if name not in self._dead and not self._locked_dead(name)}
        looked = (frozenset(alive), self._beats.releases)
        self._looks += 1
        sweep = looked != self._looked or self._looks % FULL_SWEEP == 0
        if not (sweep or self._waiting):
            return
        if sweep:
            await self._learn(alive)
        waiting: set[Dispatcher] = set()
        self._idle.clear()
        places = [
            (dispatcher, subscription, source)
            for dispatcher in self._dispatchers()
            for subscription in dispatcher.subscriptions.values()
            for source in Source
        ]
        found = await Group.consumers_of([(subscription.group, source) for _, subscription, source in places])
        for (dispatcher, subscription, source), consumers in zip(places, found, strict=True):
            if await self._left_behind(dispatcher, subscription, source, consumers, alive):
                waiting.add(dispatcher)
        self._make_way(waiting)
        self._looked = looked
        if not waiting:
            await self._clear_away(alive)

    @property
    def _leases(self) -> dict[str, timedelta]:
        return {name: about.lease for name, about in self._about.items()}

    def _make_way(self, waiting: set[Dispatcher]) -> None:
        """What was left behind is older than what is new: these fetch nothing before it is taken."""
        for dispatcher in self._waiting - waiting:
            dispatcher.fetcher.make_way(False)
        for dispatcher in waiting - self._waiting:
            dispatcher.fetcher.make_way(True)
        self._waiting = waiting

    def _locked_dead(self, name: str) -> bool:
        return name != self._instance and instance_lock.held(self._folder, name) is False

    async def _learn(self, alive: set[str]) -> None:
        self._about = await self._instances.told()
        # One that came after our beat is not stale: only who is without a lease twice is.
        stale = await self._instances.mentioned() - self._beats.counters.keys()
        await self._instances.clear(sorted(stale & self._stale))
        self._stale = frozenset(stale)
        self._on_others({name: self._about[name] for name in self._about.keys() & alive - {self._instance}})

    async def _left_behind(
        self,
        dispatcher: Dispatcher,
        subscription: Subscription,
        source: Source,
        consumers: Iterable[Consumer],
        alive: set[str],
    ) -> bool:
        """Take what others left in this group; whether some of it has to wait."""
        left = False
        for consumer in consumers:
            if consumer.name == self._instance or consumer.name in alive:
                continue
            if consumer.pending == 0:
                if consumer.name != RELEASED:
                    await subscription.group.delete_consumer_if_idle(source, consumer.name)
            elif dispatcher.takes:
                left |= not await self._claim(dispatcher, subscription, source, consumer)
            else:
                self._idle.add(dispatcher)
        return left

    async def _claim(
        self, dispatcher: Dispatcher, subscription: Subscription, source: Source, consumer: Consumer
    ) -> bool:
        """Take what there is room for; whether that was all."""
        charged = consumer.name != RELEASED
        # Suspects: no more than can start at once, for each may take this instance down as well, and what merely
        # waits here would be charged with it.
        room = min(dispatcher.startable if charged else dispatcher.fetcher.room, MOST)
        if room <= 0:
            return False
        dead = self._locked_dead(consumer.name)
        with subscription.in_flight(source).call():
            claimed = await subscription.group.claim(
                source,
                consumer.name,
                dead=dead or consumer.name in self._dead,
                count=room,
                beats_seen=None if dead else self._dead.get(consumer.name),
            )
            dispatcher.accept_claimed(subscription, source, claimed, charged=charged)
        # Nothing claimed: another was faster, or the owner lives after all.
        return not claimed or consumer.pending <= len(claimed)

    async def _clear_away(self, alive: set[str]) -> None:
        """Nothing is pending for the dead any more where we look; what is elsewhere is claimed without a field."""
        for name in self._beats.counters:
            if name not in alive and self._locked_dead(name):
                await self._instances.deregister(name)
        for name, beats in self._observation.long_gone(self._leases).items():
            await self._instances.bury(name, beats)
        for name in instance_lock.ids(self._folder):
            if self._locked_dead(name):
                instance_lock.clear(self._folder, name)
