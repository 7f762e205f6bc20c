"""Deliveries changing hands: nothing is lost, nobody takes from the living, only deaths are charged."""

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import RELEASED, Batch, Claimed, Entry, Group, Source
from evfn.broker.instances import Beats, Instances
from evfn.broker.keys import Keys
from evfn.errors import Fenced


@pytest.fixture
def instances(connection: Connection, keys: Keys) -> Instances:
    return Instances(connection, keys)


@pytest.fixture
def other(connection: Connection, keys: Keys, group: Group) -> Group:
    """The same trigger and topic on another instance, not registered yet."""
    return Group(connection, keys, group.topic, group.group, "other")


async def deliver(connection: Connection, group: Group, count: int) -> list[bytes]:
    await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", number) for number in range(count)])
    return [entry for entry, _ in await group.fetch(Source.TOPIC, count)]


async def test_beats_and_leases(instances: Instances) -> None:
    await instances.register("me")
    await instances.register("other")
    assert await instances.all() == {"me": 0, "other": 0}
    assert await instances.beat("me") == Beats({"me": 1, "other": 0})
    assert await instances.beat("me") == Beats({"me": 2, "other": 0})
    await instances.deregister("me")
    with pytest.raises(Fenced, match="me has lost its lease"):
        await instances.beat("me")
    assert await instances.all() == {"other": 0}


async def test_a_full_server_takes_beats(connection: Connection, instances: Instances) -> None:
    await instances.register("me")
    await connection.call("CONFIG", "SET", "maxmemory", "1")
    assert await instances.beat("me") == Beats({"me": 1})


async def test_the_dead_are_fenced_as_they_are_claimed_from(
    connection: Connection, group: Group, other: Group, instances: Instances
) -> None:
    ids = await deliver(connection, group, 3)
    await instances.register("other")
    seen = (await instances.beat("me")).counters["me"]
    claimed = await other.claim(Source.TOPIC, "me", dead=True, count=2, beats_seen=seen)
    assert [Claimed(*each) for each in [(ids[0], [b"n", b"0"], 2), (ids[1], [b"n", b"1"], 2)]] == claimed
    with pytest.raises(Fenced):
        await instances.beat("me")
    assert (await group.settle(Source.TOPIC, Batch(acks=ids))).fenced
    # The rest needs no field to be looked at any more.
    rest = await other.claim(Source.TOPIC, "me", dead=False, count=10)
    assert [each.id for each in rest] == ids[2:]
    assert (await other.settle(Source.TOPIC, Batch(acks=ids))).acked == 3


async def test_the_living_keep_what_they_hold(
    connection: Connection, group: Group, other: Group, instances: Instances
) -> None:
    ids = await deliver(connection, group, 1)
    await instances.register("other")
    seen = (await instances.beat("me")).counters["me"]
    assert await other.claim(Source.TOPIC, "me", dead=False, count=10) == []
    await instances.beat("me")
    assert await other.claim(Source.TOPIC, "me", dead=True, count=10, beats_seen=seen) == []
    assert (await group.settle(Source.TOPIC, Batch(acks=ids))).acked == 1


async def test_who_has_no_lease_claims_and_releases_nothing(
    connection: Connection, group: Group, other: Group, instances: Instances
) -> None:
    ids = await deliver(connection, group, 1)
    with pytest.raises(Fenced):
        await other.claim(Source.TOPIC, "me", dead=True, count=10)
    assert "me" in await instances.all()
    await instances.deregister("me")
    with pytest.raises(Fenced):
        await group.release(Source.TOPIC, ids)
    with pytest.raises(Fenced):
        await group.restore(Source.TOPIC, ids)
    assert [each.pending for each in await group.consumers(Source.TOPIC) if each.name == "me"] == [1]


async def test_what_is_released_is_taken_uncharged(
    connection: Connection, group: Group, other: Group, instances: Instances
) -> None:
    ids = await deliver(connection, group, 3)
    await instances.register("other")
    released = await group.release(Source.TOPIC, ids[:2])
    assert (released.released, released.dropped) == (2, 0)
    assert {each.name: each.pending for each in await group.consumers(Source.TOPIC)} == {"me": 1, RELEASED: 2}
    claimed = await other.claim(Source.TOPIC, RELEASED, dead=False, count=10)
    assert claimed == [Claimed(ids[0], [b"n", b"0"], 1), Claimed(ids[1], [b"n", b"1"], 1)]
    # Only what is pending for me can be released by me.
    assert (await group.release(Source.TOPIC, ids)).released == 1


