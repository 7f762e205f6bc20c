"""A topic is trimmed by its rules, and never by more than every group has finished."""

import asyncio
import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Group, KeyTaken, Source
from evfn.broker.keys import Keys
from evfn.broker.position import numbers
from evfn.broker.trim import MOST, TRIM, Hold, Holder, Trimmed, look, trim
from evfn.lease import PUT_BACK
from evfn.trigger import TopicRules
from servers import RealServer

LAST = 18446744073709551615
LEASE = timedelta(seconds=1)
AGED = TopicRules(retention=timedelta(seconds=1))


async def fill(connection: Connection, stream: str, count: int, *, ms: int = 1) -> None:
    """Entries `ms-1` … `ms-count`: their ids are of 1970, so they are older than any retention."""
    await connection.pipeline([("XADD", stream, f"{ms}-{number}", "n", number) for number in range(1, count + 1)])


async def left(connection: Connection, stream: str) -> list[str]:
    return [entry[0].decode() for entry in await connection.call("XRANGE", stream, "-", "+")]


async def test_what_every_group_has_finished_is_trimmed_when_it_is_old(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """With a second group that is behind only what both have finished; what is younger stays, finished or not."""
    stream = group.key(Source.TOPIC)
    await fill(connection, stream, 10)
    await connection.call("XADD", stream, "*", "young", "1")
    await connection.call("XGROUP", "CREATE", stream, "other", "0")
    entries = await group.fetch(Source.TOPIC, 100)
    await connection.call("XREADGROUP", "GROUP", "other", "x", "COUNT", 4, "STREAMS", stream, ">")
    await connection.call("XACK", stream, "other", "1-1", "1-2", "1-4")
    await group.settle(Source.TOPIC, Batch(acks=[entry for entry, _ in entries]))
    trimmed = await trim(connection, keys, group.topic, AGED, [group.group], LEASE)
    assert (trimmed.trimmed, trimmed.events) == (2, 9)
    assert trimmed.held_by == (Holder("other", Hold.UNFINISHED, 1, 7),)
    await connection.call("XACK", stream, "other", "1-3")
    await connection.call("XREADGROUP", "GROUP", "other", "x", "NOACK", "STREAMS", stream, ">")
    trimmed = await trim(connection, keys, group.topic, AGED, [group.group], LEASE)
    assert (trimmed.trimmed, trimmed.events, trimmed.held_by) == (8, 1, ())
    again = await trim(connection, keys, group.topic, AGED, [group.group], LEASE)
    assert (again.trimmed, again.events) == (0, 1)
    assert (await group.status()).counters.get("dropped") is None


async def test_no_more_than_max_events_stay_once_they_are_finished(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """To the event, however many there are in one node of the stream; what is not finished stays, and it is said."""
    stream = group.key(Source.TOPIC)
    await fill(connection, stream, 2 * MOST + 345)
    rules = TopicRules(max_events=7)
    refused = await trim(connection, keys, group.topic, rules, [group.group], LEASE)
    assert (refused.trimmed, refused.events) == (0, 2 * MOST + 345)
    assert refused.held_by[0].group == group.group
    await connection.call("XREADGROUP", "GROUP", group.group, "me", "NOACK", "COUNT", 2_000, "STREAMS", stream, ">")
    partly = await trim(connection, keys, group.topic, rules, [group.group], LEASE)
    assert (partly.trimmed, partly.events) == (2_000, MOST - 655)
    await connection.call("XREADGROUP", "GROUP", group.group, "me", "NOACK", "STREAMS", stream, ">")
    done = await trim(connection, keys, group.topic, rules, [group.group], LEASE)
    assert (done.events, done.held_by) == (7, ())
    assert (await left(connection, stream))[0] == f"1-{2 * MOST + 339}"


async def test_one_call_does_a_bounded_part_of_the_work(connection: Connection, keys: Keys, group: Group) -> None:
    """So that the server answers others in between, however much there is to trim."""
    stream = group.key(Source.TOPIC)
    await fill(connection, stream, 5 * MOST)
    await connection.call("XGROUP", "SETID", stream, group.group, "$")
    reply = await TRIM.run(connection, [stream], [MOST, 1_000, "", 1, 0, 0])
    assert 0 < reply[1] <= MOST
    assert reply[2] == 1
    assert (await trim(connection, keys, group.topic, AGED, [group.group], LEASE)).events == 0


async def test_a_group_that_is_expected_and_not_there_holds_everything(connection: Connection, keys: Keys) -> None:
    """A trigger whose group is yet to be made, or made again, has finished nothing."""
    stream = keys.topic("orders.new")
    await fill(connection, stream, 3)
    held = await trim(connection, keys, "orders.new", AGED, ["shop/pack"], LEASE)
    assert (held.trimmed, held.held_by) == (0, (Holder("shop/pack", Hold.MISSING),))
    assert (await trim(connection, keys, "orders.new", AGED, [], LEASE)).trimmed == 3


async def test_a_group_made_again_holds_everything_until_all_have_put_back_what_they_hold(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """Another instance may run what looks finished, for the group that knew of it is gone."""
    stream = group.key(Source.TOPIC)
    await fill(connection, stream, 3)
    await group.settle(Source.TOPIC, Batch(acks=[(await group.fetch(Source.TOPIC, 3))[0][0]], last_delivered=b"1-3"))
    await connection.call("XGROUP", "DESTROY", stream, group.group)
    await group.recreate("1-3")
    for groups in ([group.group], []):
        held = await trim(connection, keys, group.topic, AGED, groups, LEASE)
        assert (held.events, held.held_by) == (3, (Holder(group.group, Hold.MADE_AGAIN),))
    await connection.call("HINCRBY", keys.stats(group.topic, group.group), "made_again", -PUT_BACK - 2)
    assert (await trim(connection, keys, group.topic, AGED, [group.group], LEASE)).events == 0


@pytest.mark.parametrize(("cursor", "left_over"), [("", 4), ("1-3", 3)])
async def test_a_replay_under_way_keeps_what_it_has_yet_to_read(
    connection: Connection, keys: Keys, group: Group, cursor: str, left_over: int
) -> None:
    """What it was asked for does not vanish before it, though the trigger has finished it once already."""
    stream = group.key(Source.TOPIC)
    await fill(connection, stream, 5)
    await connection.call("XREADGROUP", "GROUP", group.group, "me", "NOACK", "STREAMS", stream, ">")
    await connection.call("HSET", keys.stats(group.topic, group.group), "replay", "r1")
    replay = keys.replay(group.topic, group.group, "r1")
    await connection.call("HSET", replay, "first", "1-2", "last", "1-5", "cursor", cursor)
    held = await trim(connection, keys, group.topic, AGED, [group.group], LEASE)
    assert (held.events, held.held_by) == (left_over, (Holder(group.group, Hold.REPLAY),))
    [looked] = await look(connection, keys, [(group.topic, AGED, [group.group])], LEASE)
    assert looked == Trimmed(0, held.events, held.oldest, held.held_by)
    await connection.call("DEL", replay)
    assert (await trim(connection, keys, group.topic, AGED, [group.group], LEASE)).events == 0


@pytest.mark.parametrize(
    ("last", "kept"),
    [
        ("9-99", "9-100"),
        ("9-9", "9-10"),
        (f"9-{LAST}", "10-0"),
        (f"999-{LAST}", "1000-0"),
        (f"9-{LAST - 1}", f"9-{LAST}"),
        ("9-9007199254740993", "9-9007199254740994"),
    ],
)
async def test_ids_are_exact(connection: Connection, keys: Keys, last: str, kept: str) -> None:
    """Sequences are larger than a number in Lua holds; one off would lose an event."""
    stream = keys.topic("orders.new")
    await connection.pipeline([("XADD", stream, each, "n", "1") for each in (last, kept)])
    await connection.call("XGROUP", "CREATE", stream, "g", last)
    assert (await trim(connection, keys, "orders.new", AGED, [], LEASE)).trimmed == 1
    assert await left(connection, stream) == [kept]


async def test_a_group_at_the_last_possible_id_is_no_trouble(connection: Connection, keys: Keys) -> None:
    stream = keys.topic("orders.new")
    await connection.pipeline([("XADD", stream, each, "n", "1") for each in ("1-1", f"{LAST}-{LAST}")])
    await connection.call("XGROUP", "CREATE", stream, "g", "$")
    assert (await trim(connection, keys, "orders.new", TopicRules(max_events=1), [], LEASE)).events == 1


async def test_ids_ahead_of_the_clock_are_young(connection: Connection, keys: Keys) -> None:
    """After the server's clock stepped back, the ids it makes run ahead: such events are kept longer, never shorter."""
    stream = keys.topic("orders.new")
    await connection.call("XADD", stream, f"{10**13 * 2}-1", "n", "1")
    await connection.call("XADD", stream, "*", "n", "2")
    assert (await trim(connection, keys, "orders.new", AGED, [], LEASE)).trimmed == 0


async def test_i30_a_topic_that_is_no_stream_is_named(connection: Connection, keys: Keys) -> None:
    await connection.call("SET", keys.topic("orders.new"), "x")
    with pytest.raises(KeyTaken, match=r"t:orders\.new"):
        await trim(connection, keys, "orders.new", AGED, [], LEASE)
    [error] = await look(connection, keys, [("orders.new", AGED, [])], LEASE)
    assert isinstance(error, KeyTaken)


async def test_looking_trims_nothing(connection: Connection, keys: Keys) -> None:
    """And says of nothing that it is held back which the next trimming will take."""
    await fill(connection, keys.topic("orders.new"), 3)
    await connection.call("XGROUP", "CREATE", keys.topic("orders.new"), "g", "1-1")
    wanted = [("orders.new", AGED, ["shop/pack"]), ("orders.new", AGED, []), ("nothing", AGED, ["shop/pack"])]
    missing, there, absent = await look(connection, keys, wanted, LEASE)
    assert not isinstance(missing, Exception)
    assert (missing.events, missing.held_by) == (3, (Holder("shop/pack", Hold.MISSING),))
    assert not isinstance(there, Exception)
    assert there.held_by == ()
    assert not isinstance(absent, Exception)
    assert (absent.events, absent.oldest, absent.held_by) == (0, None, ())


async def test_f7_a_trim_whose_reply_is_lost_may_be_repeated(connection: Connection, keys: Keys, group: Group) -> None:
    """A second one finds nothing more to do, so no failure in between matters."""
    stream = group.key(Source.TOPIC)
    await fill(connection, stream, 10)
    await connection.call("XREADGROUP", "GROUP", group.group, "me", "NOACK", "COUNT", 5, "STREAMS", stream, ">")
    for _ in range(3):
        await TRIM.run(
            connection, [stream, keys.stats(group.topic, group.group)], [MOST, 1_000, 3, 1, 1, 1, group.group]
        )
    assert await left(connection, stream) == [f"1-{number}" for number in range(6, 11)]


async def test_a_full_server_lets_finished_events_go(server: RealServer, connection: Connection, keys: Keys) -> None:
    """Trimming is what makes room again, so it must not wait for room."""
    await fill(connection, keys.topic("orders.new"), 500)
    server.command("CONFIG", "SET", "maxmemory", "1")
    assert (await trim(connection, keys, "orders.new", AGED, [], LEASE)).trimmed == 500


async def test_b12_deleted_entries_that_are_pending_hold_back_what_is_above_them(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """XDEL leaves a ghost on the list of what is pending; it is settled as dropped, and then no longer in the way."""
    stream = group.key(Source.TOPIC)
    await fill(connection, stream, 5)
    entries = await group.fetch(Source.TOPIC, 5)
    await connection.call("XDEL", stream, "1-2")
    await group.settle(Source.TOPIC, Batch(acks=[entry for entry, _ in entries if entry != b"1-2"]))
    assert (await trim(connection, keys, group.topic, AGED, [group.group], LEASE)).events == 3
    await group.settle(Source.TOPIC, Batch(acks=[b"1-2"]))
    assert (await trim(connection, keys, group.topic, AGED, [group.group], LEASE)).events == 0
    assert (await group.status()).lag == 0


class World:
    """One stream as plain Python sees it: what is stored, and of each group what it has yet to finish."""

    def __init__(self, connection: Connection, stream: str, groups: int) -> None:
        self.connection = connection
        self.stream = stream
        self.stored: set[str] = set()
        self.unread: dict[str, list[str]] = {f"g{number}": [] for number in range(groups)}
        self.pending: dict[str, set[str]] = {name: set() for name in self.unread}
        self.ids = itertools.count(1)

    async def begin(self) -> None:
        await self.connection.call("DEL", self.stream)
        for name in self.unread:
            await self.connection.call("XGROUP", "CREATE", self.stream, name, "0", "MKSTREAM")

    async def do(self, what: str, group: str, count: int) -> None:
        if what == "add":
            # Seven to a millisecond, one directly behind the other; in every third of these up to the largest.
            places = [divmod(next(self.ids), 7) for _ in range(count)]
            added = [f"{ms + 1}-{place + 1 if ms % 3 else LAST - 6 + place}" for ms, place in places]
            await self.connection.pipeline([("XADD", self.stream, each, "n", "x" * (count % 40)) for each in added])
            self.stored.update(added)
            for unread in self.unread.values():
                unread.extend(added)
        elif what == "read":
            read = ("XREADGROUP", "GROUP", group, "c", "COUNT", count, "STREAMS", self.stream, ">")
            reply = await self.connection.call(*read)
            ids = {entry[0].decode() for entry in (reply[0][1] if reply else [])}
            self.pending[group] |= ids
            self.unread[group] = [each for each in self.unread[group] if each not in ids]
        elif what in ("ack", "ack-last"):
            ids = set(sorted(self.pending[group], key=numbers, reverse=what == "ack-last")[: count // 2 + 1])
            await self.connection.call("XACK", self.stream, group, *ids, "0-1")
            self.pending[group] -= ids
        elif what == "delete":
            ids = set(sorted(self.stored, key=numbers)[count : count + 2])
            await self.connection.call("XDEL", self.stream, *ids, "0-1")
            self.stored -= ids
            self.unread = {name: [each for each in unread if each not in ids] for name, unread in self.unread.items()}

    @property
    def unfinished(self) -> set[str]:
        """What is stored and some group has yet to finish."""
        every = {each for unread in self.unread.values() for each in unread}
        for pending in self.pending.values():
            every |= pending
        return every & self.stored


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "read", "read", "ack", "ack-last", "delete"]), st.integers(0, 2), st.integers(1, 60)
    ),
    min_size=8,
    max_size=30,
)
RULES = st.sampled_from(
    [AGED, TopicRules(max_events=1), TopicRules(max_events=30), TopicRules(retention=AGED.retention, max_events=5)]
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, rules=RULES, every=st.integers(1, 6))
def test_f47_no_event_is_trimmed_that_a_group_has_yet_to_finish(
    connection: Connection,
    keys: Keys,
    runner: asyncio.Runner,
    steps: list[tuple[str, int, int]],
    rules: TopicRules,
    every: int,
) -> None:
    """Whatever groups read, finish out of order and others delete meanwhile; and all that may go is gone at last."""

    async def scenario() -> None:
        world = World(connection, keys.topic("orders.new"), 3)
        await world.begin()
        await world.do("add", "", 130)
        for number, (what, group, count) in enumerate(steps):
            await world.do(what, f"g{group}", count)
            if number % every == 0:
                await check(world)
        await check(world)

    async def check(world: World) -> None:
        before = set(world.stored)
        outcome = await trim(connection, keys, "orders.new", rules, list(world.unread), LEASE)
        after = set(await left(connection, world.stream))
        assert after <= before
        assert world.unfinished <= after, "an unfinished event is gone"
        if rules.retention is None:
            assert len(after) >= min(len(before), rules.max_events or 0), "more is gone than was too much"
        # What is kept needlessly is a leak: everything below the first unfinished one may go.
        first = min(map(numbers, world.unfinished), default=None)
        below = {each for each in after if first is None or numbers(each) < first}
        ghosts = {each for pending in world.pending.values() for each in pending} - before
        if not ghosts:
            kept = len(after) if rules.max_events is None else max(len(after) - rules.max_events, 0)
            assert not below or (kept == 0 and rules.retention is None)
        assert outcome.events == len(after)
        world.stored = after

    runner.run(scenario())
