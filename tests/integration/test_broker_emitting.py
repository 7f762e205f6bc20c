"""Single emits of one form, settled together: as if each stood alone, exactly once."""

from dataclasses import replace

import pytest

from deliveries import EVERY_BYTE, LAST_ID, deliver, pending, retry, values
from evfn.broker import limits
from evfn.broker.batch import parts
from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Emitting, Entry, Group, Source
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.errors import BrokerUnavailable
from evfn.outcome import Emit, EmitForm, Naming
from proxy import FaultyProxy
from servers import RealServer

COUNTED = {"delivered": 1, "succeeded": 1, "emitted": 1}


def emitting(topic: str, *pairs: tuple[bytes, bytes], counters: dict[str, int] | None = None) -> Emitting:
    """Each of these ids is done with one emit, whose `n` is its own, and so is an empty value."""
    form = EmitForm(topic, (b"kind", EVERY_BYTE, b"n", None, b"", b"", b"more", None))
    ids, numbers = zip(*pairs, strict=True)
    return Emitting(form, COUNTED if counters is None else counters, ids, (numbers, [b""] * len(ids)))


def emitted(*numbers: bytes) -> list[list[bytes]]:
    return [[b"kind", EVERY_BYTE, b"n", number, b"", b"", b"more", b""] for number in numbers]


def numbered(ids: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(each, b"%d" % number) for number, each in enumerate(ids)]


async def test_emits_of_one_form_are_as_if_each_stood_alone(connection: Connection, group: Group, keys: Keys) -> None:
    """Every byte, two forms for one topic, another topic, beside acks and entries: in order, counted, topics listed."""
    ids = await deliver(connection, group, 10)
    pairs = numbered(ids)
    batch = Batch(
        acks=ids[:1],
        entries=[retry(ids[1]), Entry.ack(ids[2], [Emit("fresh", (b"a", b"1"))], counters=COUNTED)],
        counters={"delivered": 1, "succeeded": 1},
        emitting=[
            emitting("fresh", *pairs[3:6]),
            emitting("fresh", (ids[6], EVERY_BYTE), counters={**COUNTED, "extra": 2}),
            emitting("other", *pairs[7:]),
        ],
        last_delivered=ids[-1],
    )
    assert sorted(batch.ids) == ids
    settled = await group.settle(Source.TOPIC, batch)
    assert (settled.acked, settled.missing, settled.refused, settled.blocked) == (10, 0, [], None)
    assert await values(connection, keys.topic("fresh")) == [*emitted(b"3", b"4", b"5", EVERY_BYTE), [b"a", b"1"]]
    assert await values(connection, keys.topic("other")) == emitted(b"7", b"8", b"9")
    topics = await connection.call("SMEMBERS", keys.topics)
    assert sorted(topics) == [keys.topic("fresh").encode(), keys.topic("other").encode()]
    status = await group.status()
    assert (status.pending, status.due) == (0, 1)
    assert status.counters == {"delivered": 9, "succeeded": 9, "emitted": 8, "extra": 2, "retried": 1}
    # Said again, nothing of it is done twice.
    again = await group.settle(Source.TOPIC, replace(batch, repeat=True))
    assert (again.acked, again.missing, again.refused) == (0, 10, [])
    assert (await group.status()).counters == status.counters
    assert len(await values(connection, keys.topic("fresh"))) == 5


async def test_many_and_large_emits_of_one_form_go_in_several_calls(
    connection: Connection, group: Group, keys: Keys
) -> None:
    """More than one call may carry, by number and by size: all of them, in order, once."""
    ids = await deliver(connection, group, 620)
    own = [b"%d" % number + b"x" * (2_500_000 if number in (3, 4, 615) else 0) for number in range(620)]
    batch = Batch(emitting=[emitting("done", *zip(ids, own, strict=True))])
    calls = [part for batch in parts(batch) for part in batch.emitting]
    assert all(len(part.ids) <= limits.EMITS for part in calls)
    sizes = [sum(len(value) for values in part.own for value in values) for part in calls]
    assert len(sizes) == 3
    assert max(sizes) <= limits.BYTES
    few = emitting("done", *[(each, b"x" * 2_500_000) for each in ids[:3]])
    assert [list(part.ids) for part in few.within(limits.EMITS, limits.BYTES)] == [[each] for each in ids[:3]]
    settled = await group.settle(Source.TOPIC, batch)
    assert (settled.acked, settled.missing) == (620, 0)
    assert await values(connection, keys.topic("done")) == emitted(*own)
    assert (await group.status()).counters == dict.fromkeys(COUNTED, 620)


