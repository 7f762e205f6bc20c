"""Who looks for events that others trimmed asks nothing about topics of which no change was told."""

from types import SimpleNamespace
from typing import Any

from evfn.broker.connection import Connection
from evfn.broker.group import Group, Source
from evfn.broker.keys import Keys
from evfn.clock import SystemClock
from evfn.listener import Dropped, Happening
from evfn.services.foreign_trims import ForeignTrims
from evfn.services.subscription import Subscription


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.dropped = 0

    def tell(self, happening: Happening) -> None:
        self.dropped += happening.count if isinstance(happening, Dropped) else 0


async def scripts_run(connection: Connection) -> int:
    """How many scripts the server has carried out."""
    text: bytes = await connection.call("INFO", "commandstats")
    lines = [line for line in text.decode().splitlines() if line.startswith("cmdstat_eval")]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)


async def test_a_topic_without_a_change_is_not_asked_about(connection: Connection, group: Group, keys: Keys) -> None:
    """A thousand idle triggers cost no look, and what is trimmed from a topic that was woken is told."""
    subscription = Subscription(group.topic, group, {})
    dispatcher: Any = SimpleNamespace(trigger=SimpleNamespace(name="pack"), subscriptions={group.topic: subscription})
    told, pushes = Told(), True
    trims = ForeignTrims(connection, keys, lambda: [dispatcher], told, SystemClock(), lambda: pushes)
    await trims.run_once()
    before = await scripts_run(connection)
    await trims.run_once()
    assert await scripts_run(connection) == before
    await connection.pipeline([("XADD", group.key(Source.TOPIC), "*", "n", n) for n in range(3)])
    subscription.wake(Source.TOPIC)
    await trims.run_once()
    # Some of it is unread: it is looked at until it is not, for it may be trimmed unseen.
    await connection.call("XTRIM", group.key(Source.TOPIC), "MAXLEN", 1)
    await trims.run_once()
    assert told.dropped == 2
    await group.fetch(Source.TOPIC, 10)
    await trims.run_once()
    before = await scripts_run(connection)
    await trims.run_once()
    assert await scripts_run(connection) == before
    pushes = False
    await trims.run_once()
    assert await scripts_run(connection) > before
