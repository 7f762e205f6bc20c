"""Settling on real servers: everything that follows from an attempt, or nothing of it, exactly once."""

from datetime import UTC, datetime

import pytest

from deliveries import EVERY_BYTE, LAST_ID, deliver, pending, record, retry, values
from evfn.broker import limits
from evfn.broker.connection import Connection
from evfn.broker.dead_letters import DeadLetter, DeadLetters, StoredError
from evfn.broker.group import Batch, Entry, Group, Source
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.record import pack, unpack
from evfn.clock import SystemClock
from evfn.errors import BrokerUnavailable
from evfn.outcome import Emit
from evfn.settlement import Reason
from proxy import FaultyProxy
from servers import RealServer


def letter(stream_id: bytes = b"1-0", fields: list[bytes] | None = None) -> DeadLetter:
    return DeadLetter(
        trigger="pack",
        topic="orders.new",
        invocation_id=f"pack:orders.new:{stream_id.decode()}",
        reason=Reason.FAILED,
        error=StoredError("ValueError", "no", "Traceback"),
        attempts=5,
        history=[],
        first_delivered_ms=1,
        dead_ms=2,
        instance="me",
        revision="r1",
        log="line",
        record=record(stream_id, fields),
    )


async def test_plain_acks_with_their_counters(connection: Connection, group: Group) -> None:
    ids = await deliver(connection, group, 3)
    settled = await group.settle(
        Source.TOPIC, Batch(acks=ids, counters={"delivered": 3, "succeeded": 3}, last_delivered=ids[-1])
    )
    assert (settled.acked, settled.missing, settled.blocked, settled.fenced) == (3, 0, None, False)
    status = await group.status()
    assert status.pending == 0
    assert status.counters == {"delivered": 3, "succeeded": 3}


async def test_a_repeated_call_changes_nothing_twice(connection: Connection, group: Group, keys: Keys) -> None:
    plain, emitting, retrying, dying = await deliver(connection, group, 4)
    batch = Batch(
        acks=[plain],
        entries=[
            Entry.ack(emitting, [Emit("done", (b"a", b"1"))], counters={"emitted": 1}),
            retry(retrying),
            Entry.dead(dying, letter(dying), counters={"dead_lettered": 1}),
        ],
        counters={"succeeded": 1},
    )
    first = await group.settle(Source.TOPIC, batch)
    again = await group.settle(Source.TOPIC, Batch(batch.acks, batch.entries, batch.counters, repeat=True))
    assert (first.acked, first.missing) == (4, 0)
    assert (again.acked, again.missing) == (0, 4)
    status = await group.status()
    assert (status.pending, status.due, status.dead) == (0, 1, 1)
    assert status.counters == {"succeeded": 1, "emitted": 1, "retried": 1, "dead_lettered": 1}
    assert await values(connection, keys.topic("done")) == [[b"a", b"1"]]


