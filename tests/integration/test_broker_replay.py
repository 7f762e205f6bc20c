"""A replay brings each event of its range into the inbox exactly once, whatever happens on the way."""

import asyncio
import random
from datetime import timedelta

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import Group, KeyTaken, Source
from evfn.broker.keys import Keys
from evfn.broker.record import Origin, replayed, unpack
from evfn.broker.replay import INBOX_LIMIT, Moved, Progress, Replay
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from evfn.event import TRACED
from evfn.services.replayer import Conditions, Rate, Replayer, tally
from evfn.trigger import DataMode
from proxy import FaultyProxy
from servers import RealServer

LAST_ID = "18446744073709551615-18446744073709551615"


@pytest.fixture
def replay(connection: Connection, keys: Keys, group: Group) -> Replay:
    return Replay(connection, keys, group.topic, group.group)


async def publish(connection: Connection, group: Group, count: int) -> list[str]:
    """Events with the ids 1-0, 2-0, …"""
    commands = [("XADD", group.key(Source.TOPIC), f"{each}-0", "n", str(each)) for each in range(1, count + 1)]
    return [reply.decode() for reply in await connection.pipeline(commands)]


def progress(first: str = "0-1", last: str = "1000-0", total: int = 0, name: str = "r1") -> Progress:
    return Progress(name, "asked", "orders.new", first, last, "", "", total)


async def no_room() -> None:
    raise AssertionError("there is room")


def replayer(replay: Replay, rate: Rate | None = None) -> Replayer:
    return Replayer(replay, "pack", Conditions(replay.topic, DataMode.AUTO), rate, SystemClock(), no_room)


async def drive(replay: Replay, at: Progress) -> Progress:
    driver = replayer(replay)
    while not at.done:
        now = await driver.step(at)
        assert now is not None
        at = now
    return at


async def inbox(connection: Connection, group: Group) -> list[str]:
    """The stream ids of the events in it, in order."""
    entries = await connection.call("XRANGE", group.key(Source.INBOX), "-", "+")
    return [unpack(fields[1]).stream_id for _, fields in entries]


async def test_a_range_comes_as_it_was_stored(connection: Connection, replay: Replay, group: Group) -> None:
    """Both ends included, in order, each an invocation of its own that the function can tell from the first."""
    ids = await publish(connection, group, 5)
    at = progress("2-0", "4-0", 3)
    assert await replay.begin(at) == "r1"
    assert await replay.unfinished() == at
    assert (await group.status()).replay == "r1"
    end = await drive(replay, at)
    assert (end.seen, end.replayed, end.trimmed) == (3, 3, 0)
    assert await replay.unfinished() == end
    entries = await group.fetch(Source.INBOX, 10)
    records = [unpack(fields[1]) for _, fields in entries if fields is not None]
    assert [each.stream_id for each in records] == ids[1:4]
    assert [each.fields for each in records] == [[b"n", b"2"], [b"n", b"3"], [b"n", b"4"]]
    assert records[0].invocation_id == "pack:orders.new:2-0:r1"
    assert {(each.origin, each.attempt, each.first_delivered_ms) for each in records} == {(Origin.REPLAY, 1, 0)}
    assert await replay.end("r1")
    assert not await replay.end("r1")
    assert await replay.unfinished() is None
    status = await group.status()
    assert (status.replay, status.counters) == (None, {"replayed": 3})


async def test_one_begins_at_a_time(replay: Replay) -> None:
    """A second one is told the id of the first; beginning the same again changes nothing."""
    assert await replay.begin(progress(total=1)) == "r1"
    assert await replay.begin(progress(total=9)) == "r1"
    assert await replay.begin(progress(name="r2")) == "r1"
    assert await replay.unfinished() == progress(total=1)
    await replay.end("r1")
    assert await replay.begin(progress(name="r2")) == "r2"


