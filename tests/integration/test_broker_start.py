"""Where groups begin, when a start may still change, and where a vanished group goes on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Group, GroupGone, KeyTaken, Source
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.start import Action, Beginning, End, Started, Starter
from evfn.errors import BrokerError
from evfn.trigger import Start, StartAt
from servers import RealServer

GROUP = "shop/pack"


@pytest.fixture
def fresh(connection: Connection, keys: Keys) -> Group:
    """A trigger's place on a topic that was never started."""
    return Group(connection, keys, "orders.new", GROUP, "me")


async def add(connection: Connection, keys: Keys, *ids: str, topic: str = "orders.new") -> None:
    for each in ids:
        await connection.call("XADD", keys.topic(topic), each, "n", each)


async def fetched(group: Group) -> list[str]:
    return [entry.decode() for entry, _ in await group.fetch(Source.TOPIC, 100)]


@pytest.mark.parametrize(
    ("start", "expected", "skipped"),
    [
        (StartAt.NEW, ["9-0"], 3),
        (StartAt.EARLIEST, ["1-0", "2-0", "2-1", "9-0"], 0),
        ("2-1", ["2-1", "9-0"], None),
        ("2", ["2-0", "2-1", "9-0"], None),
        (datetime.fromtimestamp(0.002, UTC), ["2-0", "2-1", "9-0"], None),
        ("5-0", ["9-0"], None),
    ],
)
async def test_a_group_begins_at_its_start(
    connection: Connection, keys: Keys, fresh: Group, start: Start, expected: list[str], skipped: int | None
) -> None:
    await add(connection, keys, "1-0", "2-0", "2-1")
    started = await fresh.start(start, patterned_late=False)
    assert (started.action, started.skipped) == (Action.CREATED, skipped)
    await add(connection, keys, "9-0")
    assert await fetched(fresh) == expected
    assert await fresh.fetch(Source.INBOX, 1) == []


async def test_an_absent_topic_is_waited_for(connection: Connection, keys: Keys, fresh: Group) -> None:
    started = await fresh.start(StartAt.NEW, patterned_late=False)
    assert (started.position, started.skipped) == ("0-0", 0)
    await add(connection, keys, "1-0")
    assert await fetched(fresh) == ["1-0"]


async def test_starting_again_changes_nothing(connection: Connection, keys: Keys, fresh: Group) -> None:
    await fresh.start(StartAt.NEW, patterned_late=False)
    await add(connection, keys, "1-0")
    assert (await fresh.start(StartAt.NEW, patterned_late=False)).action is Action.KEPT
    assert await fetched(fresh) == ["1-0"]


async def test_until_the_first_delivery_a_changed_start_moves_the_group(
    connection: Connection, keys: Keys, fresh: Group
) -> None:
    await add(connection, keys, "1-0", "2-0")
    await fresh.start(StartAt.NEW, patterned_late=False)
    assert (await fresh.start(StartAt.EARLIEST, patterned_late=False)).action is Action.MOVED
    moved = await fresh.start(StartAt.NEW, patterned_late=False)
    assert (moved.action, moved.skipped) == (Action.MOVED, 2)
    assert (await fresh.start("2-0", patterned_late=False)).action is Action.MOVED
    assert await fetched(fresh) == ["2-0"]
    for start in (StartAt.EARLIEST, StartAt.NEW):
        assert (await fresh.start(start, patterned_late=False)).action is Action.INEFFECTIVE
    assert (await fresh.start("2-0", patterned_late=False)).action is Action.KEPT


async def test_a_delivery_is_remembered_after_its_ack(connection: Connection, keys: Keys, fresh: Group) -> None:
    await Instances(connection, keys).register("me")
    await add(connection, keys, "1-0")
    await fresh.start(StartAt.EARLIEST, patterned_late=False)
    await fresh.settle(Source.TOPIC, Batch(acks=[(await fresh.fetch(Source.TOPIC, 1))[0][0]]))
    assert (await fresh.start(StartAt.NEW, patterned_late=False)).action is Action.INEFFECTIVE


