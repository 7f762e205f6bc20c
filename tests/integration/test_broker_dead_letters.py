"""Dead letters: complete, readable by people, back on their way exactly once."""

import json

import pytest

from evfn.broker import dead_letters
from evfn.broker.connection import Connection
from evfn.broker.dead_letters import (
    FOREIGN,
    DeadLetter,
    DeadLetters,
    StoredError,
    every_newest_first,
    fields,
    newest_first,
    parse,
)
from evfn.broker.group import Group, KeyTaken, Source
from evfn.broker.keys import Keys
from evfn.broker.record import Attempt, Origin, Record, unpack
from evfn.clock import SystemClock
from evfn.errors import BrokerError, BrokerUnavailable, UsageError
from evfn.settlement import Reason
from proxy import FaultyProxy
from servers import RealServer

LAST_ID = "18446744073709551615-18446744073709551615"


def letter(number: int = 1) -> DeadLetter:
    return DeadLetter(
        trigger="pack",
        topic="orders.new",
        invocation_id=f"pack:orders.new:{number}-0",
        reason=Reason.TIMED_OUT,
        error=StoredError("evfn.TimedOut", "ran longer\nthan", "stack"),
        attempts=2,
        history=[Attempt(1, "failed", 5, "KeyError: 'phone'"), Attempt(2, "timed_out", 6, "ran longer")],
        first_delivered_ms=1,
        dead_ms=6,
        instance="me",
        revision="r1",
        log="printed \udcff\x00 line",
        record=Record(
            "orders.new",
            f"{number}-0",
            f"pack:orders.new:{number}-0",
            1,
            Origin.REDRIVE,
            1,
            [],
            [b"d", bytes(range(256))],
        ),
    )


@pytest.fixture
def dead(connection: Connection, keys: Keys, group: Group) -> DeadLetters:
    return DeadLetters(connection, keys, group.topic, group.group)


async def bury(connection: Connection, dead: DeadLetters, count: int) -> list[str]:
    replies = await connection.pipeline([("XADD", dead.key, "*", *fields(letter(each))) for each in range(count)])
    return [reply.decode() for reply in replies]


async def test_what_is_stored_is_read_back(connection: Connection, dead: DeadLetters) -> None:
    ids = await bury(connection, dead, 1)
    read = await dead.get(ids[0])
    assert read is not None
    assert (read.id, read.reason, read.error, read.history) == (
        ids[0],
        Reason.TIMED_OUT,
        letter().error,
        letter().history,
    )
    assert read.record == letter(0).record
    assert read.log == "printed \\udcff\x00 line"
    stored = (await connection.call("XRANGE", dead.key, "-", "+"))[0][1]
    as_text = dict(zip(stored[::2], stored[1::2], strict=True))
    assert json.loads(as_text[b"error"])["type"] == "evfn.TimedOut"
    assert as_text[b"reason"] == b"timed_out"


@pytest.mark.parametrize(
    "entry",
    [
        [],
        [b"a", b"1"],
        [b"error", b"[", b"history", b"{}", b"attempts", b"many", b"reason", b"odd"],
        [b"error", b"[1]", b"history", b"[1, {}]", b"record", b"\xff", b"dead_at", b"9" * 5000],
        [b"error", b"[" * 100_000, b"trigger", b"\xff\xfe"],
    ],
)
def test_foreign_entries_are_read_without_complaint(entry: list[bytes]) -> None:
    read = parse(b"1-0", entry)
    assert read.record is None
    assert read.reason in (FOREIGN, "odd")


async def test_pages_newest_first(connection: Connection, keys: Keys, dead: DeadLetters) -> None:
    ids = await bury(connection, dead, 5)
    page = await dead.list(2)
    rest = await dead.list(10, before=page[-1].id)
    assert [each.id for each in [*page, *rest]] == ids[::-1]
    assert await dead.count() == 5
    other = DeadLetters(connection, keys, "orders.old", "shop/pack")
    # Both streams number within a millisecond on their own, so this one is given a later one.
    later = f"{int(ids[-1].partition('-')[0]) + 1}-0"
    await connection.call("XADD", other.key, later, *fields(letter()))
    assert [each.id for each in await newest_first([dead, other], 2)] == [later, ids[-1]]


