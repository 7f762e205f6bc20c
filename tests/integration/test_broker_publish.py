"""Publishing stores an event once, or nothing, whatever gets lost on the way."""

from datetime import timedelta

import pytest

from evfn.broker.connection import Connection, KeyTaken, ReplyLost
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, Published, chunks, mark, publish, publish_many
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from proxy import FaultyProxy
from servers import RealServer

LAST_ID = "18446744073709551615-18446744073709551615"


def publication(number: int = 1, topic: str = "orders", source: str = "test") -> Publication:
    return Publication(topic, source, str(number), [b"n", b"%d" % number])


async def test_an_event_is_stored_once(connection: Connection, keys: Keys) -> None:
    first = await publish(connection, keys, publication())
    again = await publish(connection, keys, publication())
    assert (first.repeated, again) == (False, Published(first.stream_id, True))
    for other in (publication(2), publication(source="else")):
        assert not (await publish(connection, keys, other)).repeated
    assert not (await publish(connection, keys, publication(topic="returns"))).repeated
    assert await connection.call("XLEN", keys.topic("orders")) == 3


async def test_created_topics_are_listed(connection: Connection, keys: Keys) -> None:
    await connection.call("XADD", keys.topic("old"), "*", "a", "1")
    await publish(connection, keys, publication(topic="old"))
    await publish(connection, keys, publication(topic="new"))
    assert await connection.call("SMEMBERS", keys.topics) == [keys.topic("new").encode()]


async def test_marks_go_as_a_whole(connection: Connection, keys: Keys) -> None:
    await publish(connection, keys, publication(), timedelta(minutes=2))
    await publish(connection, keys, publication(2), timedelta(minutes=2))
    marks = [key for key in (keys.seen("orders", 0), keys.seen("orders", 1)) if await connection.call("EXISTS", key)]
    for key in marks:
        assert 120_000 - 5_000 < await connection.call("PTTL", key) <= 240_000


async def test_a_mark_is_found_from_the_window_before(connection: Connection, keys: Keys) -> None:
    stored = await publish(connection, keys, publication())
    halves = [keys.seen("orders", 0), keys.seen("orders", 1)]
    if not await connection.call("EXISTS", halves[0]):
        halves.reverse()
    await connection.call("RENAME", halves[0], halves[1])
    assert await publish(connection, keys, publication()) == Published(stored.stream_id, True)


async def test_f29_a_lost_reply_is_repeated_safely(server: RealServer, connection: Connection, keys: Keys) -> None:
    await publish(connection, keys, publication(0))
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        await through.ping()
        proxy.lose_next_reply()
        with pytest.raises(ReplyLost):
            await publish(through, keys, publication())
        assert (await publish(through, keys, publication())).repeated
        await through.close()
    assert await connection.call("XLEN", keys.topic("orders")) == 2


async def test_a_full_server_stores_nothing(server: RealServer, connection: Connection, keys: Keys) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BrokerUnavailable, match="OOM"):
        await publish(connection, keys, publication())
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert await connection.call("DBSIZE") == 0
    assert not (await publish(connection, keys, publication())).repeated


@pytest.mark.parametrize("which", ["topic", "seen"])
async def test_a_key_of_another_type_is_named(connection: Connection, keys: Keys, which: str) -> None:
    key = keys.topic("orders") if which == "topic" else keys.seen("orders", 1)
    await connection.call("SET", key, "x")
    with pytest.raises(KeyTaken) as raised:
        await publish(connection, keys, publication())
    assert raised.value.key == key
    assert await connection.call("DBSIZE") == 1


async def test_a_stream_at_its_last_id_says_so(connection: Connection, keys: Keys) -> None:
    await connection.call("XADD", keys.topic("orders"), LAST_ID, "a", "1")
    with pytest.raises(BrokerError) as raised:
        await publish(connection, keys, publication())
    assert not isinstance(raised.value, BrokerUnavailable)
    assert "ID" in str(raised.value)


async def test_every_byte_arrives_unchanged(connection: Connection, keys: Keys) -> None:
    fields = [b"", b"", bytes(range(256)), bytes(range(256)) * 1000, b"data", b"[]"]
    await publish(connection, keys, Publication("orders", "test", "1", fields))
    assert [each[1] for each in await connection.call("XRANGE", keys.topic("orders"), "-", "+")] == [fields]


async def test_many_keep_their_order_and_their_errors(connection: Connection, keys: Keys) -> None:
    await connection.call("SET", keys.topic("taken"), "x")
    sent = [publication(number) for number in range(1200)]
    sent.insert(700, publication(topic="taken"))
    outcomes = await publish_many(connection, keys, sent)
    assert [index for index, each in enumerate(outcomes) if isinstance(each, BrokerError)] == [700]
    entries = await connection.call("XRANGE", keys.topic("orders"), "-", "+")
    assert [each[1][1] for each in entries] == [b"%d" % number for number in range(1200)]
    ids = [each.stream_id for each in outcomes if isinstance(each, Published)]
    assert ids == [each[0].decode() for each in entries]


def test_chunks_hold_what_one_call_may() -> None:
    assert [len(each) for each in chunks([publication()] * 1200)] == [500, 500, 200]
    big = Publication("orders", "test", "1", [b"data", b"x" * (3 << 20)])
    huge = Publication("orders", "test", "2", [b"data", b"x" * (9 << 20)])
    assert [len(each) for each in chunks([big, big, huge, big, publication()])] == [1, 1, 1, 2]
    assert list(chunks([])) == []


def test_marks_differ_where_source_or_id_do() -> None:
    assert mark("a", "bc") != mark("ab", "c")
    assert mark("a", "b") == mark("a", "b")
