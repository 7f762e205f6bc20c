"""When the next entries are asked for: never more than there is room for, and never so that they overtake others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from evfn.broker.group import Group, Source
from evfn.clock import SystemClock
from evfn.errors import BrokerUnavailable
from evfn.services.fetch import Pairs
from evfn.services.fetcher import AHEAD, FETCH, Fetcher, Lease
from evfn.services.settler import Settler
from evfn.services.subscription import Subscription
from waiting import wait_until

LANE = SimpleNamespace(broken=False)
"""In the place of a lane."""


class Stream:
    """In the place of a group: a topic that has ever more, or so much, and notes what is asked of it."""

    def __init__(self, left: int = 1 << 20) -> None:
        self.left = left
        self.given = 0
        self.under_way = 0
        self.most_at_once = 0
        self.asked: list[int] = []
        self.lanes = self.lonely = 0
        """How often a lane was taken, and how many fetches went without."""
        self.on_lane: object = LANE
        self.fetches = 0
        self.slow_from = 1 << 20
        self.slowed = asyncio.Event()
        self.on_fetched: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def lane(self) -> AsyncIterator[object]:
        self.lanes += 1
        yield self.on_lane

    async def fetch(self, source: Source, count: int, lane: object = None) -> Pairs:
        self._asked()
        self.lonely += lane is None
        self.fetches += 1
        if self.fetches == self.slow_from:
            self.slowed.set()
        await asyncio.sleep(0 if self.fetches < self.slow_from else 0.01)
        if isinstance(lane, SimpleNamespace) and lane.broken:
            self.under_way -= 1
            raise BrokerUnavailable("the link is lost")
        asyncio.get_running_loop().call_soon(self.on_fetched)
        return self._give(count)

    def begin(self, ask: object, source: Source, count: int) -> "asyncio.Future[int]":
        self._asked()
        self.asked.append(count)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, answer.set_result, count)
        return answer

    async def read(self, source: Source, answer: "asyncio.Future[int]") -> Pairs:
        return self._give(await answer)

    def _asked(self) -> None:
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)

    def _give(self, count: int) -> Pairs:
        self.under_way -= 1
        count = min(count, self.left)
        self.left -= count
        first, self.given = self.given, self.given + count
        return [(b"%d-0" % number, [b"data", b"x"]) for number in range(first, first + count)]


class Taker:
    """Holds what it gets, and gives up nothing by itself."""

    takes = True

    def __init__(self, target: int, left: int = 1 << 20) -> None:
        self.target = target
        self.subscriptions: dict[str, Subscription] = {}
        self.unsettled = 0
        self.ahead: list[int] = []
        self.all_came = asyncio.Event()
        """More than one full fetch."""
        self.second_came = asyncio.Event()
        """110 entries have come: what was there first, and what came later."""
        self.got: list[bytes] = []
        self.stream = Stream(left)

    async def accept(self, subscription: Subscription, source: Source, entries: Pairs) -> None:
        self.got += [entry for entry, _ in entries]
        if len(self.got) >= FETCH + 15:
            self.all_came.set()
        if self.unsettled >= 110:
            self.second_came.set()
        self.ahead.append(self.stream.under_way)
        await asyncio.sleep(0)

    def blocked(self, subscription: Subscription, what: object, problem: str | None) -> None: ...
    def remade(self, subscription: Subscription, where: str) -> None: ...


def settler() -> Settler:
    """Never asked to settle anything."""
    nothing = cast("Callable[..., Any]", None)
    group = cast("Group", type("G", (), {"epoch": 0}))
    return Settler(
        group, Source.TOPIC, SystemClock(), lambda: 0.5, on_settled=nothing, on_fenced=nothing, on_gone=nothing,
        on_problem=nothing, on_end=nothing,
    )  # fmt: skip


def new(taker: Taker) -> tuple[Fetcher, Subscription]:
    """A fetcher with one topic, that may hold something."""
    subscription = Subscription("t", cast("Group", taker.stream), {source: settler() for source in Source})
    subscription.hot = {Source.TOPIC}
    taker.subscriptions["t"] = subscription
    fetcher = Fetcher(taker, cast("Lease", None), SystemClock(), lambda: 0.5)
    fetcher.add(subscription)
    return fetcher, subscription


async def fetched(target: int, rounds: int, left: int = 1 << 20, on_lane: object = LANE, held: int = 0) -> Taker:
    """What a fetcher comes to in so many turns of the loop, on a stream with so many entries."""
    taker = Taker(target, left)
    taker.stream.on_lane = on_lane
    taker.unsettled = held
    fetcher, _ = new(taker)
    running = asyncio.create_task(fetcher.run())
    for _ in range(rounds):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return taker


@pytest.mark.parametrize("target", [1, 16, FETCH, FETCH + 100, 3 * FETCH, 4 * FETCH + 7])
def test_no_more_is_asked_for_than_there_is_room_for(target: int) -> None:
    """What is on its way takes room as what is held does: an instance that is busy leaves the rest to others."""
    taker = asyncio.run(fetched(target, 200))
    assert taker.stream.given == taker.unsettled
    assert 0.75 * target <= taker.stream.given <= target


def test_entries_come_in_their_order_while_the_next_are_on_their_way() -> None:
    """Several fetches at a time, all but the first on one lane, where none overtakes another."""
    taker = asyncio.run(fetched(8 * FETCH, 200))
    assert taker.got == [b"%d-0" % number for number in range(len(taker.got))]
    assert taker.stream.most_at_once == AHEAD
    assert (taker.stream.lanes, taker.stream.lonely) == (1, 1)


def test_where_half_of_the_room_is_taken_one_fetch_is_under_way_at_a_time() -> None:
    """Settling is what takes time then, and the server has to come to it."""
    taker = asyncio.run(fetched(16 * FETCH, 400, held=8 * FETCH))
    assert len(taker.got) > 3 * FETCH
    assert taker.stream.most_at_once == 1


def test_without_a_lane_one_fetch_is_under_way_at_a_time() -> None:
    """They would go out on sockets of their own, and overtake each other."""
    taker = asyncio.run(fetched(8 * FETCH, 200, on_lane=None))
    assert taker.got == [b"%d-0" % number for number in range(len(taker.got))]
    assert len(taker.got) > 5 * FETCH
    assert taker.stream.most_at_once == 1


def test_a_lane_that_is_lost_is_used_no_more() -> None:
    """What was asked on it fails; the rest is fetched without it, and then on another."""

    async def play() -> Taker:
        taker = Taker(16 * FETCH)
        lost = taker.stream.on_lane = SimpleNamespace(broken=False)
        taker.stream.slow_from = 3
        fetcher, _ = new(taker)
        running = asyncio.create_task(fetcher.run())
        async with asyncio.timeout(10):
            await taker.stream.slowed.wait()
            lost.broken, taker.stream.on_lane = True, LANE
            await taker.all_came.wait()
            await wait_until(lambda: taker.stream.lanes == 2, "another lane is taken")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return taker

    taker = asyncio.run(play())
    assert taker.got == [b"%d-0" % number for number in range(len(taker.got))]


def test_what_a_push_brings_does_not_overtake_a_fetch_on_a_lane() -> None:
    """Though the last reply was short, others are still to come."""

    async def play() -> Taker:
        taker = Taker(8 * FETCH, left=FETCH + 10)
        taker.stream.slow_from = 3
        fetcher, subscription = new(taker)
        running = asyncio.create_task(fetcher.run())
        async with asyncio.timeout(10):
            await taker.stream.slowed.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not fetcher.hot
            taker.stream.left = 5
            fetcher.wake(subscription, Source.TOPIC, lambda packed: None)
            await taker.all_came.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return taker

    taker = asyncio.run(play())
    assert taker.stream.asked == []
    assert taker.got == [b"%d-0" % number for number in range(FETCH + 15)]


def test_what_is_no_backlog_is_asked_for_once() -> None:
    """A stream that was looked at in vain, or holds a few entries, takes no lane and no second fetch."""
    taker = asyncio.run(fetched(8 * FETCH, 50, left=3))
    assert len(taker.got) == 3
    assert (taker.stream.lanes, taker.stream.fetches) == (0, 1)


def test_what_pushes_have_asked_for_takes_room_before_it_comes() -> None:
    """However many pushes come at once."""

    async def play() -> list[int]:
        taker = Taker(40, left=0)
        fetcher, subscription = new(taker)
        running = asyncio.create_task(fetcher.run())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not fetcher.hot
        for _ in range(5):
            fetcher.wake(subscription, Source.TOPIC, lambda packed: None)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return taker.stream.asked

    assert asyncio.run(play()) == [16, 16]


def test_a_fetch_does_not_overtake_what_a_push_has_asked_for() -> None:
    """They go out on two sockets, and a stream's entries keep their order over both."""

    async def play() -> Taker:
        taker = Taker(1000, left=10)
        fetcher, subscription = new(taker)

        def pushed_and_swept() -> None:
            taker.stream.on_fetched = lambda: None
            taker.stream.left = 100
            fetcher.wake(subscription, Source.TOPIC, lambda packed: None)
            fetcher.wake(subscription, Source.TOPIC)

        taker.stream.on_fetched = pushed_and_swept
        running = asyncio.create_task(fetcher.run())
        async with asyncio.timeout(10):
            await taker.second_came.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return taker

    taker = asyncio.run(play())
    assert taker.stream.asked == [16]
    assert taker.stream.most_at_once == 1