async def test_however_many_are_read_page_by_page(
    connection: Connection, keys: Keys, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of a million is no reply of a million; it is in the same order, whatever topics they are on."""
    monkeypatch.setattr(dead_letters, "STEP", 2)
    other = DeadLetters(connection, keys, "orders.old", "shop/pack")
    for number in range(1, 8):
        place = other if number in (2, 3, 7) else dead
        await connection.call("XADD", place.key, f"{number}-0", *fields(letter()))

    async def listed(count: int) -> list[str]:
        return [each.id async for each in every_newest_first([dead, other], count)]

    assert await listed(100) == [f"{number}-0" for number in range(7, 0, -1)]
    assert await listed(4) == ["7-0", "6-0", "5-0", "4-0"]
    names = [each async for each in dead.names_oldest_first()]
    assert names == [(each.id, each.invocation_id) async for each in dead.oldest_first()]


async def test_the_newest_without_an_id(connection: Connection, dead: DeadLetters) -> None:
    assert await dead.get() is None
    ids = await bury(connection, dead, 2)
    newest = await dead.get()
    assert newest is not None
    assert newest.id == ids[-1]
    assert await dead.get("1-1") is None
    with pytest.raises(UsageError, match="no stream id"):
        await dead.get("abc")


async def test_a_redriven_letter_is_delivered_again_once(
    connection: Connection, dead: DeadLetters, group: Group
) -> None:
    ids = await bury(connection, dead, 2)
    done = await dead.redrive(ids[:1])
    again = await dead.redrive([*ids[:1], "1-1"])
    assert (done.redriven, again.redriven, again.gone) == (ids[:1], [], [ids[0], "1-1"])
    entries = await group.fetch(Source.INBOX, 10)
    assert [unpack(fields[1]) for _, fields in entries if fields is not None] == [letter(0).record]
    assert await dead.count() == 1
    assert (await group.status()).counters == {"redriven": 1}


async def test_all_are_redriven_but_foreign_entries(connection: Connection, dead: DeadLetters, group: Group) -> None:
    """Those that die while the rest is read are not among them."""
    ids = await bury(connection, dead, 1250)
    await connection.call("XADD", dead.key, "*", "a", "1")
    found: list[str] = []
    async for each in dead.oldest_first():
        if not found:
            await bury(connection, dead, 1)
        found.append(each.id)
    assert found[:-1] == ids
    done = await dead.redrive(found)
    assert (done.redriven, done.gone, done.foreign) == (ids, [], found[-1:])
    assert await connection.call("XLEN", group.key(Source.INBOX)) == len(done.inbox) == 1250
    assert [each.id async for each in dead.dead_since(found[-2])] == [each.id for each in await dead.list()][::-1]


async def test_an_inbox_that_takes_nothing_keeps_the_letter(
    connection: Connection, dead: DeadLetters, group: Group
) -> None:
    ids = await bury(connection, dead, 1)
    before = await dead.get()
    await connection.call("XADD", group.key(Source.INBOX), LAST_ID, "a", "1")
    with pytest.raises(BrokerError, match="inbox"):
        await dead.redrive(ids)
    kept = await dead.get()
    assert kept is not None
    assert before is not None
    assert (kept.record, kept.history, kept.reason) == (before.record, before.history, before.reason)
    assert await dead.count() == 1


async def test_an_inbox_of_another_type_is_named(connection: Connection, dead: DeadLetters, group: Group) -> None:
    ids = await bury(connection, dead, 1)
    inbox = group.key(Source.INBOX)
    await connection.call("DEL", inbox)
    await connection.call("SET", inbox, "x")
    with pytest.raises(KeyTaken) as raised:
        await dead.redrive(ids)
    assert raised.value.key == inbox
    assert [each.id for each in await dead.list()] == ids


async def test_a_dead_stream_of_another_type_is_named(connection: Connection, dead: DeadLetters) -> None:
    await connection.call("SET", dead.key, "x")
    for call in (dead.list(), dead.count(), dead.purge(), dead.redrive(["1-0"])):
        with pytest.raises(KeyTaken) as raised:
            await call
        assert raised.value.key == dead.key


async def test_a_full_server_still_redrives(server: RealServer, connection: Connection, dead: DeadLetters) -> None:
    ids = await bury(connection, dead, 1)
    server.command("CONFIG", "SET", "maxmemory", "1")
    assert (await dead.redrive(ids)).redriven == ids


async def test_a_lost_reply_redrives_nothing_twice(
    server: RealServer, connection: Connection, keys: Keys, dead: DeadLetters, group: Group
) -> None:
    ids = await bury(connection, dead, 2)
    await dead.redrive(ids[:1])
    async with FaultyProxy(server.path) as proxy:
        through = await Connection.open(proxy.url, clock=SystemClock())
        ours = DeadLetters(through, keys, group.topic, group.group)
        await through.ping()
        proxy.lose_next_reply()
        with pytest.raises(BrokerUnavailable):
            await ours.redrive(ids[1:])
        assert (await ours.redrive(ids[1:])).gone == ids[1:]
        await through.close()
    assert await connection.call("XLEN", group.key(Source.INBOX)) == 2


async def test_purging(connection: Connection, dead: DeadLetters) -> None:
    ids = await bury(connection, dead, 4)
    assert await dead.purge([ids[0], ids[0], "1-1"]) == 1
    assert await dead.purge([]) == 0
    assert await dead.purge() == 3
    assert await dead.count() == 0
