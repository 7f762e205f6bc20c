"""What an instance will not begin reaches whoever takes it next, also where the group vanished meanwhile."""

from random import random

from evfn.broker.connection import Connection
from evfn.broker.group import RELEASED, Group, Source
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.services.held import Held
from evfn.services.returns import Returns
from evfn.services.settler import Settler
from evfn.services.subscription import Subscription
from waiting import wait_until


class Giver:
    """An instance that holds deliveries, and gives them back."""

    def __init__(self, group: Group) -> None:
        self.returned = 0
        self.subscription = Subscription(group.topic, group, {})
        for source in Source:
            self.subscription.settlers[source] = Settler(
                group,
                source,
                SystemClock(),
                random,
                on_settled=lambda count, happenings: None,
                on_fenced=lambda: None,
                on_gone=self._gone,
                on_problem=lambda problem: None,
                on_end=lambda task: None,
            )
        self._returns = Returns(SystemClock(), random, on_returned=self._count, on_gone=self._again)

    async def fetch(self, count: int) -> list[Held]:
        entries = await self.subscription.group.fetch(Source.TOPIC, count)
        self.subscription.in_flight(Source.TOPIC).took(entries)
        self.subscription.settlers[Source.TOPIC].last_delivered = entries[-1][0]
        return [
            Held(
                topic=self.subscription.topic,
                stream_id=entry.decode(),
                attempt=1,
                invocation_id=entry.decode(),
                fields=fields or [],
                subscription=self.subscription,
                source=Source.TOPIC,
                entry_id=entry,
                first_delivered_ms=1,
                record=None,
            )
            for entry, fields in entries
        ]

    async def give_back(self, held: list[Held]) -> None:
        self._returns.give_back(held)
        await wait_until(lambda: self.returned == len(held), "all are given back")

    def _count(self, count: int) -> None:
        self.returned += count

    async def _gone(self) -> None:
        await self.subscription.recreate()

    async def _again(self, subscription: Subscription) -> None:
        await subscription.recreate()


async def given_back(connection: Connection, group: Group) -> int:
    """How many deliveries wait for anybody."""
    consumers = await group.consumers(Source.TOPIC)
    return next((each.pending for each in consumers if each.name == RELEASED), 0)


async def held_by_a_giver(connection: Connection, group: Group) -> tuple[Giver, list[Held]]:
    await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", n) for n in range(3)])
    giver = Giver(group)
    return giver, await giver.fetch(3)


async def test_f27_a_group_that_vanished_is_made_again_to_give_back(connection: Connection, group: Group) -> None:
    giver, held = await held_by_a_giver(connection, group)
    await connection.call("XGROUP", "DESTROY", group.key(Source.TOPIC), group.group)
    await giver.give_back(held)
    assert await given_back(connection, group) == 3


async def test_f27_what_is_held_is_given_back_to_a_group_that_another_made_again(
    connection: Connection, group: Group, keys: Keys
) -> None:
    giver, held = await held_by_a_giver(connection, group)
    await connection.call("XGROUP", "DESTROY", group.key(Source.TOPIC), group.group)
    await Instances(connection, keys).register("other")
    other = Group(connection, keys, group.topic, group.group, "other")
    await other.recreate(held[-1].stream_id)
    await giver.give_back(held)
    assert await given_back(connection, group) == 3
