"""Fetches one trigger's events: from whichever of its streams may hold something, as far as there is room."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from operator import itemgetter
from typing import Protocol

from evfn.broker import limits
from evfn.broker.connection import later
from evfn.broker.group import Ask, GroupGone, Lane, Source
from evfn.clock import Clock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.services.fetch import Fetch, Pairs
from evfn.services.in_flight import InFlight
from evfn.services.subscription import Subscription

FETCH = limits.EMITS
"""As many as may emit in one settle call. A frame holds what one fetch brought, and a few more would take another."""
AHEAD = 3
"""So many fetches are under way at a time while there is a backlog, and half of the room for it."""
FIRST = 16
"""How many events a push brings at most. What grows faster than that has a backlog, and is fetched as such."""
BEGUN = 64
"""So many such fetches are under way at most."""
FETCHING = "fetching"
_ID = itemgetter(0)


class Lease(Protocol):
    """The instance's right to settle, under its id."""

    id: str

    def fenced(self) -> None:
        """It is lost."""

    def start_over(self, why: str) -> None:
        """Give up all that is held, for it may not be what it was, and begin anew."""

    async def check(self) -> bool:
        """Whether it is still there; where not, the instance ends."""


class Taker(Protocol):
    """Who takes in what is fetched. `unsettled` counts what it holds; what was just read counts from then on."""

    subscriptions: dict[str, Subscription]
    unsettled: int

    @property
    def takes(self) -> bool:
        """Whether it wants any."""

    @property
    def target(self) -> int:
        """How many deliveries it can make use of at a time."""

    async def accept(self, subscription: Subscription, source: Source, entries: Pairs) -> None:
        """Take these in; never called for two at a time."""

    def blocked(self, subscription: Subscription, what: object, problem: str | None) -> None:
        """Fetching cannot do its work, or can again."""

    def remade(self, subscription: Subscription, where: str) -> None:
        """A group that was gone is made again."""


