"""Reading topics as anybody may: in order, in small pages, changing nothing."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.stream import PAGE, Streams, order
from evfn.errors import BrokerError
from servers import RealServer


@pytest.fixture
def streams(connection: Connection, keys: Keys) -> Streams:
    return Streams(connection, keys)


async def add(connection: Connection, keys: Keys, topic: str, *ids: str) -> None:
    await connection.pipeline([("XADD", keys.topic(topic), each, "data", each) for each in ids])


async def test_several_topics_are_one_sequence(streams: Streams, connection: Connection, keys: Keys) -> None:
    """The newest of all together, each topic's own position, an absent one at its beginning."""
    await add(connection, keys, "a", "1-0", "9-0", "10-0")
    await add(connection, keys, "b", "2-0", "10-0")
    newest, last = await streams.newest(["a", "b", "c"], 3)
    assert [(each.topic, each.stream_id) for each in newest] == [("a", "9-0"), ("a", "10-0"), ("b", "10-0")]
    assert last == {"a": "10-0", "b": "10-0", "c": "0-0"}
    assert (await streams.newest(["a"], 0)) == ([], {"a": "10-0"})
    assert await streams.after({}) == []
    assert await streams.after({"a": "10-0", "c": "0-0"}) == []
    assert await connection.call("EXISTS", keys.topic("c")) == 0


async def test_a_busy_topic_does_not_run_ahead_of_the_others(
    streams: Streams, connection: Connection, keys: Keys
) -> None:
    """Page by page everything comes once, in the order of the ids."""
    await add(connection, keys, "a", *(f"{n}-0" for n in range(1, 1001)))
    await add(connection, keys, "b", "3-5", "500-5", "999-5", "2000-0")
    positions = {"a": "0-0", "b": "0-0"}
    found = []
    while page := await streams.after(positions):
        assert len(page) <= PAGE
        positions |= {each.topic: each.stream_id for each in page}
        found += page
    assert len(found) == 1004
    assert found == sorted(found, key=order)


async def test_the_next_event_is_waited_for(streams: Streams, connection: Connection, keys: Keys) -> None:
    """It comes at once when it is there; where none comes in time there is none."""
    waiting = asyncio.create_task(streams.after({"a": "0-0", "b": "0-0"}, timedelta(seconds=4)))
    async with asyncio.timeout(20):
        while b"blocked_clients:1" not in await connection.call("INFO", "clients"):  # noqa: ASYNC110 - only it knows
            await asyncio.sleep(0.002)
    await add(connection, keys, "b", "1-0")
    assert [each.topic for each in await asyncio.wait_for(waiting, 2)] == ["b"]
    assert await streams.after({"a": "0-0"}, timedelta(milliseconds=10)) == []


async def test_what_is_no_stream_is_told_apart(
    server: RealServer, streams: Streams, connection: Connection, keys: Keys
) -> None:
    """And reading it is an error, not silence."""
    await add(connection, keys, "a", "1-0")
    await connection.call("SET", keys.topic("b"), "x")
    assert await streams.are(["a", "b", "c"]) == {"a": True, "b": False}
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        await streams.after({"a": "0-0", "b": "0-0"})
    assert abs(await streams.now() - datetime.now(UTC)) < timedelta(seconds=5)
