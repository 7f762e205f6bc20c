"""Due retries reach the inbox once, whatever is wrong with the keys on their way."""

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Entry, Group, KeyTaken, Source
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable
from proxy import FaultyProxy
from servers import RealServer

LAST_ID = "18446744073709551615-18446744073709551615"


async def schedule(connection: Connection, group: Group, *bodies: bytes, due_ms: int = 0) -> None:
    """Put retries into the set by settling deliveries."""
    await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", "1")] * len(bodies))
    entries = await group.fetch(Source.TOPIC, len(bodies))
    await group.settle(
        Source.TOPIC,
        Batch(
            entries=[
                Entry.retry(entry, f"i{number}", due_ms, body)
                for number, ((entry, _), body) in enumerate(zip(entries, bodies, strict=True))
            ]
        ),
    )


async def test_due_retries_move_in_order_with_their_bodies(connection: Connection, group: Group) -> None:
    await schedule(connection, group, b"one", bytes(range(256)), b"")
    promotion = await group.promote(2)
    assert (promotion.moved, promotion.dropped) == (2, [])
    assert promotion.next_due_ms is not None
    assert promotion.next_due_ms <= promotion.now_ms
    promotion = await group.promote(10)
    assert (promotion.moved, promotion.next_due_ms) == (1, None)
    assert [fields for _, fields in await group.fetch(Source.INBOX, 10)] == [
        [b"record", b"one"],
        [b"record", bytes(range(256))],
        [b"record", b""],
    ]
    assert (await group.status()).due == 0


async def test_what_is_not_due_waits(connection: Connection, group: Group) -> None:
    in_a_minute = int(connection.clock.now().timestamp() * 1000) + 60_000
    await schedule(connection, group, b"one", due_ms=in_a_minute)
    promotion = await group.promote(10)
    assert promotion.moved == 0
    assert promotion.next_due_ms is not None
    assert promotion.next_due_ms > promotion.now_ms
    assert (await group.status()).due == 1


async def test_a_retry_without_its_body_is_dropped_and_counted(
    connection: Connection, group: Group, keys: Keys
) -> None:
    await schedule(connection, group, b"one", b"two")
    await connection.call("HDEL", keys.bodies(group.topic, group.group), "i0")
    promotion = await group.promote(10)
    assert (promotion.moved, promotion.dropped) == (1, ["i0"])
    status = await group.status()
    assert (status.due, status.inbox) == (0, 1)
    assert status.counters == {"dropped": 1}


@pytest.mark.parametrize("part", ["retry", "bodies", "inbox"])
async def test_a_key_of_another_type_loses_nothing(connection: Connection, group: Group, keys: Keys, part: str) -> None:
    await schedule(connection, group, b"one")
    key = getattr(keys, part)(group.topic, group.group)
    await connection.call("RENAME", key, "away")
    await connection.call("SET", key, "x")
    with pytest.raises(KeyTaken) as raised:
        await group.promote(10)
    assert raised.value.key == key
    await connection.call("RENAME", "away", key)
    assert (await group.promote(10)).moved == 1


async def test_an_inbox_at_its_last_id_keeps_the_retry(connection: Connection, group: Group, keys: Keys) -> None:
    await schedule(connection, group, b"one")
    inbox = group.key(Source.INBOX)
    await connection.call("XADD", inbox, LAST_ID, "a", "1")
    with pytest.raises(BrokerError, match="inbox"):
        await group.promote(10)
    assert (await group.status()).due == 1
    assert await connection.call("HGET", keys.bodies(group.topic, group.group), "i0") == b"one"


async def test_an_inbox_that_ends_on_the_way_keeps_the_rest_as_it_was(
    connection: Connection, group: Group, keys: Keys
) -> None:
    """One fits; those behind it wait on, each for its own time, with its body."""
    await schedule(connection, group, b"one", b"two", b"three")
    retry = keys.retry(group.topic, group.group)
    await connection.call("ZADD", retry, 1, "i0", 2, "i1", 3, "i2")
    await connection.call("XADD", group.key(Source.INBOX), LAST_ID[:-1] + "4", "a", "1")
    with pytest.raises(BrokerError, match="inbox"):
        await group.promote(10)
    assert await connection.call("ZRANGE", retry, 0, -1, "WITHSCORES") == [b"i1", b"2", b"i2", b"3"]
    bodies = keys.bodies(group.topic, group.group)
    assert await connection.call("HMGET", bodies, "i0", "i1", "i2") == [None, b"two", b"three"]
    assert [fields for _, fields in await group.fetch(Source.INBOX, 10)][1:] == [[b"record", b"one"]]


async def test_what_has_no_body_is_counted_though_the_inbox_is_refused(
    connection: Connection, group: Group, keys: Keys
) -> None:
    """It is off the set by then: whoever counts it later would not find it."""
    await schedule(connection, group, b"one", b"two")
    await connection.call("HDEL", keys.bodies(group.topic, group.group), "i0")
    await connection.call("XADD", group.key(Source.INBOX), LAST_ID, "a", "1")
    with pytest.raises(BrokerError, match="inbox"):
        await group.promote(10)
    assert (await group.status()).counters == {"dropped": 1}


async def test_a_full_server_still_promotes(server: RealServer, connection: Connection, group: Group) -> None:
    await schedule(connection, group, b"one")
    server.command("CONFIG", "SET", "maxmemory", "1")
    assert (await group.promote(10)).moved == 1


async def test_a_lost_reply_moves_nothing_twice(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    await schedule(connection, group, b"one")
    await group.promote(0)
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        ours = Group(through, keys, group.topic, group.group, group.instance)
        await through.ping()
        proxy.lose_next_reply()
        with pytest.raises(BrokerUnavailable):
            await ours.promote(10)
        assert (await ours.promote(10)).moved == 0
        await through.close()
    assert (await group.status()).inbox == 1


async def test_one_call_moves_no_more_bytes_than_one_may(connection: Connection, group: Group) -> None:
    await schedule(connection, group, *[b"x" * (3 << 20)] * 3)
    assert (await group.promote(10)).moved == 2
    assert (await group.promote(10)).moved == 1