async def test_a_stream_found_later_starts_at_its_beginning(connection: Connection, keys: Keys) -> None:
    starter = Starter(connection, keys)
    await add(connection, keys, "1-0", topic="orders.a")
    first = await starter.start(GROUP, ["orders.*"], ["orders.a"], StartAt.NEW)
    assert [each.action for each in first if isinstance(each, Started)] == [Action.CREATED]
    await add(connection, keys, "1-0", "2-0", topic="orders.b")
    late = await starter.start(GROUP, ["orders.*"], ["orders.b"], StartAt.NEW)
    assert late == [Started("orders.b", Action.CREATED, "0-0", 0)]
    assert await fetched(Group(connection, keys, "orders.b", GROUP, "me")) == ["1-0", "2-0"]
    assert await fetched(Group(connection, keys, "orders.a", GROUP, "me")) == []


async def test_a_discovery_that_finds_nothing_decides_too(connection: Connection, keys: Keys) -> None:
    starter = Starter(connection, keys)
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert await starter.decision(GROUP) is None
    assert await starter.start(GROUP, ["orders.*"], [], StartAt.NEW) == []
    decision = await starter.decision(GROUP)
    assert decision is not None
    assert decision.at > before
    assert (decision.start, decision.patterns) == ("new", ("orders.*",))
    await add(connection, keys, "1-0", topic="orders.a")
    await starter.start(GROUP, ["orders.*"], ["orders.a"], StartAt.NEW)
    assert await fetched(Group(connection, keys, "orders.a", GROUP, "me")) == ["1-0"]


async def test_a_topic_added_to_the_trigger_is_decided_anew(connection: Connection, keys: Keys) -> None:
    starter = Starter(connection, keys)
    await starter.start(GROUP, ["orders.a"], ["orders.a"], StartAt.NEW)
    await add(connection, keys, "1-0", topic="old")
    added = await starter.start(GROUP, ["orders.a", "old"], ["old"], StartAt.NEW)
    assert added == [Started("old", Action.CREATED, "1-0", 1)]
    decision = await starter.decision(GROUP)
    assert decision is not None
    assert decision.patterns == ("orders.a", "old")


async def test_one_taken_key_does_not_stop_the_others(connection: Connection, keys: Keys) -> None:
    await connection.call("SET", keys.topic("orders.a"), "x")
    outcomes = await Starter(connection, keys).start(GROUP, ["orders.*"], ["orders.a", "orders.b"], StartAt.NEW)
    assert isinstance(outcomes[0], KeyTaken)
    assert outcomes[0].key == keys.topic("orders.a")
    assert isinstance(outcomes[1], Started)


async def test_a_vanished_group_goes_on_where_it_was(connection: Connection, keys: Keys, fresh: Group) -> None:
    await Instances(connection, keys).register("me")
    await add(connection, keys, "1-0", "2-0", "3-0")
    await fresh.start(StartAt.EARLIEST, patterned_late=False)
    entries = await fresh.fetch(Source.TOPIC, 2)
    await fresh.settle(Source.TOPIC, Batch(acks=[entry for entry, _ in entries], last_delivered=entries[-1][0]))
    await connection.call("XGROUP", "DESTROY", keys.topic("orders.new"), GROUP)
    with pytest.raises(GroupGone):
        await fresh.fetch(Source.TOPIC, 1)
    assert (await fresh.recreate()).position == "2-0"
    assert (await fresh.status()).counters == {}, "when it was made again is no counter"
    assert await fetched(fresh) == ["3-0"]


async def test_a_starting_instance_heals_a_vanished_group(connection: Connection, keys: Keys, fresh: Group) -> None:
    await add(connection, keys, "1-0")
    await fresh.start(StartAt.NEW, patterned_late=False)
    await connection.call("XGROUP", "DESTROY", keys.topic("orders.new"), GROUP)
    await add(connection, keys, "2-0")
    started = await fresh.start(StartAt.NEW, patterned_late=False)
    assert (started.action, started.position) == (Action.RECREATED, "1-0")
    assert await fetched(fresh) == ["2-0"]


async def test_what_this_instance_knows_counts_too(connection: Connection, keys: Keys, fresh: Group) -> None:
    await add(connection, keys, "1-0", "2-0", "3-0")
    await fresh.start(StartAt.EARLIEST, patterned_late=False)
    await connection.call("XGROUP", "DESTROY", keys.topic("orders.new"), GROUP)
    assert (await fresh.recreate("2-0")).position == "2-0"


