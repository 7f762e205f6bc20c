"""What moves many at once, a redrive or a replay, is interrupted half-way: nothing is lost, nothing comes twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial

import redis

from evfn.broker.connection import Connection
from evfn.broker.dead_letters import DeadLetter, DeadLetters, StoredError, fields
from evfn.broker.group import Group
from evfn.broker.keys import Keys
from evfn.broker.record import Origin, Record
from evfn.broker.redriven import Followed
from evfn.settlement import Reason
from own_time import without_core
from sandbox import Sandbox, wait_until
from servers import RealServer

LETTERS = 3_000


def letter(number: int, trigger: str = "pack", topic: str = "orders.new") -> DeadLetter:
    invocation = f"{trigger}:{topic}:{number}-0"
    record = Record(topic, f"{number}-0", invocation, 1, Origin.REDRIVE, 1, [], [b"n", str(number).encode()])
    error = StoredError("ValueError", "no")
    return DeadLetter(trigger, topic, invocation, Reason.FAILED, error, 1, [], 1, 1, "i", "r", "", record)


def test_f53_a_redrive_killed_half_way_moved_each_letter_once_or_not_at_all(sandbox: Sandbox) -> None:
    """kill -9 again and again, two at a time: what is not redriven is listed, and in the end each ran once."""
    sandbox.manifest("store: {topic: readings, function: 'store:keep'}")
    sandbox.function("store", "def keep(event):\n    note(event.data['n'])\n")
    server = RealServer("valkey", sandbox.folder / "server").start()
    sandbox.environment["EVFN_REDIS_URL"] = server.url
    try:
        sandbox.run()
        dead, inbox = (f"evfn:{{readings}}:sandbox/store:{part}" for part in ("dead", "inbox"))
        with redis.Redis.from_url(server.url) as client:
            pipeline = client.pipeline(transaction=False)
            for number in range(LETTERS):
                pipeline.execute_command("XADD", dead, "*", *fields(letter(number, "store", "readings")))
            pipeline.execute()
            command = [sys.executable, "-m", "evfn_cli", "dlq", "redrive", "store", "--all", "--rate", "1000/s"]

            def fewer(before: int) -> bool:
                return int(client.xlen(dead)) < before

            for _ in range(3):
                before = int(client.xlen(dead))
                both = [
                    subprocess.Popen(command, cwd=sandbox.folder, env=sandbox.environment, stderr=subprocess.DEVNULL)
                    for _ in range(2)
                ]
                wait_until(partial(fewer, before), description="letters move")
                for process in both:
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait()
                assert int(client.xlen(dead)) + int(client.xlen(inbox)) == LETTERS
            left = int(client.xlen(dead))
            assert left > 0
        done = json.loads(sandbox.evfn("dlq", "redrive", "store", "--all", "--json").stdout)
        assert len(done["redriven"]) == left
        sandbox.run()
        assert Counter(sandbox.notes()) == Counter(str(number) for number in range(LETTERS))
    finally:
        server.stop()


async def test_a_hundred_thousand_letters_take_seconds(
    server: RealServer, connection: Connection, keys: Keys, group: Group
) -> None:
    """Five thousand a second and more; a tenth of that number shows it."""
    dead = DeadLetters(connection, keys, group.topic, group.group)
    await connection.pipeline([("XADD", dead.key, "*", *fields(letter(each))) for each in range(10_000)])
    both = (os.getpid(), server.pid)
    began, before = time.monotonic(), sum(map(without_core, both))
    moved = await dead.redrive([each.id async for each in dead.oldest_first()])
    assert len(moved.redriven) == 10_000
    assert time.monotonic() - began - (sum(map(without_core, both)) - before) < 6


async def test_whoever_waits_for_redriven_letters_sees_where_they_are(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """Waiting, failed and due again, failed and dead again, done with: told apart, wherever the look falls."""
    dead = DeadLetters(connection, keys, group.topic, group.group)
    await connection.pipeline([("XADD", dead.key, "*", *fields(letter(each))) for each in range(4)])
    ids = [each.id async for each in dead.oldest_first()]
    followed = Followed(connection, keys, group.group, dead)
    await followed.before()
    done = await dead.redrive(ids)
    names = [f"pack:orders.new:{each}-0" for each in range(4)]
    followed.add(names, done.inbox)
    await followed.look()
    assert (followed.waiting, followed.failed) == (set(names), {})
    inbox = keys.inbox(group.topic, group.group)
    await connection.call("XDEL", inbox, *done.inbox[1:])
    await connection.call("HSET", keys.bodies(group.topic, group.group), names[1], b"record")
    again = (await connection.call("XADD", dead.key, "*", *fields(letter(2)))).decode()
    await followed.look()
    assert (followed.waiting, followed.failed) == ({names[0]}, {names[1]: "", names[2]: again})
    await connection.call("XDEL", inbox, done.inbox[0])
    await followed.look()
    assert followed.waiting == set()