async def test_f31_a_lost_reply_repeats_no_emit_of_a_form(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    """The call was carried out, whether all of it or its first part, and is said again."""
    ids = await deliver(connection, group, 600)
    batch = Batch(emitting=[emitting("done", *numbered(ids))])
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        ours = Group(through, keys, group.topic, group.group, group.instance)
        await ours.settle(Source.TOPIC, Batch())
        proxy.lose_next_reply()
        with pytest.raises(BrokerUnavailable):
            await ours.settle(Source.TOPIC, batch)
        assert await pending(connection, group) == 100
        settled = await ours.settle(Source.TOPIC, replace(batch, repeat=True))
        await through.close()
    assert (settled.acked, settled.missing) == (100, 500)
    assert await values(connection, keys.topic("done")) == emitted(*(b"%d" % number for number in range(600)))
    assert (await group.status()).counters == dict.fromkeys(COUNTED, 600)


async def test_emits_of_what_is_not_pending_here_are_left_out(connection: Connection, group: Group, keys: Keys) -> None:
    """Acked by somebody, or, where the server may be another, given to another instance: the rest goes on."""
    ids = await deliver(connection, group, 6)
    await connection.call("XACK", group.key(Source.TOPIC), group.group, ids[1])
    await connection.call("XCLAIM", group.key(Source.TOPIC), group.group, "other", 0, ids[4])
    pairs = numbered(ids)
    first = await group.settle(Source.TOPIC, Batch(emitting=[emitting("done", *pairs[:3])]))
    second = await group.settle(Source.TOPIC, Batch(emitting=[emitting("done", *pairs[3:])], check=True))
    assert [(each.acked, each.missing) for each in (first, second)] == [(2, 1), (2, 1)]
    assert await values(connection, keys.topic("done")) == emitted(b"0", b"2", b"3", b"5")
    assert (await group.status()).counters == {**dict.fromkeys(COUNTED, 4), "missing": 2}
    assert await pending(connection, group) == 1


async def test_an_emits_id_is_made_of_its_events(connection: Connection, group: Group, keys: Keys) -> None:
    """Where a form says so; settled together, or, where its stream was not to be written, one by one."""
    ids = await deliver(connection, group, 4)
    form = EmitForm("named", (b"id", b"", b"n", None), Naming(1, b"w:t:", EVERY_BYTE))
    emits = Emitting(form, COUNTED, ids, [[b"0", b"1", b"2", b"3"]])
    assert (await group.settle(Source.TOPIC, Batch(emitting=[emits]))).acked == 4
    expected = [[b"id", b"w:t:" + each + EVERY_BYTE, b"n", b"%d" % number] for number, each in enumerate(ids)]
    assert await values(connection, keys.topic("named")) == expected
    assert [list(entry.emits[0].fields) for entry in emits.entries] == expected


@pytest.mark.parametrize("again", [False, True])
async def test_each_emit_follows_its_own_ack_whatever_else_is_pending(
    connection: Connection, group: Group, keys: Keys, *, again: bool
) -> None:
    """They are acked together where that is certain. Between them are others of ours, of other instances and acked
    ones, and they come in any order, and twice."""
    ids = await deliver(connection, group, 60)
    stream = group.key(Source.TOPIC)
    await connection.call("XACK", stream, group.group, ids[11], ids[40])
    await connection.call("XCLAIM", stream, group.group, "other", 0, ids[5], ids[20], ids[21])
    rows = [range(10), range(10, 30), [33, 31, 32, 32], range(35, 60, 2), [34]]
    emits = [emitting("done", *[(ids[number], b"%d" % number) for number in row]) for row in rows]
    if again:
        await group.settle(Source.TOPIC, Batch(emitting=emits))
    settled = await group.settle(Source.TOPIC, Batch(emitting=emits, repeat=again))
    expected = [*range(11), *range(12, 30), 33, 31, 32, *range(35, 60, 2), 34]
    assert (settled.acked, settled.missing) == ((0, len(expected) + 2) if again else (len(expected), 2))
    assert await values(connection, keys.topic("done")) == emitted(*(b"%d" % number for number in expected))
    left = [each for number, each in enumerate(ids) if number not in {*expected, 11, 40}]
    assert await group.pending(Source.TOPIC) == [(each, 1) for each in left]
    assert (await group.status()).counters == {**dict.fromkeys(COUNTED, len(expected)), "missing": 2}


async def test_a_fenced_instance_emits_nothing_by_form(connection: Connection, group: Group, keys: Keys) -> None:
    """Not one of them."""
    ids = await deliver(connection, group, 2)
    await Instances(connection, keys).deregister("me")
    assert (await group.settle(Source.TOPIC, Batch(emitting=[emitting("done", *numbered(ids))]))).fenced
    assert await pending(connection, group) == 2
    assert await connection.call("EXISTS", keys.topic("done")) == 0


@pytest.mark.parametrize("key", ["taken", "topics"])
async def test_a_key_of_another_type_holds_only_the_emits_that_need_it(
    connection: Connection, group: Group, keys: Keys, key: str
) -> None:
    """And mended, they are settled as if nothing had been."""
    ids = await deliver(connection, group, 6)
    pairs = numbered(ids)
    name = keys.topic("taken") if key == "taken" else keys.topics
    await connection.call("SET", name, "something else")
    batch = Batch(acks=ids[:1], emitting=[emitting("taken", *pairs[1:3]), emitting("free", *pairs[3:])])
    settled = await group.settle(Source.TOPIC, batch)
    held = ids[1:3] if key == "taken" else ids[1:]
    assert settled.blocked is None
    assert [(each.id, each.key) for each in settled.refused] == [(each, name) for each in held]
    assert (settled.acked, settled.missing) == (6 - len(held), 0)
    assert await group.pending(Source.TOPIC) == [(each, 1) for each in held]
    await connection.call("DEL", name)
    again = replace(batch, acks=[], emitting=batch.emitting[: 1 if key == "taken" else 2])
    assert (await group.settle(Source.TOPIC, again)).acked == len(held)
    assert await values(connection, keys.topic("taken")) == emitted(b"1", b"2")
    assert await values(connection, keys.topic("free")) == emitted(b"3", b"4", b"5")
    assert (await group.status()).counters == dict.fromkeys(COUNTED, 5)


async def test_a_topic_this_user_may_not_write_holds_only_its_own_emits(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    """The script is refused as a whole for one of its keys; what needs others goes on."""
    ids = await deliver(connection, group, 5)
    pairs = numbered(ids)
    allowed = [f"~{pattern}" for pattern in ("evfn:*", "t:evfn:*", f"{keys.topic('orders.new')}", keys.topic("free"))]
    await connection.call("ACL", "SETUSER", "limited", "reset", "on", ">pw", *allowed, "+@all")
    limited = await Connection.open(f"unix://limited:pw@{server.path}", clock=SystemClock())
    ours = Group(limited, keys, group.topic, group.group, group.instance)
    settled = await ours.settle(
        Source.TOPIC,
        Batch(acks=ids[:1], emitting=[emitting("secret", *pairs[1:3]), emitting("free", *pairs[3:])]),
    )
    await limited.close()
    await connection.call("ACL", "DELUSER", "limited")
    assert [(each.id, each.key) for each in settled.refused] == [(each, keys.topic("secret")) for each in ids[1:3]]
    assert settled.acked == 3
    assert await values(connection, keys.topic("free")) == emitted(b"3", b"4")
    assert await group.pending(Source.TOPIC) == [(each, 1) for each in ids[1:3]]


async def test_a_stream_that_takes_only_some_gives_the_others_back(
    connection: Connection, group: Group, keys: Keys
) -> None:
    """At its last ids in the middle of a call: what it took is done, the rest pending, and what was trimmed dropped."""
    ids = await deliver(connection, group, 4)
    await connection.call("XADD", keys.topic("full"), LAST_ID[:-1] + "3", "a", "1")
    await connection.call("XDEL", group.key(Source.TOPIC), ids[3])
    settled = await group.settle(Source.TOPIC, Batch(emitting=[emitting("full", *numbered(ids))]))
    assert [(each.id, each.key) for each in settled.refused] == [(each, keys.topic("full")) for each in ids[2:]]
    assert (settled.acked, settled.missing) == (2, 0)
    assert (await values(connection, keys.topic("full")))[1:] == emitted(b"0", b"1")
    assert await group.pending(Source.TOPIC) == [(ids[2], 1)]
    assert (await group.status()).counters == {"delivered": 3, "succeeded": 2, "emitted": 2, "dropped": 1}


async def test_a_full_server_still_takes_emits_by_form(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    """The first write of the script is one that frees memory."""
    ids = await deliver(connection, group, 3)
    await connection.call("CONFIG", "SET", "maxmemory", "1")
    settled = await group.settle(Source.TOPIC, Batch(emitting=[emitting("done", *numbered(ids))]))
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert (settled.acked, settled.refused) == (3, [])
    assert await values(connection, keys.topic("done")) == emitted(b"0", b"1", b"2")
