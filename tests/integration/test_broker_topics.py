"""What is there: topics by pattern, what is on them, and how far a trigger is."""

from datetime import UTC, datetime, timedelta

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Entry, Group, Source
from evfn.broker.keys import Keys
from evfn.broker.topics import discover, info, is_slow
from evfn.topic import Pattern


async def found(connection: Connection, keys: Keys, *patterns: str) -> set[str]:
    return await discover(connection, keys, [Pattern.compile(each) for each in patterns])


async def test_topics_are_found_by_pattern(connection: Connection, group: Group, keys: Keys) -> None:
    for key in ("orders.a", "orders.a.b", "returns", "odd}*[name"):
        await connection.call("XADD", keys.topic(key), "*", "a", "1")
    await connection.call("XADD", "orders.without-prefix", "*", "a", "1")
    await connection.call("SET", keys.topic("orders.text"), "x")
    await connection.call("SADD", keys.topics, keys.topic("orders.listed"))
    assert await found(connection, keys, "orders.*") == {"orders.a", "orders.new", "orders.listed"}
    assert await found(connection, keys, "orders.**") == {"orders.a", "orders.new", "orders.a.b", "orders.listed"}
    assert await found(connection, keys, "orders.*.b", "returns") == {"orders.a.b", "returns"}
    assert await found(connection, keys, "returns", "orders.text", "absent") == {"returns"}
    assert await found(connection, keys) == set()


async def test_a_wild_pattern_finds_no_keys_of_evfn(connection: Connection, group: Group) -> None:
    assert await found(connection, Keys("t:"), "**") == {"orders.new"}
    # Seen without the prefix, what carries it is an ordinary name; only evfn's own beginning is kept.
    await connection.call("XADD", "evfn:mine", "*", "a", "1")
    assert "evfn:mine" not in await found(connection, Keys(""), "**")


async def test_many_keys_are_scanned_to_the_end(connection: Connection, keys: Keys) -> None:
    await connection.pipeline([("XADD", keys.topic(f"a.{number}"), "*", "n", "1") for number in range(3000)])
    assert len(await found(connection, keys, "a.*")) == 3000
    assert not await is_slow(connection)


async def test_what_is_on_topics(connection: Connection, keys: Keys) -> None:
    await connection.call("XADD", keys.topic("a"), "1795433913380-0", "n", "1")
    await connection.call("XADD", keys.topic("far"), "18446744073709551615-1", "n", "1")
    await connection.call("SET", keys.topic("text"), "x")
    facts = await info(connection, keys, ["a", "far", "text", "absent"])
    assert (facts["a"].events, facts["a"].last_at) == (1, datetime.fromtimestamp(1795433913.38, UTC))
    assert (facts["far"].events, facts["far"].last_at) == (1, None)
    assert facts["absent"].events == 0
    assert facts["absent"].problem is None
    assert "WRONGTYPE" in (facts["text"].problem or "")


async def test_how_far_a_trigger_is(connection: Connection, group: Group) -> None:
    empty = await group.status()
    assert (empty.lag, empty.pending, empty.due, empty.dead, empty.inbox, empty.oldest) == (0, 0, 0, 0, 0, None)
    seconds, _ = await connection.call("TIME")
    long_ago = (int(seconds) - 60) * 1000
    for number in range(4):
        await connection.call("XADD", group.key(Source.TOPIC), f"{long_ago + number * 10_000}-0", "n", "1")
    assert (await group.status()).lag == 4
    entries = [entry for entry, _ in await group.fetch(Source.TOPIC, 3)]
    await group.settle(Source.TOPIC, Batch(acks=entries[:1], entries=[Entry.retry(entries[1], "i1", 0, b"body")]))
    await group.promote(1)
    status = await group.status()
    assert (status.exists, status.lag, status.pending, status.inbox) == (True, 1, 1, 1)
    assert status.oldest is not None
    assert timedelta(seconds=39) < status.oldest < timedelta(seconds=50)
    await group.fetch(Source.INBOX, 1)
    status = await group.status()
    assert (status.pending, status.inbox) == (2, 0)


async def test_a_lag_that_cannot_be_known_is_not_told(connection: Connection, group: Group) -> None:
    ids = [await connection.call("XADD", group.key(Source.TOPIC), "*", "n", "1") for _ in range(5)]
    await group.fetch(Source.TOPIC, 2)
    await connection.call("XDEL", group.key(Source.TOPIC), ids[3])
    assert (await group.status()).lag in (None, 2, 3)
    await connection.call("XDEL", group.key(Source.TOPIC), ids[2], ids[4])
    assert (await group.status()).lag == 0


async def test_a_group_that_is_not_there(connection: Connection, keys: Keys) -> None:
    status = await Group(connection, keys, "absent", "shop/pack", "me").status()
    assert (status.exists, status.lag, status.pending, status.problem) == (False, None, 0, None)


@pytest.mark.parametrize("part", ["inbox", "retry", "dead", "stats"])
async def test_a_key_of_another_type_shows_and_hides_nothing_else(
    connection: Connection, group: Group, keys: Keys, part: str
) -> None:
    await connection.call("XADD", group.key(Source.TOPIC), "*", "n", "1")
    key = getattr(keys, part)(group.topic, group.group)
    await connection.call("DEL", key)
    await connection.call("SET", key, "x")
    status = await group.status()
    assert "WRONGTYPE" in (status.problem or "")
    assert status.lag == 1
