"""Following from Python, on real servers: whatever happens to the connection, each report is taken in once."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Entry, Group, Source, Traced
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, publish
from evfn.clock import SystemClock
from evfn.errors import BrokerError
from evfn.event import followed
from evfn.services.follower import Ended, Follower
from evfn.trace.report import Fate, Place, Report, Told, pack
from evfn.trace.trace import Trace
from evfn.trigger import Project, Settings, StartAt, Trigger
from servers import FLAVOURS, RealServer
from waiting import wait_until

PROJECT = Project("shop", (Trigger("pack", ("orders",), "f:f"),), settings=Settings(key_prefix="t:"))
LONG = timedelta(seconds=20)


class Shop:
    """One event on its way to one trigger, settled by hand."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.keys = Keys("t:")
        self.group = Group(connection, self.keys, "orders", "shop/pack", "me")
        self.trace = Trace(PROJECT)
        self.told: list[Told] = []
        self.problems: list[str | None] = []
        self.broken: dict[str, str] = {}
        self.follower = Follower(
            connection,
            PROJECT,
            "a",
            self.trace,
            problems=lambda: self.broken,
            on_told=self.told.append,
            on_problem=self.problems.append,
        )

    async def open(self) -> "Shop":
        await Instances(self.connection, self.keys).register("me")
        await self.group.start(StartAt.EARLIEST, patterned_late=False)
        fields = followed([b"specversion", b"1.0", b"data", b"1"], "a")
        stored = await publish(self.connection, self.keys, Publication("orders", "s", "1", fields))
        self.follower.published(Place("orders", stored.stream_id))
        return self

    async def settle(self, fate: Fate = Fate.SUCCEEDED) -> None:
        ((entry, _),) = await self.group.fetch(Source.TOPIC, 1)
        report = Report("shop", "pack", "orders", entry.decode(), "1", None, fate, attempt=1, attempts=1)
        await self.group.settle(Source.TOPIC, Batch(entries=[Entry.ack(entry, traced=Traced("a", pack(report)))]))


async def test_it_ends_when_all_is_settled(connection: Connection) -> None:
    """At once, and the trace is gone then."""
    shop = await Shop(connection).open()
    following = asyncio.create_task(shop.follower.follow(LONG))
    await shop.settle()
    async with asyncio.timeout(20):
        assert await following is Ended.SETTLED
    assert [each.report.fate for each in shop.told] == [Fate.SUCCEEDED]
    assert await connection.call("EXISTS", shop.keys.trace("a")) == 0


async def test_the_time_is_up(connection: Connection) -> None:
    """What is outstanding is still known."""
    shop = await Shop(connection).open()
    assert await shop.follower.follow(timedelta(milliseconds=50)) is Ended.TIME_UP
    assert shop.trace.counts.waiting == 1


async def test_a_trigger_that_breaks_meanwhile(connection: Connection) -> None:
    """It is noticed while waiting, without a report."""
    shop = await Shop(connection).open()
    following = asyncio.create_task(shop.follower.follow(LONG))
    await asyncio.sleep(0)
    shop.broken = {"pack": "no module\nand more"}
    async with asyncio.timeout(20):
        assert await following is Ended.STUCK
    (stuck,) = shop.trace.open()
    assert stuck.reason == "broken: no module; its events wait"


async def test_what_is_not_published_yet_is_waited_for(connection: Connection) -> None:
    """Reports may come before the last event of a file is stored."""
    shop = await Shop(connection).open()
    shop.follower.complete = False
    following = asyncio.create_task(shop.follower.follow(timedelta(milliseconds=1)))
    await shop.settle()
    await wait_until(lambda: len(shop.told) == 1, "the report came")
    assert not following.done()
    shop.follower.complete = True
    async with asyncio.timeout(20):
        assert await following is Ended.SETTLED


async def test_read_reports_do_not_pile_up(connection: Connection) -> None:
    """The server keeps what was not read, and strangers' entries are passed over."""
    shop = await Shop(connection).open()
    key = shop.keys.trace("a")
    await connection.pipeline([("XADD", key, "*", "what", "else")] * 2_000)
    following = asyncio.create_task(shop.follower.follow(LONG))
    async with asyncio.timeout(20):
        while await connection.call("XLEN", key) > 1:  # noqa: ASYNC110 - the server sets no event
            await asyncio.sleep(0.01)
    await shop.settle()
    async with asyncio.timeout(20):
        assert await following is Ended.SETTLED
    assert len(shop.told) == 1


async def test_a_trace_whose_key_is_taken_is_said(connection: Connection) -> None:
    """There is nothing to wait for then."""
    shop = await Shop(connection).open()
    await connection.call("SET", shop.keys.trace("a"), "x")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        await shop.follower.follow(LONG)


@pytest.fixture(params=FLAVOURS)
def mortal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server of one's own that keeps what it was told, to be killed."""
    folder = Path(tmp_path_factory.mktemp("mortal"))
    server = RealServer(request.param, folder, options=["--appendonly", "yes", "--appendfsync", "always"]).start()
    yield server
    server.stop()


async def test_a_server_that_goes_and_comes_back(mortal: RealServer) -> None:
    """Following goes on where it was; meanwhile it says what is wrong."""
    connection = await Connection.open(mortal.url, clock=SystemClock())
    shop = await Shop(connection).open()
    following = asyncio.create_task(shop.follower.follow(LONG))
    await asyncio.sleep(0)
    mortal.kill()
    await wait_until(lambda: any(shop.problems), "the trouble was said")
    assert not following.done()
    mortal.start()
    await connection.wait_ready()
    await shop.settle()
    async with asyncio.timeout(20):
        assert await following is Ended.SETTLED
    assert len(shop.told) == 1
    assert shop.problems[-1] is None
    await connection.close()