async def test_what_was_ended_never_begins_again(connection: Connection, replay: Replay, group: Group) -> None:
    """Whoever looked at it before it was finished, and goes on with it after that, brings nothing twice."""
    await publish(connection, group, 3)
    await replay.begin(progress(total=3))
    await drive(replay, progress(total=3))
    await replay.end("r1")
    assert await replay.begin(progress(total=3)) is None
    assert await replay.unfinished() is None
    assert len(await inbox(connection, group)) == 3


async def test_one_whose_hash_was_removed_blocks_nobody(
    connection: Connection, replay: Replay, keys: Keys, group: Group
) -> None:
    await replay.begin(progress())
    await connection.call("DEL", keys.replay(group.topic, group.group, "r1"))
    assert await replay.unfinished() is None
    assert await replay.begin(progress(name="r2")) == "r2"


async def test_several_who_drive_it_bring_each_event_once(connection: Connection, replay: Replay, group: Group) -> None:
    ids = await publish(connection, group, 900)
    await replay.begin(progress(total=900))
    ends = await asyncio.gather(*(drive(replay, progress(total=900)) for _ in range(3)))
    assert await inbox(connection, group) == ids
    assert {each.replayed for each in ends} == {900}


@pytest.mark.parametrize("seed", range(6))
async def test_kills_and_lost_replies_neither_lose_nor_double(
    server: RealServer, connection: Connection, keys: Keys, group: Group, seed: int
) -> None:
    """For any range and any places of interruption (F53)."""
    draw = random.Random(seed)
    ids = await publish(connection, group, 400)
    low, high = sorted(draw.sample(range(400), 2))
    replay = Replay(connection, keys, group.topic, group.group)
    at = progress(ids[low], ids[high], high - low + 1)
    await replay.begin(at)
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        theirs = Replay(through, keys, group.topic, group.group)
        # A small piece at a time, so that there are many places; one that is killed knows only what the server kept.
        while not at.done:
            driver = replayer(theirs, Rate(draw.randint(50, 200) * 1_000_000, timedelta(hours=1)))
            for _ in range(draw.randint(1, 3)):
                if draw.random() < 0.4:
                    page = await theirs.read(at.first, at.last, at.cursor, draw.randint(1, 50))
                    records = [replayed("pack", group.topic, each.decode(), fields, "r1") for each, fields in page]
                    cursor = page[-1][0].decode() if page else at.last
                    proxy.lose_next_reply()
                    with pytest.raises(BrokerUnavailable):
                        await theirs.move(at, cursor, len(page), records)
                    # The reply that was lost may have said that the server does not know the script.
                    assert await replay.move(at, cursor, len(page), records) in (Moved.BEFORE, Moved.ADDED)
                else:
                    await driver.step(at)
                    if draw.random() < 0.5:
                        await driver.step(at)
            now = await replay.progress("r1")
            assert now is not None
            at = now
        await through.close()
    assert await inbox(connection, group) == ids[low : high + 1]
    assert at.seen == at.replayed == high - low + 1


async def test_a_full_inbox_takes_the_next_piece_when_there_is_room(
    connection: Connection, replay: Replay, group: Group
) -> None:
    """A replay keeps no more than 10,000 waiting, and a piece more."""
    await publish(connection, group, 3)
    key = group.key(Source.INBOX)
    await connection.pipeline([("XADD", key, "*", "a", "1")] * INBOX_LIMIT)
    at = progress(total=3)
    await replay.begin(at)
    assert not await replay.has_room()
    record = replayed("pack", group.topic, "1-0", [b"n", b"1"], "r1")
    assert await replay.move(at, "1-0", 1, [record]) is Moved.FULL
    assert await replay.unfinished() == at
    await connection.call("XTRIM", key, "MAXLEN", INBOX_LIMIT - 1)
    assert await replay.move(at, "1-0", 1, [record]) is Moved.ADDED


async def test_a_replay_given_up_stops_whoever_drives_it(connection: Connection, replay: Replay, group: Group) -> None:
    await publish(connection, group, 3)
    await replay.begin(progress(total=3))
    await replay.end("r1")
    assert await replayer(replay).step(progress(total=3)) is None
    assert await inbox(connection, group) == []


