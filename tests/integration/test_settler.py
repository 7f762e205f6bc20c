"""What a settler does when the server does not take what it settles."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from evfn.broker.connection import Connection
from evfn.broker.group import Batch, Emitting, Group, Settled, Source
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.errors import BrokerError
from evfn.listener import Filtered, Happening
from evfn.outcome import EmitForm
from evfn.services.settler import Settler, Settling
from evfn.services.subscription import Subscription


@dataclass
class Told:
    """What a settler says of itself."""

    settled: int = 0
    problems: list[str | None] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def settles(self, count: int, happenings: list[Happening]) -> None:
        self.happenings += happenings
        self.settled += count
        if count:
            self.done.set()


class Forbidding(Group):
    """A group whose server forbids to put anything back, until it is mended."""

    mended = False
    settles = 0

    async def settle(self, source: Source, batch: Batch) -> Settled:
        self.settles += 1
        return await super().settle(source, batch)

    async def restore(self, source: Source, ids: list[bytes]) -> list[bytes]:
        if not self.mended:
            raise BrokerError("this user may not XCLAIM")
        return await super().restore(source, ids)


def settler(group: Group, told: Told, on_gone: Callable[[], Awaitable[None]]) -> Settler:
    return Settler(
        group,
        Source.TOPIC,
        SystemClock(),
        lambda: 0.0,
        on_settled=told.settles,
        on_fenced=lambda: None,
        on_gone=on_gone,
        on_problem=told.problems.append,
        on_end=lambda task: None,
    )


async def test_what_cannot_be_put_back_is_tried_once_a_second_and_counted_once(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """A group was made again, the right to restore is missing: it is said, nothing spins, and it goes on by itself."""
    here = Forbidding(connection, keys, "orders.new", "shop/pack", "me")
    for number in range(3):
        await connection.call("XADD", keys.topic("orders.new"), "*", "n", number)
    ids = [entry for entry, _ in await here.fetch(Source.TOPIC, 3)]
    await connection.call("XGROUP", "DESTROY", keys.topic("orders.new"), here.group)
    await here.recreate(ids[-1].decode())

    async def again() -> None:
        raise AssertionError("the group is there")

    told = Told()
    tried = settler(here, told, again)
    tried.in_flight.took((each, []) for each in ids)
    began = time.monotonic()
    tried.settle(Settling(acks=ids, counters=Counter(delivered=3, succeeded=3)))
    await asyncio.sleep(0.5)
    assert 1 <= here.settles <= 1 + int(time.monotonic() - began)
    assert told.problems == ["this user may not XCLAIM"]
    assert told.settled == 0
    here.mended = True
    await asyncio.wait_for(told.done.wait(), 10)
    assert told.settled == 3
    assert (await group.status()).counters["succeeded"] == 3
    assert told.problems[-1] is None
    tried.stop()


async def test_what_was_settled_since_its_group_was_made_again_stays_settled(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """Two parts of an instance find the group gone at once; the second must not put back what is settled by then."""

    async def on_gone() -> None:
        raise AssertionError("the group is there")

    subscription = Subscription("orders.new", group, {source: settler(group, Told(), on_gone) for source in Source})
    await connection.call("XADD", keys.topic("orders.new"), "*", "n", 1)
    entries = await group.fetch(Source.TOPIC, 1)
    subscription.in_flight(Source.TOPIC).took(entries)
    subscription.settlers[Source.TOPIC].delivered(entries[0][0])
    await connection.call("XGROUP", "DESTROY", keys.topic("orders.new"), group.group)
    await subscription.recreate()
    assert (await group.settle(Source.TOPIC, Batch(acks=[entries[0][0]]))).acked == 1
    await subscription.recreate()
    assert (await group.status()).pending == 0


async def test_what_a_stream_did_not_take_is_held_and_the_rest_of_it_is_done(
    connection: Connection, keys: Keys, group: Group
) -> None:
    """Emits that were settled together and taken in part: each is stored once, and nothing is missed."""

    async def on_gone() -> None:
        raise AssertionError("the group is there")

    for number in range(4):
        await connection.call("XADD", keys.topic("orders.new"), "*", "n", number)
    entries = await group.fetch(Source.TOPIC, 4)
    # Two more fit.
    await connection.call("XADD", keys.topic("full"), "18446744073709551615-18446744073709551613", "n", "before")
    told = Told()
    tried = settler(group, told, on_gone)
    tried.in_flight.took(entries)
    form = EmitForm("full", (b"n", None))
    emitting = Emitting(
        form, {"succeeded": 1}, [entry for entry, _ in entries], [[fields[1] for _, fields in entries if fields]]
    )
    tried.settle(Settling(emitting=[emitting], happenings=[Filtered("all", 4, 0)]))
    await asyncio.wait_for(told.done.wait(), 10)
    assert (told.settled, told.happenings) == (2, [])
    assert [entry for entry, _ in await group.pending(Source.TOPIC)] == [entry for entry, _ in entries[2:]]
    told.done.clear()
    await connection.call("DEL", keys.topic("full"))
    await asyncio.wait_for(told.done.wait(), 10)
    stored = [fields for _, fields in await connection.call("XRANGE", keys.topic("full"), "-", "+")]
    assert stored == [[b"n", b"2"], [b"n", b"3"]]
    assert (told.settled, told.happenings) == (4, [Filtered("all", 4, 0)])
    assert (await group.status()).counters == {"succeeded": 4}
    assert not tried.in_flight.ids
    tried.stop()