async def test_f31_a_lost_reply_is_repeated_safely(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    ids = await deliver(connection, group, 2)
    batch = Batch(
        acks=ids[:1],
        entries=[Entry.ack(ids[1], [Emit("done", (b"a", b"1"))], counters={"succeeded": 1})],
        counters={"succeeded": 1},
    )
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        ours = Group(through, keys, group.topic, group.group, group.instance)
        # The script is known before, so that the lost reply is that of the settling itself.
        await ours.settle(Source.TOPIC, Batch())
        proxy.lose_next_reply()
        with pytest.raises(BrokerUnavailable):
            await ours.settle(Source.TOPIC, batch)
        assert proxy.cuts == 1
        settled = await ours.settle(Source.TOPIC, Batch(batch.acks, batch.entries, batch.counters, repeat=True))
        await through.close()
    assert (settled.acked, settled.missing) == (0, 2)
    assert (await group.status()).counters == {"succeeded": 2}
    assert await values(connection, keys.topic("done")) == [[b"a", b"1"]]


async def test_a_missing_ack_in_a_first_call_is_counted(connection: Connection, group: Group) -> None:
    ids = await deliver(connection, group)
    await connection.call("XACK", group.key(Source.TOPIC), group.group, ids[0])
    settled = await group.settle(Source.TOPIC, Batch(acks=ids, counters={"succeeded": 1}))
    assert (settled.acked, settled.missing) == (0, 1)
    assert (await group.status()).counters == {"missing": 1}


async def test_where_the_server_may_be_another_only_what_is_pending_here_is_settled(
    connection: Connection, group: Group, keys: Keys
) -> None:
    """The same id may be another event's by now, given to another instance."""
    ids = await deliver(connection, group, 4)
    for each in (ids[1], ids[3]):
        await connection.call("XCLAIM", group.key(Source.TOPIC), group.group, "other", 0, each)
    entries = [Entry.ack(each, [Emit("out", (b"a", b"1"))], counters={"emitted": 1}) for each in ids[2:]]
    settled = await group.settle(Source.TOPIC, Batch(acks=ids[:2], entries=entries, check=True))
    assert (settled.acked, settled.missing) == (2, 2)
    assert await values(connection, keys.topic("out")) == [[b"a", b"1"]]
    assert await pending(connection, group) == 2


async def test_a_settlement_goes_to_the_server_it_was_meant_for(connection: Connection, group: Group) -> None:
    """Where another is behind the address by now it is not sent, and the caller looks anew at what it holds."""
    ids = await deliver(connection, group, 1)
    with pytest.raises(BrokerUnavailable, match="restarted or replaced"):
        await group.settle(Source.TOPIC, Batch(acks=ids, epoch=group.epoch + 1))
    assert (await group.settle(Source.TOPIC, Batch(acks=ids, epoch=group.epoch))).acked == 1


async def test_a_fenced_instance_settles_nothing(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group, 2)
    await Instances(connection, keys).deregister("me")
    batch = Batch(acks=ids[:1], entries=[Entry.ack(ids[1], [Emit("done", (b"a", b"1"))])], counters={"succeeded": 2})
    assert (await group.settle(Source.TOPIC, batch)).fenced
    assert await pending(connection, group) == 2
    assert await connection.call("EXISTS", keys.topic("done"), keys.stats(group.topic, group.group)) == 1
    assert (await group.status()).counters == {}


async def test_a_fenced_instance_settles_nothing_while_others_live(
    connection: Connection, group: Group, keys: Keys
) -> None:
    ids = await deliver(connection, group)
    await Instances(connection, keys).register("other")
    await Instances(connection, keys).deregister("me")
    assert (await group.settle(Source.TOPIC, Batch(acks=ids))).fenced
    assert await pending(connection, group) == 1


async def test_every_byte_and_empty_values_arrive_unchanged(connection: Connection, group: Group, keys: Keys) -> None:
    sent = [b"", b"", EVERY_BYTE, EVERY_BYTE * 300, b"data", b"[]", b"big", b"9007199254740993"]
    await connection.call("XADD", group.key(Source.TOPIC), "*", *sent)
    entry, fields = (await group.fetch(Source.TOPIC, 1))[0]
    assert fields == sent
    ids = [entry, *await deliver(connection, group, 2)]
    await group.settle(
        Source.TOPIC,
        Batch(
            entries=[
                Entry.ack(ids[0], [Emit("done", tuple(sent))]),
                Entry.retry(ids[1], "invocation", 0, pack(record(fields=sent))),
                Entry.dead(ids[2], letter(fields=sent)),
            ]
        ),
    )
    assert await values(connection, keys.topic("done")) == [sent]
    assert (await group.promote(10)).moved == 1
    _, inbox = (await group.fetch(Source.INBOX, 1))[0]
    assert inbox is not None
    assert unpack(inbox[1]).fields == sent
    stored = await DeadLetters(connection, keys, group.topic, group.group).get()
    assert stored is not None
    assert stored.record is not None
    assert stored.record.fields == sent


async def test_a_retry_is_due_by_the_servers_clock(connection: Connection, group: Group, keys: Keys) -> None:
    class Ahead(SystemClock):
        """A machine whose clock is an hour and a bit fast."""

        def now(self) -> datetime:
            return datetime.fromtimestamp(super().now().timestamp() + 4000, UTC)

    ids = await deliver(connection, group)
    connection.clock = Ahead()
    due_ms = int(connection.clock.now().timestamp() * 1000) + 30_000
    await group.settle(Source.TOPIC, Batch(entries=[retry(ids[0], due_ms)]))
    promotion = await group.promote(10)
    assert promotion.moved == 0
    assert promotion.next_due_ms is not None
    assert 25_000 < promotion.next_due_ms - promotion.now_ms <= 30_000


async def test_a_retry_after_the_clock_was_set_back_hides_that_from_nobody(
    connection: Connection, group: Group, keys: Keys
) -> None:
    """What was to be due by the clock as it was goes back with it, though another retry is stored in between."""
    ids = await deliver(connection, group, 3)
    await group.settle(Source.TOPIC, Batch(entries=[retry(ids[0])]))
    waiting, stats = keys.retry(group.topic, group.group), keys.stats(group.topic, group.group)
    ahead_ms = 7_200_000
    # As if the clock had been two hours fast until now.
    await connection.call("ZINCRBY", waiting, ahead_ms, (await connection.call("ZRANGE", waiting, 0, 0))[0])
    await connection.call("HINCRBY", stats, "clock", ahead_ms)
    soon_ms = int(connection.clock.now().timestamp() * 1000) + 60_000
    await group.settle(Source.TOPIC, Batch(entries=[retry(ids[1]), retry(ids[2], soon_ms)]))
    promotion = await group.promote(10)
    assert promotion.moved == 2
    assert promotion.next_due_ms is not None
    assert 50_000 < promotion.next_due_ms - promotion.now_ms <= 60_000


@pytest.mark.parametrize("kind", ["emit", "retry", "bodies", "dead", "topics"])
async def test_a_key_of_another_type_blocks_only_those_that_need_it(
    connection: Connection, group: Group, keys: Keys, kind: str
) -> None:
    ids = await deliver(connection, group, 5)
    key = {
        "emit": keys.topic("taken"),
        "retry": keys.retry(group.topic, group.group),
        "bodies": keys.bodies(group.topic, group.group),
        "dead": keys.dead(group.topic, group.group),
        "topics": keys.topics,
    }[kind]
    await connection.call("SET", key, "something else")
    by_kind = {
        "emit": Entry.ack(ids[1], [Emit("taken", (b"a", b"1")), Emit("free", (b"a", b"1"))], counters={"emitted": 2}),
        "retry": retry(ids[2]),
        "dead": Entry.dead(ids[3], letter(ids[3]), counters={"dead_lettered": 1}),
    }
    settled = await group.settle(
        Source.TOPIC,
        Batch(
            acks=[ids[0]],
            entries=[*by_kind.values(), Entry.ack(ids[4], counters={"succeeded": 1})],
            counters={"succeeded": 1},
        ),
    )
    needy = {"emit": "emit", "topics": "emit", "retry": "retry", "bodies": "retry", "dead": "dead"}[kind]
    assert settled.blocked is None
    assert [(each.id, each.key) for each in settled.refused] == [(by_kind[needy].id, key)]
    assert settled.acked == 4
    assert await pending(connection, group) == 1
    assert await connection.call("GET", key) == b"something else"
    # Mended, it is settled as if nothing had been.
    await connection.call("DEL", key)
    settled = await group.settle(Source.TOPIC, Batch(entries=[by_kind[needy]]))
    assert (settled.acked, settled.refused) == (1, [])
    status = await group.status()
    assert (status.pending, status.due, status.dead) == (0, 1, 1)
    assert status.counters == {"succeeded": 2, "emitted": 2, "retried": 1, "dead_lettered": 1}
    assert len(await values(connection, keys.topic("taken"))) == 1


async def test_a_topic_of_another_type_blocks_everything(connection: Connection, group: Group) -> None:
    await connection.call("RENAME", group.key(Source.TOPIC), "away")
    await connection.call("SET", group.key(Source.TOPIC), "x")
    settled = await group.settle(Source.TOPIC, Batch(acks=[b"1-0"]))
    assert settled.blocked == group.key(Source.TOPIC)


async def test_counters_that_cannot_be_kept_stop_nothing(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group)
    stats = keys.stats(group.topic, group.group)
    await connection.call("DEL", stats)
    await connection.call("SET", stats, "x")
    settled = await group.settle(Source.TOPIC, Batch(acks=ids, counters={"succeeded": 1}, last_delivered=ids[0]))
    assert settled.acked == 1
    assert settled.counter_error is not None
    assert "WRONGTYPE" in settled.counter_error
    assert await pending(connection, group) == 0


async def test_a_stream_at_its_last_id_takes_the_whole_entry_back(
    connection: Connection, group: Group, keys: Keys
) -> None:
    ids = await deliver(connection, group, 2)
    await connection.call("XADD", keys.topic("full"), LAST_ID, "a", "1")
    emits = [Emit("free", (b"a", b"1")), Emit("free", (b"a", b"2")), Emit("full", (b"a", b"3"))]
    settled = await group.settle(
        Source.TOPIC,
        Batch(
            entries=[
                Entry.ack(ids[0], emits, counters={"emitted": 3}, deliveries=4),
                Entry.ack(ids[1], emits[:1], counters={"emitted": 1}),
            ]
        ),
    )
    assert [(each.id, each.key) for each in settled.refused] == [(ids[0], keys.topic("full"))]
    assert settled.acked == 1
    assert await values(connection, keys.topic("free")) == [[b"a", b"1"]]
    assert await connection.call("XLEN", keys.topic("full")) == 1
    assert (await group.status()).counters == {"emitted": 1}
    # It is pending again for the same instance, its delivery count as it was.
    assert await group.pending(Source.TOPIC) == [(ids[0], 4)]


async def test_what_was_trimmed_and_cannot_be_put_back_is_counted_as_dropped(
    connection: Connection, group: Group, keys: Keys
) -> None:
    """Somebody trimmed the event while it ran, and what it emits is refused: no list takes it any more."""
    ids = await deliver(connection, group, 2)
    await connection.call("XADD", keys.topic("full"), LAST_ID, "a", "1")
    await connection.call("XDEL", group.key(Source.TOPIC), ids[0])
    counters = {"delivered": 1, "succeeded": 1}
    entries = [Entry.ack(each, [Emit("full", (b"a", b"3"))], counters=counters) for each in ids]
    settled = await group.settle(Source.TOPIC, Batch(entries=entries))
    assert [each.id for each in settled.refused] == ids
    assert (await group.status()).counters == {"delivered": 1, "dropped": 1}
    assert await pending(connection, group) == 1


async def test_a_dead_stream_at_its_last_id_keeps_the_delivery(
    connection: Connection, group: Group, keys: Keys
) -> None:
    ids = await deliver(connection, group)
    key = keys.dead(group.topic, group.group)
    await connection.call("XADD", key, LAST_ID, "a", "1")
    settled = await group.settle(Source.TOPIC, Batch(entries=[Entry.dead(ids[0], letter())]))
    assert [each.key for each in settled.refused] == [key]
    assert await pending(connection, group) == 1


@pytest.mark.parametrize("forbidden", ["zadd", "hset"])
async def test_a_missing_right_takes_the_retry_back(
    server: RealServer, connection: Connection, group: Group, keys: Keys, forbidden: str
) -> None:
    ids = await deliver(connection, group)
    await connection.call("ACL", "SETUSER", "limited", "reset", "on", ">pw", "~*", "+@all", f"-{forbidden}")
    limited = await Connection.open(f"unix://limited:pw@{server.path}", clock=SystemClock())
    ours = Group(limited, keys, group.topic, group.group, group.instance)
    settled = await ours.settle(Source.TOPIC, Batch(entries=[retry(ids[0], deliveries=2)]))
    await limited.close()
    await connection.call("ACL", "DELUSER", "limited")
    assert len(settled.refused) == 1
    assert await group.pending(Source.TOPIC) == [(ids[0], 2)]
    assert await connection.call("EXISTS", keys.bodies(group.topic, group.group)) == 0
    assert await connection.call("EXISTS", keys.retry(group.topic, group.group)) == 0


async def test_a_full_server_still_settles(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    ids = await deliver(connection, group, 4)
    await connection.call("CONFIG", "SET", "maxmemory", "1")
    settled = await group.settle(
        Source.TOPIC,
        Batch(
            acks=[ids[0]],
            entries=[
                Entry.ack(ids[1], [Emit("done", (b"a", b"1"))]),
                retry(ids[2]),
                Entry.dead(ids[3], letter()),
            ],
            counters={"succeeded": 1},
        ),
    )
    assert (settled.acked, settled.refused, settled.counter_error) == (4, [], None)
    server.command("CONFIG", "SET", "maxmemory", "0")
    status = await group.status()
    assert (status.pending, status.due, status.dead) == (0, 1, 1)
    assert len(await values(connection, keys.topic("done"))) == 1


async def test_an_emit_that_makes_a_topic_lists_it(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group)
    await connection.call("XADD", keys.topic("old"), "*", "a", "1")
    emits = [Emit("fresh", (b"a", b"1")), Emit("old", (b"a", b"1")), Emit("fresh", (b"a", b"2"))]
    await group.settle(Source.TOPIC, Batch(entries=[Entry.ack(ids[0], emits)]))
    assert await connection.call("SMEMBERS", keys.topics) == [keys.topic("fresh").encode()]


async def test_the_inbox_is_emptied_as_it_is_settled(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group, 4)
    await group.settle(Source.TOPIC, Batch(entries=[retry(each) for each in ids]))
    assert (await group.promote(10)).moved == 4
    entries = [entry for entry, _ in await group.fetch(Source.INBOX, 10)]
    settled = await group.settle(
        Source.INBOX,
        Batch(acks=entries[:2], entries=[Entry.ack(entries[2], [Emit("done", (b"a", b"1"))]), retry(entries[3])]),
    )
    assert settled.acked == 4
    assert await connection.call("XLEN", group.key(Source.INBOX)) == 0
    assert await pending(connection, group, Source.INBOX) == 0
    assert (await group.status()).due == 1


async def test_a_refused_inbox_entry_stays(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group)
    await group.settle(Source.TOPIC, Batch(entries=[retry(ids[0])]))
    await group.promote(10)
    entry, fields = (await group.fetch(Source.INBOX, 1))[0]
    await connection.call("XADD", keys.topic("full"), LAST_ID, "a", "1")
    await group.settle(Source.INBOX, Batch(entries=[Entry.ack(entry, [Emit("full", (b"a", b"1"))])]))
    assert await group.pending(Source.INBOX) == [(entry, 1)]
    assert await group.bodies(Source.INBOX, [entry]) == [fields]


async def test_the_last_delivered_id_only_grows(connection: Connection, group: Group, keys: Keys) -> None:
    stats = keys.stats(group.topic, group.group)
    for said, kept in [
        (b"5-1", b"5-1"),
        (b"4-9", b"5-1"),
        (b"5-2", b"5-2"),
        (b"10-0", b"10-0"),
        (b"9-99", b"10-0"),
        (LAST_ID.encode(), LAST_ID.encode()),
        (b"18446744073709551615-18446744073709551614", LAST_ID.encode()),
    ]:
        await group.settle(Source.TOPIC, Batch(last_delivered=said))
        assert await connection.call("HGET", stats, "last_delivered") == kept


async def test_batches_beyond_the_limits_are_split(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group, 2600)
    many = [Emit("done", (b"a", b"1"))] * 1200
    settled = await group.settle(
        Source.TOPIC,
        Batch(
            acks=ids[:2000],
            entries=[
                *(Entry.ack(each, many[:2]) for each in ids[2000:2400]),
                Entry.ack(ids[2400], many),
                *(Entry.ack(each) for each in ids[2401:]),
            ],
            counters={"succeeded": 2600},
        ),
    )
    assert (settled.acked, settled.missing, settled.refused) == (2600, 0, [])
    assert await connection.call("XLEN", keys.topic("done")) == 800 + 1200
    assert (await group.status()).counters == {"succeeded": 2600}


async def test_f22_the_largest_attempt_is_one_call(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group)
    emits = [Emit("done", (b"specversion", b"1.0", b"data", b"x" * 100))] * limits.EMITS_ALONE
    settled = await group.settle(Source.TOPIC, Batch(entries=[Entry.ack(ids[0], emits)]))
    assert settled.acked == 1
    assert await connection.call("XLEN", keys.topic("done")) == limits.EMITS_ALONE


def test_what_is_too_large_says_so() -> None:
    small = Emit("t", (b"a", b"1"))
    assert limits.too_large([small] * limits.EMITS_ALONE) is None
    assert "10,000" in (limits.too_large([small] * 10_001) or "")
    assert "32 MiB" in (limits.too_large([Emit("t", (b"a", b"x" * (33 << 20)))]) or "")
    assert "3,000" in (limits.too_large([Emit("t", (b"a", b"1") * 3_001)]) or "")


async def test_the_widest_emit_is_stored(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group)
    fields = tuple(b"%d" % number for number in range(limits.VALUES))
    settled = await group.settle(Source.TOPIC, Batch(entries=[Entry.ack(ids[0], [Emit("done", fields)])]))
    assert settled.acked == 1
    assert await values(connection, keys.topic("done")) == [list(fields)]


async def test_an_empty_server_has_fenced_everyone(server: RealServer, connection: Connection, group: Group) -> None:
    ids = await deliver(connection, group)
    server.command("FLUSHALL")
    assert (await group.settle(Source.TOPIC, Batch(acks=ids))).fenced


async def test_a_destroyed_group_takes_no_acks(connection: Connection, group: Group, keys: Keys) -> None:
    ids = await deliver(connection, group, 2)
    await connection.call("XGROUP", "DESTROY", group.key(Source.TOPIC), group.group)
    settled = await group.settle(
        Source.TOPIC, Batch(acks=ids[:1], entries=[Entry.ack(ids[1], [Emit("done", (b"a", b"1"))])])
    )
    assert (settled.acked, settled.missing) == (0, 2)
    assert await connection.call("EXISTS", keys.topic("done")) == 0


async def test_an_emit_without_the_right_to_its_stream_blocks_only_itself(
    server: RealServer, connection: Connection, group: Group, keys: Keys
) -> None:
    ids = await deliver(connection, group, 4)
    allowed = ("~t:orders.new", "~t:evfn:*", "~t:done")
    await connection.call("ACL", "SETUSER", "limited", "reset", "on", ">pw", "+@all", *allowed)
    limited = await Connection.open(f"unix://limited:pw@{server.path}", clock=SystemClock())
    ours = Group(limited, keys, group.topic, group.group, group.instance)
    batch = Batch(
        acks=ids[:1],
        entries=[
            Entry.ack(ids[1], [Emit("secret", (b"a", b"1"))], counters={"emitted": 1}),
            Entry.ack(ids[2], [Emit("done", (b"a", b"2"))], counters={"emitted": 1}),
            retry(ids[3]),
        ],
        counters={"succeeded": 1},
    )
    settled = await ours.settle(Source.TOPIC, batch)
    await limited.close()
    await connection.call("ACL", "DELUSER", "limited")
    assert [(each.id, each.key) for each in settled.refused] == [(ids[1], keys.topic("secret"))]
    assert "NOPERM" in settled.refused[0].error
    assert settled.acked == 3
    assert await group.pending(Source.TOPIC) == [(ids[1], 1)]
    assert await values(connection, keys.topic("done")) == [[b"a", b"2"]]
    assert (await group.status()).counters == {"succeeded": 1, "emitted": 1, "retried": 1}
