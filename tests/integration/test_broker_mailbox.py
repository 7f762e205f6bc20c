"""Mailboxes on real servers: one job has a run, one report counts, and a settlement leaves nothing behind."""

import pytest

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Entry, Group, Source
from evfn.broker.keys import Keys
from evfn.broker.mailbox import Mailbox, Run, Untaken
from evfn.broker.record import Origin, Record, pack
from servers import RealServer


async def deliver(connection: Connection, group: Group, count: int = 1) -> list[Run]:
    """Put events on the topic and fetch them."""
    await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", number) for number in range(count)])
    return [Run(Source.TOPIC, entry) for entry, _ in await group.fetch(Source.TOPIC, count)]


async def test_the_first_that_takes_a_run_has_it(connection: Connection, group: Group) -> None:
    """A second job gets nothing; the first may ask again after a lost reply."""
    (run,) = await deliver(connection, group)
    boxes = group.mailboxes
    assert await boxes.take(run, "a") == [b"n", b"0"]
    assert await boxes.take(run, "b") is Untaken.TAKEN
    assert await boxes.take(run, "a") == [b"n", b"0"]
    assert await boxes.read([run]) == [Mailbox(by="a")]


async def test_only_what_is_pending_can_be_taken(connection: Connection, group: Group) -> None:
    """Settled, never delivered, no stream at all: there is nothing to run. A trimmed entry is told from these."""
    (run,) = await deliver(connection, group)
    assert await group.mailboxes.take(Run(Source.TOPIC, b"1-0"), "a") is Untaken.GONE
    assert await group.mailboxes.take(Run(Source.INBOX, b"1-0"), "a") is Untaken.GONE
    await connection.call("XTRIM", group.key(Source.TOPIC), "MAXLEN", 0)
    assert await group.mailboxes.take(run, "a") is Untaken.TRIMMED
    await group.settle(Source.TOPIC, Batch(acks=[run.entry_id]))
    assert await group.mailboxes.take(run, "a") is Untaken.GONE


async def test_beats_and_reports_are_the_owners(connection: Connection, group: Group) -> None:
    """Of another job they change nothing; the first report counts, and after it nobody beats."""
    (run,) = await deliver(connection, group)
    boxes = group.mailboxes
    await boxes.take(run, "a")
    assert not await boxes.beat(run, "b")
    assert await boxes.beat(run, "a")
    assert await boxes.beat(run, "a", begun=True)
    assert await boxes.read([run]) == [Mailbox("a", 2, True)]
    assert not await boxes.report(run, "b", b"x")
    assert await boxes.report(run, "a", b"done")
    assert await boxes.report(run, "a", b"done")
    assert not await boxes.report(run, "a", b"other")
    assert not await boxes.beat(run, "a")
    assert await boxes.read([run]) == [Mailbox("a", 2, True, b"done")]


async def test_one_that_beats_is_not_given_up(connection: Connection, group: Group) -> None:
    """Whoever judges it says what it saw; a beat in between, and it lives."""
    (run,) = await deliver(connection, group)
    boxes = group.mailboxes
    await boxes.take(run, "a")
    await boxes.beat(run, "a")
    assert not await boxes.report(run, "a", b"dead", beats=0)
    assert not await boxes.reset(run, "a", beats=0)
    assert await boxes.reset(run, "a", beats=1, refusal="why")
    assert await boxes.read([run]) == [Mailbox(refusal="why")]
    assert not await boxes.reset(run, "a")
    assert await boxes.take(run, "b") == [b"n", b"0"]
    assert not await boxes.reset(run, "")


@pytest.mark.parametrize("checked", [False, True])
async def test_a_settlement_closes_the_mailbox(connection: Connection, group: Group, keys: Keys, checked: bool) -> None:
    """With the ack, for every way to settle, and for nothing but what was acked."""
    runs = await deliver(connection, group, 4)
    plain, emitting, retried, kept = runs
    record = Record("orders.new", "1-0", "i", 2, Origin.RETRY, 1, [], [b"n", b"0"])
    for run in runs:
        await group.mailboxes.take(run, "a")
        await group.mailboxes.report(run, "a", b"done")
    settled = await group.settle(
        Source.TOPIC,
        Batch(
            acks=[plain.entry_id],
            entries=[Entry.ack(emitting.entry_id), Entry.retry(retried.entry_id, "i", 0, pack(record))],
            check=checked,
        ),
    )
    assert (settled.acked, settled.missing) == (3, 0)
    assert await group.mailboxes.read(runs) == [Mailbox()] * 3 + [Mailbox("a", 0, False, b"done")]
    await group.settle(Source.TOPIC, Batch(acks=[kept.entry_id]))
    assert await connection.call("EXISTS", keys.jobs(group.topic, group.group)) == 0


async def test_a_full_server_still_takes_beats_and_reports(
    server: RealServer, connection: Connection, group: Group
) -> None:
    """What runs is not lost because nothing new can be stored."""
    (run,) = await deliver(connection, group)
    await group.mailboxes.take(run, "a")
    server.command("CONFIG", "SET", "maxmemory", "1")
    assert await group.mailboxes.beat(run, "a", begun=True)
    assert await group.mailboxes.report(run, "a", b"done")
