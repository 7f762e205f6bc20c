"""Finds what the server believes this instance to hold, and what never arrived: the reply that brought it was lost."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from evfn.broker.group import Claimed, Group, GroupGone, Source
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.services.dispatcher import Dispatcher
from evfn.services.in_flight import DOUBTFUL_LOOKS, InFlight
from evfn.services.subscription import Subscription

EVERY_SWEEP = 12
"""Every so many sweeps all groups are looked at, also those where every call was answered."""
PAGE = 1_000
AT_ONCE = 200
"""How many groups one round trip looks at."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one sweep saw of one stream: the calls under way, what is pending but not held, what is held but not
    pending."""

    calls: frozenset[object]
    unheld: dict[bytes, int]
    unlisted: frozenset[bytes]


class Orphans:
    """An id is an orphan when two sweeps in a row see it as one, and every call under way at the first was answered
    (or its connection closed) before the second."""

    def __init__(self, dispatchers: Callable[[], Iterable[Dispatcher]], lease: timedelta, clock: Clock) -> None:
        self._dispatchers = dispatchers
        self._every = lease / 2
        self._clock = clock
        self._sweeps = 0
        self._looks: dict[InFlight, Look] = {}

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await self._clock.sleep(self._every)
            await self.run_once()

    async def run_once(self) -> None:
        """Look at every group with a doubt, or that was left with one at the last sweep."""
        before, self._looks = self._looks, {}
        self._sweeps += 1
        if self._sweeps % EVERY_SWEEP == 0:
            await self._doubt([(each, source) for _, each in self._subscriptions for source in Source])
        doubtful = [
            (dispatcher, subscription, source, settler.in_flight)
            for dispatcher, subscription in self._subscriptions
            for source, settler in subscription.settlers.items()
            if settler.in_flight.doubtful or settler.in_flight in before
        ]
        for dispatcher, subscription, source, flight in doubtful:
            flight.doubtful = max(0, flight.doubtful - 1)
            try:
                look = await self._look(subscription, source)
                if flight in before:
                    look = await self._take_in(dispatcher, subscription, source, before[flight], look)
                if look.unheld or look.unlisted:
                    self._looks[flight] = look
            except GroupGone:
                dispatcher.wake(subscription, source)  # It finds out and makes the group again.
            except BrokerError:
                # Who hung as we asked may still carry out what was sent before.
                flight.doubtful = DOUBTFUL_LOOKS

    @property
    def _subscriptions(self) -> list[tuple[Dispatcher, Subscription]]:
        return [(each, subscription) for each in self._dispatchers() for subscription in each.subscriptions.values()]

    async def _doubt(self, places: list[tuple[Subscription, Source]]) -> None:
        """Look at all groups, whatever happened: those that hold something for this instance which it does not hold, or
        the other way round, are looked at twice."""
        for at in range(0, len(places), AT_ONCE):
            some = places[at : at + AT_ONCE]
            try:
                held = await Group.holding([(subscription.group, source) for subscription, source in some])
            except BrokerError:
                held = [None] * len(some)
            for (subscription, source), count in zip(some, held, strict=True):
                flight = subscription.in_flight(source)
                if count != 0 or flight.ids:
                    flight.doubtful = max(flight.doubtful, 1)

    async def _look(self, subscription: Subscription, source: Source) -> Look:
        flight = subscription.in_flight(source)
        calls, held = frozenset(flight.calls), frozenset(flight.ids)
        listed: dict[bytes, int] = {}
        after: bytes | None = None
        while True:
            page = await subscription.group.pending(source, after, PAGE)
            listed.update(page)
            if len(page) < PAGE:
                break
            after = page[-1][0]
        unheld = {entry: count for entry, count in listed.items() if entry not in flight.ids}
        return Look(calls, unheld, (held - listed.keys()) & flight.ids.keys())

    async def _take_in(
        self, dispatcher: Dispatcher, subscription: Subscription, source: Source, before: Look, now: Look
    ) -> Look:
        flight = subscription.in_flight(source)
        if before.calls & now.calls:
            # What one of them brings may be among these; they are judged by the first look, once it is answered.
            return Look(before.calls & now.calls, now.unheld, now.unlisted)
        if unlisted := before.unlisted & now.unlisted & flight.ids.keys():
            await subscription.settlers[source].restore(sorted(unlisted))
        orphans = sorted(before.unheld.keys() & now.unheld.keys())
        for at in range(0, len(orphans), PAGE):
            ids = orphans[at : at + PAGE]
            bodies = await subscription.group.bodies(source, ids)
            found = [Claimed(entry, body, now.unheld[entry]) for entry, body in zip(ids, bodies, strict=True)]
            dispatcher.accept_orphans(subscription, source, found)
        return Look(now.calls, {entry: n for entry, n in now.unheld.items() if entry not in flight.ids}, frozenset())