async def test_deaths_add_up(connection: Connection, group: Group, other: Group, instances: Instances) -> None:
    ids = await deliver(connection, group, 1)
    await instances.register("other")
    assert (await other.claim(Source.TOPIC, "me", dead=True, count=1))[0].delivery_count == 2
    await instances.register("me")
    assert (await group.claim(Source.TOPIC, "other", dead=True, count=1))[0].delivery_count == 3
    # Handing over does not.
    await group.release(Source.TOPIC, ids)
    assert (await group.claim(Source.TOPIC, RELEASED, dead=False, count=1))[0].delivery_count == 3


async def test_trimmed_entries_are_dropped_and_counted(
    connection: Connection, group: Group, other: Group, instances: Instances
) -> None:
    ids = await deliver(connection, group, 4)
    await instances.register("other")
    await connection.call("XDEL", group.key(Source.TOPIC), ids[1], ids[2])
    released = await group.release(Source.TOPIC, [ids[2], ids[3]])
    assert (released.released, released.dropped) == (1, 1)
    claimed = await other.claim(Source.TOPIC, "me", dead=True, count=10)
    assert [(each.id, each.fields) for each in claimed] == [(ids[0], [b"n", b"0"]), (ids[1], None)]
    status = await group.status()
    assert status.counters == {"delivered": 2, "dropped": 2}
    assert status.pending == 2
    # Settling what is off the list already counts nothing a second time.
    await other.settle(Source.TOPIC, Batch(acks=[ids[1]], counters={"delivered": 1, "dropped": 1}, repeat=True))
    assert (await group.status()).counters == {"delivered": 2, "dropped": 2}


async def test_a_retry_that_somebody_deleted_was_delivered_before(
    connection: Connection, group: Group, other: Group, instances: Instances
) -> None:
    """It counts as dropped, and not as delivered once more."""
    await connection.pipeline([("XADD", group.key(Source.INBOX), "*", "record", number) for number in range(2)])
    ids = [entry for entry, _ in await group.fetch(Source.INBOX, 2)]
    await instances.register("other")
    await connection.call("XDEL", group.key(Source.INBOX), *ids)
    assert (await group.release(Source.INBOX, [ids[0]])).dropped == 1
    assert [each.fields for each in await other.claim(Source.INBOX, "me", dead=True, count=10)] == [None]
    assert (await group.status()).counters == {"dropped": 2}


async def test_consumers_go_only_when_they_hold_nothing(
    connection: Connection, group: Group, other: Group, instances: Instances
) -> None:
    ids = await deliver(connection, group, 1)
    assert not await other.delete_consumer_if_idle(Source.TOPIC, "me")
    await instances.register("other")
    await instances.deregister("me")
    assert not await other.delete_consumer_if_idle(Source.TOPIC, "me")
    await other.claim(Source.TOPIC, "me", dead=False, count=1)
    assert await other.delete_consumer_if_idle(Source.TOPIC, "me")
    assert not await other.delete_consumer_if_idle(Source.TOPIC, "me")
    assert [each.name for each in await group.consumers(Source.TOPIC)] == ["other"]
    assert (await other.settle(Source.TOPIC, Batch(acks=ids))).acked == 1


async def test_living_consumers_are_never_deleted(group: Group, other: Group) -> None:
    await group.fetch(Source.TOPIC, 1)
    assert not await other.delete_consumer_if_idle(Source.TOPIC, "me")


async def test_pending_ids_come_in_pages_with_their_bodies(connection: Connection, group: Group) -> None:
    ids = await deliver(connection, group, 5)
    page = await group.pending(Source.TOPIC, count=3)
    rest = await group.pending(Source.TOPIC, page[-1][0], 3)
    assert [*page, *rest] == [(each, 1) for each in ids]
    await connection.call("XDEL", group.key(Source.TOPIC), ids[1])
    assert await group.bodies(Source.TOPIC, ids[:3]) == [[b"n", b"0"], None, [b"n", b"2"]]
    assert await group.pending(Source.TOPIC, count=1) == [(ids[0], 1)]


async def test_running_deliveries_survive_a_destroyed_group(
    connection: Connection, group: Group, other: Group, instances: Instances, keys: Keys
) -> None:
    ids = await deliver(connection, group, 3)
    await group.settle(Source.TOPIC, Batch(acks=ids[:1], last_delivered=ids[-1]))
    await instances.register("other")
    await connection.call("XGROUP", "DESTROY", group.key(Source.TOPIC), group.group)
    assert (await group.recreate()).position == ids[-1].decode()
    assert await group.restore(Source.TOPIC, ids[1:]) == ids[1:]
    # What another instance holds by now stays with it.
    assert await other.restore(Source.TOPIC, ids[1:]) == []
    settled = await group.settle(Source.TOPIC, Batch(entries=[Entry.ack(each) for each in ids[1:]]))
    assert settled.acked == 2
    assert await group.fetch(Source.TOPIC, 10) == []