class Fetcher:
    """For one `taker`. Never are two fetches of a stream under way that might overtake each other."""

    def __init__(self, taker: Taker, lease: Lease, clock: Clock, random: Callable[[], float]) -> None:
        self._taker = taker
        self._lease = lease
        self._clock = clock
        self._random = random
        self._awake = asyncio.Event()
        self._makes_way = False
        self._hot: dict[Subscription, None] = {}
        self._begun: deque[Fetch] = deque()
        self._expected = 0
        self._asked: set[Fetch] = set()
        self._tries = 0
        self._turn = 0
        self.fetching = False
        """Whether something may be on its way."""

    @property
    def hot(self) -> bool:
        """Whether it knows of a stream that may hold something."""
        return bool(self._hot)

    @property
    def room(self) -> int:
        """How many more deliveries its taker can make use of now. An event takes room until it is settled."""
        target = self._taker.target
        free = target - self._taker.unsettled - self._expected
        # Fetching one by one as single places become free would cost a round trip an event.
        return free if free * 4 >= target else 0

    def look(self) -> None:
        """Something has changed that decides what is fetched: room, state, streams."""
        self._awake.set()

    def add(self, subscription: Subscription) -> None:
        """Fetch from this topic too."""
        if subscription.hot:
            self._hot[subscription] = None
        self._awake.set()

    def remove(self, subscription: Subscription) -> None:
        """Fetch from this topic no more."""
        self._hot.pop(subscription, None)

    def wake(self, subscription: Subscription, source: Source, ask: Ask | None = None) -> None:
        """Something may have been added to one of its streams. With `ask` it is fetched at once, where nothing else is
        to be fetched first."""
        if ask is None or self._hot or self._asked or not self._begin(subscription, source, ask):
            self._heat(subscription, source)
        self._awake.set()

    def make_way(self, on: bool) -> None:
        """Fetch nothing new for now: what another instance left is to be begun first."""
        self._makes_way = on
        self._awake.set()

    async def run(self) -> None:
        """Fetch whenever there may be something and there is room, until cancelled."""
        try:
            while True:
                await self._awake.wait()
                self._awake.clear()
                self.fetching = True
                await self._fetch_all()
                self.fetching = False
        finally:
            self.fetching = False
            while self._begun:
                self._begun.pop().abandon()

    async def recreate(self, subscription: Subscription) -> None:
        """Make its vanished group again, and say so; what is wrong meanwhile is said too."""
        try:
            # What took the group may have taken our lease too; then it is for the next instance to begin anew.
            if not await self._lease.check():
                return
            where = await subscription.recreate()
        except BrokerError as error:
            self._taker.blocked(subscription, FETCHING, str(error))
            await self._pause()
        else:
            self._taker.remade(subscription, where)

    def new_here(self, flight: InFlight, entries: Pairs) -> Pairs:
        """Without what still runs here: a group that was made again delivers it once more, and once is enough."""
        if flight.ids.keys().isdisjoint(map(_ID, entries)):
            return entries
        if any(flight.ids.get(entry, fields) != fields for entry, fields in entries):
            self._lease.start_over(
                "the server has lost events that it had given out, and gives their ids to others (an older copy of its"
                " data, or a replica that had not copied them, took its place); this instance starts over"
            )
        return [each for each in entries if each[0] not in flight.ids]

    # --- which, and when -----------------------------------------------------------------------------------------

    async def _fetch_all(self) -> None:
        """Fetch until nothing is left, or no room for it.

        The next entries are asked for before the last are taken in, so that the server looks for them meanwhile. Once a
        full fetch tells of a backlog several are under way, on one link, where none overtakes another.
        """
        under_way: deque[asyncio.Task[tuple[Fetch, Pairs]]] = deque()
        lane: Lane | None = None
        async with AsyncExitStack() as held:
            try:
                while True:
                    if not under_way:
                        await self._take_begun()
                        self._ask(under_way, lane)
                    if not under_way:
                        return
                    fetch, entries = await under_way.popleft()
                    if lane is not None and lane.broken:
                        lane = None
                    elif lane is None and len(entries) == FETCH and not under_way:
                        lane = await held.enter_async_context(fetch.subscription.group.lane())
                    if not entries:
                        continue
                    self._ask(under_way, lane)
                    if under_way:
                        await asyncio.sleep(0)  # They go out.
                    await self._taker.accept(fetch.subscription, fetch.source, entries)
            finally:
                for task in under_way:
                    task.cancel()

    def _ask(self, under_way: "deque[asyncio.Task[tuple[Fetch, Pairs]]]", lane: Lane | None) -> None:
        """Have as many under way as may be: several on a lane, else one.

        Where half of the room is taken, settling is what takes time: more fetches would only stand before it.
        """
        several = lane is not None and 2 * self._taker.unsettled < self._taker.target
        while len(under_way) < (AHEAD if several else 1) and (task := self._next(lane)) is not None:
            under_way.append(task)

    def _next(self, lane: Lane | None) -> "asyncio.Task[tuple[Fetch, Pairs]] | None":
        """Ask the stream whose turn it is for as many entries as there is room for."""
        if self._begun or not self._hot or not self._taker.takes or self._makes_way or self.room == 0:
            return None
        subscription, source = self._in_turn()[0]
        # Its turn is over whatever comes of it: one that cannot be had keeps no other waiting.
        self._turn += 1
        subscription.served[source] = self._turn
        fetch = Fetch(subscription, source, min(self.room, FETCH), lane=lane)
        self._expected += fetch.count
        self._asked.add(fetch)
        return asyncio.create_task(self._read(fetch))

    def _in_turn(self) -> list[tuple[Subscription, Source]]:
        """The streams that may hold something, the one served longest ago first: no backlog, and no replay, which
        keeps an inbox full for hours, may keep the others waiting."""
        # Among equals retries and redriven events before new ones: they have waited already.
        places = [
            (subscription, source)
            for subscription in self._hot
            for source in (Source.INBOX, Source.TOPIC)
            if source in subscription.hot
        ]
        return sorted(places, key=lambda place: place[0].served[place[1]])

    def _begin(self, subscription: Subscription, source: Source, ask: Ask) -> bool:
        """Begin to fetch what was just added; whether that was possible. `run` takes in what it brings."""
        count = min(self.room, FIRST)
        full = count <= 0 or len(self._begun) >= BEGUN
        if full or not self._taker.takes or self._makes_way or subscription.problems:
            return False
        begun = Fetch.begun(ask, subscription, source, count)
        if begun is None:
            return False
        self._begun.append(begun)
        self._expected += count
        self.fetching = True
        return True

    async def _take_begun(self) -> None:
        """Take in what pushes have brought, in the order in which they came."""
        while self._begun:
            fetch, entries = await self._read(self._begun.popleft())
            if entries:
                await self._taker.accept(fetch.subscription, fetch.source, entries)

    def _heat(self, subscription: Subscription, source: Source) -> None:
        subscription.wake(source)
        if self._taker.subscriptions.get(subscription.topic) is subscription:
            self._hot[subscription] = None

    def _cool(self, subscription: Subscription, source: Source) -> None:
        subscription.hot.discard(source)
        if not subscription.hot:
            self._hot.pop(subscription, None)

    # --- what comes ----------------------------------------------------------------------------------------------

    async def _read(self, fetch: Fetch) -> tuple[Fetch, Pairs]:
        """What it brings, from now on held; nothing where it cannot be had now, and then its trigger says why."""
        try:
            entries = await self._new(fetch)
        finally:
            self._expected -= fetch.count
            self._asked.discard(fetch)
        self._taker.unsettled += len(entries)
        return fetch, entries

    async def _new(self, fetch: Fetch) -> Pairs:
        subscription, source = fetch.subscription, fetch.source
        flight = subscription.in_flight(source)
        try:
            with fetch.call:
                fetched = await fetch.read()
                entries = self.new_here(flight, fetched)
                flight.took(entries)
        except GroupGone:
            await self.recreate(subscription)
            self.wake(subscription, source)
            return []
        except BrokerUnavailable as error:
            self._taker.blocked(subscription, FETCHING, str(error))
            await self._pause()
            self.wake(subscription, source)
            return []
        except BrokerError as error:
            # One bad key is left out until the next sweep wakes it; the rest goes on.
            self._taker.blocked(subscription, FETCHING, str(error))
            self._cool(subscription, source)
            return []
        self._tries = 0
        self._taker.blocked(subscription, FETCHING, None)
        if len(fetched) < fetch.count and subscription.wakes == fetch.wakes:
            self._cool(subscription, source)
        else:
            self._heat(subscription, source)
        if fetched:
            subscription.newest[source] = fetched[-1][0]
        return entries

    async def _pause(self) -> None:
        await self._clock.sleep(later(self._tries, self._random()))
        self._tries += 1