async def test_keys_of_other_types_are_named_and_nothing_moves(
    connection: Connection, replay: Replay, keys: Keys, group: Group
) -> None:
    await publish(connection, group, 3)
    at = progress(total=3)
    stats, hash_key = keys.stats(group.topic, group.group), keys.replay(group.topic, group.group, "r1")
    for key in (stats, hash_key):
        await connection.call("DEL", key)
        await connection.call("SET", key, "x")
        with pytest.raises(KeyTaken) as raised:
            await replay.begin(at)
        assert raised.value.key == key
        await connection.call("DEL", key)
    await replay.begin(at)
    await connection.call("DEL", group.key(Source.INBOX))
    await connection.call("SET", group.key(Source.INBOX), "x")
    with pytest.raises(KeyTaken) as raised:
        await replayer(replay).step(at)
    assert raised.value.key == group.key(Source.INBOX)
    assert await replay.progress("r1") == at


async def test_an_inbox_that_takes_nothing_leaves_the_cursor(
    connection: Connection, replay: Replay, group: Group
) -> None:
    """Also when only the second of a piece does not go in: the piece comes whole, or not."""
    await publish(connection, group, 3)
    at = progress(total=3)
    await replay.begin(at)
    before_last = LAST_ID.removesuffix("5") + "4"
    await connection.call("XADD", group.key(Source.INBOX), before_last, "a", "1")
    with pytest.raises(BrokerError, match="inbox"):
        await replayer(replay).step(at)
    assert await replay.progress("r1") == at
    assert await connection.call("XLEN", group.key(Source.INBOX)) == 1


async def test_a_full_server_refuses_a_piece_whole(
    server: RealServer, connection: Connection, replay: Replay, group: Group
) -> None:
    ids = await publish(connection, group, 3)
    at = progress(total=3)
    await replay.begin(at)
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BrokerUnavailable, match="OOM"):
        await replayer(replay).step(at)
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert await replay.progress("r1") == at
    await drive(replay, at)
    assert await inbox(connection, group) == ids


async def test_what_is_trimmed_before_it_came_is_counted(connection: Connection, replay: Replay, group: Group) -> None:
    await publish(connection, group, 200)
    at = progress(total=200)
    await replay.begin(at)
    driver = replayer(replay)
    now = await driver.step(at)
    assert now is not None
    await connection.call("XTRIM", group.key(Source.TOPIC), "MAXLEN", 40)
    end = await drive(replay, now)
    assert (end.seen, end.trimmed) == (140, 60)
    kept = await replay.kept()
    assert kept is not None
    assert (kept.oldest, kept.newest, kept.removed) == ("161-0", "200-0", 160)


async def test_a_rate_is_kept(connection: Connection, replay: Replay, group: Group) -> None:
    await publish(connection, group, 30)
    at: Progress | None = progress(total=30)
    assert at is not None
    await replay.begin(at)
    clock = SystemClock()
    began = clock.monotonic()
    driver = replayer(replay, Rate(100, timedelta(seconds=1)))
    while at is not None and not at.done:
        at = await driver.step(at)
    assert clock.monotonic() - began >= 0.3


async def test_an_event_that_was_followed_then_is_not_now(connection: Connection, replay: Replay, group: Group) -> None:
    """Whoever waited for it must not be told again."""
    await connection.call("XADD", group.key(Source.TOPIC), "1-0", TRACED.decode(), "ab12", "n", "1")
    await replay.begin(progress(total=1))
    await drive(replay, progress(total=1))
    ((_, fields),) = await group.fetch(Source.INBOX, 10)
    assert fields is not None
    assert unpack(fields[1]).fields == [b"n", b"1"]


async def test_counting_reads_the_range_alone(connection: Connection, replay: Replay, group: Group) -> None:
    await publish(connection, group, 1500)
    counted = await tally(replay, "3-0", "1400-0", Conditions(group.topic, DataMode.AUTO))
    assert (counted.events, counted.matching, counted.errors) == (1398, 1398, 0)
