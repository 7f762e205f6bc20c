"""Reports of traced events on real servers: told with their settlement, once, and never in its way."""

import asyncio
from typing import Any

import pytest

from evfn.broker.connection import Connection
from evfn.broker.dead_letters import DeadLetter, DeadLetters, StoredError
from evfn.broker.group import Batch, Entry, Group, Source, Traced
from evfn.broker.keys import Keys
from evfn.broker.record import Origin, Record, pack
from evfn.clock import SystemClock
from evfn.errors import BrokerUnavailable
from evfn.outcome import Emit
from evfn.settlement import Reason
from proxy import FaultyProxy
from servers import RealServer

LAST_ID = "18446744073709551615-18446744073709551615"
REPORT = bytes(range(256))


def traced(trace: str = "a", report: bytes = REPORT) -> Traced:
    return Traced(trace, report)


def record(entry: bytes) -> Record:
    return Record("orders.new", entry.decode(), "i", 2, Origin.RETRY, 1, [], [b"data", b"x"])


def letter(entry: bytes) -> DeadLetter:
    error = StoredError("ValueError", "no")
    return DeadLetter("pack", "orders.new", "i", Reason.FAILED, error, 5, [], 1, 2, "me", "r", "", record(entry))


async def deliver(connection: Connection, group: Group, count: int) -> list[bytes]:
    await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", number) for number in range(count)])
    return [entry for entry, _ in await group.fetch(Source.TOPIC, count)]


async def told(connection: Connection, keys: Keys, trace: str = "a") -> list[dict[bytes, Any]]:
    entries = await connection.call("XRANGE", keys.trace(trace), "-", "+")
    return [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]


async def test_a_report_names_what_was_written_with_it(connection: Connection, group: Group, keys: Keys) -> None:
    """The stream ids of emits in their order, and of the dead letter; the report's own bytes arrive unchanged."""
    ids = await deliver(connection, group, 5)
    emits = [Emit("done", (b"a", b"1")), Emit("other", (b"a", b"2")), Emit("done", (b"a", b"3"))]
    settled = await group.settle(
        Source.TOPIC,
        Batch(
            acks=[ids[4]],
            entries=[
                Entry.ack(ids[0], emits, counters={"succeeded": 1}, traced=traced()),
                Entry.retry(ids[1], "i", 0, pack(record(ids[1])), traced=traced(report=b"retry")),
                Entry.dead(ids[2], letter(ids[2]), traced=traced("b", b"dead")),
                Entry.ack(ids[3], emits[:1], counters={"succeeded": 1}),
            ],
            counters={"succeeded": 1},
        ),
    )
    assert (settled.acked, settled.refused, settled.counter_error) == (5, [], None)
    assert (await group.status()).counters == {"succeeded": 3}
    done, other = [
        [entry for entry, _ in await connection.call("XRANGE", keys.topic(topic), "-", "+")]
        for topic in ("done", "other")
    ]
    assert await told(connection, keys) == [
        {b"report": REPORT, b"emits": b" ".join([done[0], other[0], done[1]])},
        {b"report": b"retry"},
    ]
    dead = await DeadLetters(connection, keys, group.topic, group.group).get()
    assert dead is not None
    assert await told(connection, keys, "b") == [{b"report": b"dead", b"dead": dead.id.encode()}]


async def test_a_trace_goes_away_within_the_hour(connection: Connection, group: Group, keys: Keys) -> None:
    """Nobody has to tidy up."""
    ids = await deliver(connection, group, 1)
    await group.settle(Source.TOPIC, Batch(entries=[Entry.ack(ids[0], traced=traced())]))
    assert 3_500_000 < await connection.call("PTTL", keys.trace("a")) <= 3_600_000


async def test_a_lost_reply_tells_nothing_twice(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    """The call that is said again finds its delivery settled, and so reported."""
    ids = await deliver(connection, group, 1)
    batch = Batch(entries=[Entry.ack(ids[0], [Emit("done", (b"a", b"1"))], traced=traced())])
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        ours = Group(through, keys, group.topic, group.group, group.instance)
        # The script is known before, so that the lost reply is that of the settling itself.
        await ours.settle(Source.TOPIC, Batch())
        proxy.lose_next_reply()
        with pytest.raises(BrokerUnavailable):
            await ours.settle(Source.TOPIC, batch)
        settled = await ours.settle(Source.TOPIC, Batch(entries=batch.entries, repeat=True))
        await through.close()
    assert (settled.acked, settled.missing) == (0, 1)
    assert len(await told(connection, keys)) == 1


async def test_what_is_not_settled_is_not_reported(connection: Connection, group: Group, keys: Keys) -> None:
    """Neither an entry whose emit cannot be written nor one that is no longer on the list."""
    ids = await deliver(connection, group, 2)
    await connection.call("XADD", keys.topic("full"), LAST_ID, "a", "1")
    await connection.call("XACK", group.key(Source.TOPIC), group.group, ids[1])
    settled = await group.settle(
        Source.TOPIC,
        Batch(
            entries=[
                Entry.ack(ids[0], [Emit("full", (b"a", b"1"))], traced=traced()),
                Entry.ack(ids[1], traced=traced()),
            ]
        ),
    )
    assert (len(settled.refused), settled.missing) == (1, 1)
    assert await connection.call("EXISTS", keys.trace("a")) == 0


@pytest.mark.parametrize("trouble", ["wrong type", "last id", "right"])
async def test_a_trace_that_cannot_be_written_is_no_trouble(
    server: RealServer, connection: Connection, group: Group, keys: Keys, trouble: str
) -> None:
    """The settlement is complete; what stood under the key stays, for ever if it was to."""
    ids = await deliver(connection, group, 1)
    ours = group
    if trouble == "wrong type":
        await connection.call("SET", keys.trace("a"), "something else")
    elif trouble == "last id":
        await connection.call("XADD", keys.trace("a"), LAST_ID, "a", "1")
    else:
        keys_but_traces = ("~t:orders*", "~t:done", "~t:evfn:[i{]*", "~t:evfn:topics")
        await connection.call("ACL", "SETUSER", "limited", "reset", "on", ">pw", *keys_but_traces, "+@all")
        limited = await Connection.open(f"unix://limited:pw@{server.path}", clock=SystemClock())
        ours = Group(limited, keys, group.topic, group.group, group.instance)
    before = await connection.call("DUMP", keys.trace("a"))
    entry = Entry.ack(ids[0], [Emit("done", (b"a", b"1"))], counters={"succeeded": 1}, traced=traced())
    settled = await ours.settle(Source.TOPIC, Batch(entries=[entry]))
    if ours is not group:
        await limited.close()
        await connection.call("ACL", "DELUSER", "limited")
    assert (settled.acked, settled.refused, settled.counter_error, settled.blocked) == (1, [], None, None)
    assert (await group.status()).counters == {"succeeded": 1}
    assert await connection.call("XLEN", keys.topic("done")) == 1
    assert await connection.call("DUMP", keys.trace("a")) == before
    assert await connection.call("PTTL", keys.trace("a")) in (-1, -2)


async def test_a_trace_nobody_reads_does_not_grow_for_ever(connection: Connection, group: Group, keys: Keys) -> None:
    """It keeps some hundred thousand reports at most."""
    trace = keys.trace("a")
    for _ in range(12):
        await connection.pipeline([("XADD", trace, "*", "report", "x")] * 10_000)
        await asyncio.sleep(0)
    ids = await deliver(connection, group, 4)
    await group.settle(Source.TOPIC, Batch(entries=[Entry.ack(each, traced=traced()) for each in ids]))
    assert await connection.call("XLEN", trace) < 101_000
