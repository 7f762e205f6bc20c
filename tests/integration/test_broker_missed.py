"""What somebody trimmed before a group was given it is counted once, and nothing else is taken for it."""

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Group, Source
from evfn.broker.keys import Keys
from evfn.broker.missed import missed
from evfn.trigger import StartAt


async def look(connection: Connection, keys: Keys, group: Group) -> int:
    """How many more were found missed."""
    found = await missed(connection, keys, [(group.topic, group.group)])
    return sum(each.events for each in found)


async def add(connection: Connection, group: Group, count: int) -> list[bytes]:
    ids: list[bytes] = await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", n) for n in range(count)])
    return ids


async def trim(connection: Connection, group: Group, keep: int) -> None:
    await connection.call("XTRIM", group.key(Source.TOPIC), "MAXLEN", keep)


async def test_what_was_trimmed_unread_is_counted_once(connection: Connection, group: Group, keys: Keys) -> None:
    read = (await add(connection, group, 2))[-1]
    await group.fetch(Source.TOPIC, 2)
    assert await look(connection, keys, group) == 0
    ids = await add(connection, group, 10)
    await trim(connection, group, 4)
    (found,) = await missed(connection, keys, [(group.topic, group.group)])
    assert (found.events, found.after, found.oldest) == (6, read.decode(), ids[6].decode())
    assert await look(connection, keys, group) == 0
    await trim(connection, group, 1)
    assert await look(connection, keys, group) == 3
    assert len(await group.fetch(Source.TOPIC, 10)) == 1
    assert await look(connection, keys, group) == 0
    await add(connection, group, 2)
    await trim(connection, group, 0)
    assert await look(connection, keys, group) == 2
    assert (await group.status()).counters == {"dropped": 11, "delivered": 11}


async def test_what_was_read_is_not_missed(connection: Connection, group: Group, keys: Keys) -> None:
    for keep in (3, 1, 0):
        await add(connection, group, 4)
        entries = await group.fetch(Source.TOPIC, 10)
        await group.settle(Source.TOPIC, Batch(acks=[entry for entry, _ in entries]))
        await trim(connection, group, keep)
        assert await look(connection, keys, group) == 0
    await add(connection, group, 1)
    assert await look(connection, keys, group) == 0


async def test_a_group_that_never_read_misses_what_goes_after_the_first_look(
    connection: Connection, group: Group, keys: Keys
) -> None:
    await add(connection, group, 5)
    await trim(connection, group, 4)
    assert await look(connection, keys, group) == 0
    await trim(connection, group, 1)
    assert await look(connection, keys, group) == 3


async def test_a_new_group_misses_nothing_of_what_it_stands_behind(connection: Connection, keys: Keys) -> None:
    group = Group(connection, keys, "orders.new", "shop/later", "me")
    await add(connection, group, 5)
    await group.start(StartAt.NEW, patterned_late=False)
    for keep in (3, 0):
        await trim(connection, group, keep)
        assert await look(connection, keys, group) == 0


async def test_where_single_events_were_deleted_nobody_knows(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await add(connection, group, 5)
    await group.fetch(Source.TOPIC, 2)
    await connection.call("XDEL", group.key(Source.TOPIC), ids[3])
    await trim(connection, group, 1)
    assert await look(connection, keys, group) == 0


async def test_topics_that_are_none_are_left_out(connection: Connection, group: Group, keys: Keys) -> None:
    await connection.call("SET", keys.topic("text"), "x")
    pairs = [("absent", "shop/pack"), ("text", "shop/pack"), (group.topic, "shop/nobody")]
    assert not any(each.events for each in await missed(connection, keys, pairs))
