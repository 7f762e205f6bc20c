"""What an autoscaler is told: all that one trigger has to do, whoever counted what."""

from datetime import timedelta

import pytest

from evfn.broker.backlog import backlog
from evfn.broker.connection import Connection
from evfn.broker.group import Group, Source
from evfn.broker.keys import Keys
from evfn.errors import BrokerError
from servers import RealServer

TOPIC, GROUP = "orders.new", "shop/pack"


async def add(connection: Connection, keys: Keys, count: int, *, size: int = 1) -> None:
    for _ in range(count):
        await connection.call("XADD", keys.topic(TOPIC), "*", "data", "x" * size)


async def counted(connection: Connection, keys: Keys, *, from_beginning: bool = True) -> tuple[int, int, int, bool]:
    found = await backlog(connection, keys, TOPIC, GROUP, soon=timedelta(seconds=10), from_beginning=from_beginning)
    assert found.value == found.lag + found.pending + found.due
    return found.lag, found.pending, found.due, found.exact


async def test_all_that_is_to_do_is_counted(connection: Connection, keys: Keys, group: Group) -> None:
    """What nobody has got yet, what somebody has and has not settled, what waits in the inbox, what is due soon."""
    assert await counted(connection, keys) == (0, 0, 0, True)
    await add(connection, keys, 5)
    assert await counted(connection, keys) == (5, 0, 0, True)
    await group.fetch(Source.TOPIC, 2)
    assert await counted(connection, keys) == (3, 2, 0, True)
    await connection.call("XADD", keys.inbox(TOPIC, GROUP), "*", "record", "x")
    assert await counted(connection, keys) == (4, 2, 0, True)
    now = int((await connection.call("TIME"))[0]) * 1000
    await connection.call("ZADD", keys.retry(TOPIC, GROUP), now + 3_000, "soon", now + 60_000, "later", now - 1, "past")
    assert await counted(connection, keys) == (4, 2, 2, True)


async def test_where_the_server_has_lost_count_events_are_counted_or_bounded(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """One that waits is never told as none; many large ones are told as all that the stream holds."""
    await add(connection, keys, 10)
    entries = await group.fetch(Source.TOPIC, 4)
    await connection.call("XACK", keys.topic(TOPIC), GROUP, *[entry for entry, _ in entries])
    # A deletion ahead of the group is what makes the server forget.
    ahead = await connection.call("XRANGE", keys.topic(TOPIC), "-", "+")
    await connection.call("XDEL", keys.topic(TOPIC), ahead[-2][0])
    assert (await group.status()).lag in (None, 5, 6)
    assert await counted(connection, keys) == (5, 0, 0, True)
    await add(connection, keys, 20, size=50_000)
    await connection.call("XDEL", keys.topic(TOPIC), ahead[-3][0])
    lag, _, _, exact = await counted(connection, keys)
    assert lag >= 24
    assert exact or lag == 24


async def test_without_a_group_it_is_what_the_trigger_would_begin_with(connection: Connection, keys: Keys) -> None:
    """All, or what comes after its start."""
    assert await counted(connection, keys) == (0, 0, 0, True)
    await add(connection, keys, 3)
    assert await counted(connection, keys) == (3, 0, 0, True)
    assert await counted(connection, keys, from_beginning=False) == (0, 0, 0, True)


async def test_a_key_that_holds_something_else_is_an_error(
    connection: Connection, keys: Keys, server: RealServer
) -> None:
    """And no backlog of none."""
    server.command("SET", keys.topic(TOPIC), "x")
    with pytest.raises(BrokerError):
        await counted(connection, keys)