async def test_an_emptied_server_is_read_from_its_beginning(
    server: RealServer, connection: Connection, keys: Keys, fresh: Group
) -> None:
    await add(connection, keys, "5-0")
    await fresh.start(StartAt.NEW, patterned_late=False)
    server.command("FLUSHALL")
    await add(connection, keys, "2-0")
    with pytest.raises(GroupGone):
        await fresh.fetch(Source.TOPIC, 1)
    assert (await fresh.recreate("5-0")).position == "0-0"
    assert await fetched(fresh) == ["2-0"]
    # Another instance that finds it missing a moment later leaves it as it is.
    assert (await fresh.recreate("5-0")).position == "2-0"


async def test_a_deleted_topic_is_read_from_its_beginning(connection: Connection, keys: Keys, fresh: Group) -> None:
    await add(connection, keys, "5-0")
    await fresh.start(StartAt.NEW, patterned_late=False)
    await connection.call("DEL", keys.topic("orders.new"))
    await add(connection, keys, "2-0")
    await fresh.recreate()
    assert await fetched(fresh) == ["2-0"]


async def test_a_stream_at_its_last_id_can_be_started_on(connection: Connection, keys: Keys, fresh: Group) -> None:
    last = "18446744073709551615-18446744073709551615"
    await add(connection, keys, last)
    assert (await fresh.start(StartAt.NEW, patterned_late=False)).position == last
    await connection.call("XGROUP", "DESTROY", keys.topic("orders.new"), GROUP)
    assert (await fresh.recreate()).position == last


async def test_a_topic_of_another_type_is_named(connection: Connection, keys: Keys, fresh: Group) -> None:
    await connection.call("SET", keys.topic("orders.new"), "x")
    for call in (fresh.start(StartAt.NEW, patterned_late=False), fresh.recreate(), fresh.fetch(Source.TOPIC, 1)):
        with pytest.raises(KeyTaken) as raised:
            await call
        assert raised.value.key == keys.topic("orders.new")
    assert await connection.call("EXISTS", fresh.key(Source.INBOX)) == 0


async def test_a_full_server_makes_no_group(server: RealServer, fresh: Group) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BrokerError, match="OOM"):
        await fresh.start(StartAt.NEW, patterned_late=False)


async def test_many_triggers_are_started_in_a_few_round_trips(
    connection: Connection, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand triggers do not ask the server a thousand times."""
    asked: list[int] = []
    exchange = Connection._exchange

    async def counted(self: Connection, packed: bytes, replies: int, epoch: int | None = None) -> list[Any]:
        asked.append(replies)
        return await exchange(self, packed, replies, epoch)

    monkeypatch.setattr(Connection, "_exchange", counted)
    beginnings = [Beginning(f"shop/t{n}", [f"orders.{n}"], [f"orders.{n}"], StartAt.NEW) for n in range(150)]
    first = await Starter(connection, keys).start_all(beginnings)
    # The script itself, where the server does not know it yet, is one more for each that asked for it meanwhile.
    asked.clear()
    again = await Starter(connection, keys).start_all(beginnings)
    assert len(asked) == 2
    assert [[each.action for each in started if isinstance(each, Started)] for started in (*first, *again)] == [
        *[[Action.CREATED]] * 150,
        *[[Action.KEPT]] * 150,
    ]


async def test_a_start_tells_what_may_be_fetched(connection: Connection, keys: Keys, fresh: Group) -> None:
    """Nobody need ask a thousand idle groups whether they hold something."""
    await add(connection, keys, "1-0")
    created = await fresh.start(StartAt.NEW, patterned_late=False)
    assert created.ends == {Source.TOPIC: End(b"1-0", False), Source.INBOX: End(b"", False)}
    await add(connection, keys, "2-0")
    await connection.call("XADD", fresh.key(Source.INBOX), "3-0", "n", "3")
    kept = await fresh.start(StartAt.NEW, patterned_late=False)
    assert kept.ends == {Source.TOPIC: End(b"2-0", True), Source.INBOX: End(b"3-0", True)}
    await fresh.fetch(Source.TOPIC, 10)
    await fresh.fetch(Source.INBOX, 10)
    kept = await fresh.start(StartAt.NEW, patterned_late=False)
    assert not any(end.unread for end in kept.ends.values())
