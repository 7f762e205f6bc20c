"""`evfn forget`, interrupted at any moment, leaves nothing that the same command does not find and delete."""

import subprocess
import sys

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import Group
from evfn.broker.keys import Keys
from evfn.broker.leftovers import FORGET, Leftovers, Remains
from evfn.trigger import StartAt
from sandbox import Sandbox
from servers import RealServer


async def begun(connection: Connection, keys: Keys, *topics: str) -> None:
    for topic in topics:
        await Group(connection, keys, topic, "shop/old", "me").start(StartAt.EARLIEST, patterned_late=False)


@pytest.mark.parametrize("finished", range(4))
async def test_f7_forgetting_that_was_cut_off_is_finished_by_the_next(
    connection: Connection, keys: Keys, finished: int
) -> None:
    """After any number of topics, before the trigger's start: what is left is found, and all of it goes."""
    await begun(connection, keys, "a", "b", "c")
    await connection.call("HSET", keys.trigger("shop/old"), "decided_at", 1)
    await connection.call("HSET", keys.replay("b", "shop/old", "r1"), "first", "1-1")
    leftovers = Leftovers(connection, keys)
    assert await leftovers.find() == [Remains("shop/old", ("a", "b", "c"), (("b", "r1"),))]
    for topic in ["a", "b", "c"][:finished]:
        pair = [getattr(keys, part)(topic, "shop/old") for part in ("inbox", "retry", "bodies", "dead", "stats")]
        await FORGET.run(connection, [keys.topic(topic), *pair, keys.replay(topic, "shop/old", "r1")], ["shop/old"])
    [left] = await leftovers.find()
    assert left.topics == tuple("abc"[finished:])
    await leftovers.forget(left)
    assert await leftovers.find() == []
    assert sorted(await connection.call("KEYS", "*")) == [b"t:a", b"t:b", b"t:c"]
    for topic in "abc":
        assert await connection.call("XINFO", "GROUPS", keys.topic(topic)) == []


async def test_keys_of_another_prefix_are_not_found(connection: Connection, keys: Keys) -> None:
    """Projects may share a server by their prefixes; what is left of one is none of the other's concern."""
    await begun(connection, Keys("t:staging:"), "a")
    await begun(connection, Keys(""), "a")
    assert await Leftovers(connection, keys).find() == []
    assert [each.topics for each in await Leftovers(connection, Keys("")).find()] == [("a",)]


async def test_i30_a_key_that_holds_something_else_is_no_trouble(connection: Connection, keys: Keys) -> None:
    """Neither a topic that became a string, nor an inbox that is a list."""
    await begun(connection, keys, "a")
    for key in (keys.topic("a"), keys.inbox("a", "shop/old")):
        await connection.call("DEL", key)
        await connection.call("RPUSH", key, "x")
    leftovers = Leftovers(connection, keys)
    [left] = await leftovers.find()
    assert (await leftovers.counted(left)).dead == 0
    await leftovers.forget(left)
    assert await connection.call("KEYS", "*") == [b"t:a"]


def test_f7_kill_9_in_the_midst_of_forgetting(sandbox: Sandbox, server: RealServer) -> None:
    """The same command, given again, finishes it; what the manifest has was never touched."""
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    sandbox.manifest("keep: {topic: t1, function: 'any:run'}")
    sandbox.function("any", "def run(event): pass\n")
    sandbox.run()
    fill = """
        for topic = 1, 3000 do
          local pair = 'evfn:{t' .. topic .. '}:sandbox/old:'
          redis.call('XGROUP', 'CREATE', 't' .. topic, 'sandbox/old', '0', 'MKSTREAM')
          redis.call('XADD', pair .. 'dead', '*', 'a', '1')
          redis.call('HSET', pair .. 'stats', 'delivered', 1)
        end"""
    server.command("EVAL", fill, 0)
    count = "return #redis.call('KEYS', '*sandbox/old*')"
    forgetting = subprocess.Popen(
        [sys.executable, "-m", "evfn_cli", "forget", "old", "--yes"],
        cwd=sandbox.folder,
        env=sandbox.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while server.command("EVAL", count, 0) == b":6000" and forgetting.poll() is None:
        pass
    forgetting.kill()
    forgetting.wait()
    assert 0 < int(server.command("EVAL", count, 0)[1:]) < 6000
    assert ", t3000" in sandbox.evfn("status").stderr or "t2999" in sandbox.evfn("status").stderr
    sandbox.evfn("forget", "old", "--yes")
    assert server.command("EVAL", count, 0) == b":0"
    groups = "return #redis.call('XINFO', 'GROUPS', KEYS[1])"
    assert server.command("EVAL", groups, 1, "t3000") == b":0"
    assert server.command("EVAL", groups, 1, "t1") == b":1"
