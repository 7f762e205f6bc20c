"""Says what somebody trimmed from a topic before its triggers were given it: evfn itself never trims that."""

from collections.abc import Callable, Iterable
from datetime import timedelta

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.missed import Missed, missed
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.listener import Dropped, Listener
from evfn.services import settling
from evfn.services.dispatcher import Dispatcher
from evfn.services.subscription import Subscription

SWEEP = timedelta(seconds=5)
EVERY_SWEEP = 12
"""Every so many sweeps all groups are looked at."""
AT_ONCE = 50
"""How many groups one round trip looks at."""


class ForeignTrims:
    """Looks at the topics of every trigger; the server counts, and whoever looks first says it.

    While the server `pushes` changes, a topic that none was told of is as it was: a thousand of them cost nothing. Now
    and then all are looked at all the same, for the watch is a hint.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        dispatchers: Callable[[], Iterable[Dispatcher]],
        listener: Listener,
        clock: Clock,
        pushes: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._dispatchers = dispatchers
        self._listener = listener
        self._clock = clock
        self._pushes = pushes
        self._sweeps = 0
        self._final: dict[Subscription, int] = {}
        """The wakes of those of which nothing new can be said until they are woken again."""

    async def run(self) -> None:
        """Look until cancelled."""
        # Not at the same moment as the other sweeps of an instance: each holds events up for a little.
        pause = SWEEP * 0.7
        while True:
            await self._clock.sleep(pause)
            pause = SWEEP
            await self.run_once()

    async def run_once(self) -> None:
        """Look once at every group of which there may be something new to say."""
        known = self._final if self._pushes() and self._sweeps % EVERY_SWEEP else {}
        self._sweeps += 1
        self._final = {}
        due: list[tuple[str, Subscription]] = []
        for dispatcher in self._dispatchers():
            for subscription in dispatcher.subscriptions.values():
                if known.get(subscription) == subscription.wakes:
                    self._final[subscription] = subscription.wakes
                else:
                    due.append((dispatcher.trigger.name, subscription))
        for at in range(0, len(due), AT_ONCE):
            some = due[at : at + AT_ONCE]
            wakes = [subscription.wakes for _, subscription in some]
            try:
                found = await missed(self._connection, self._keys, [(each.topic, each.group.group) for _, each in some])
            except BrokerError:
                return  # The dispatchers say what is wrong with the server.
            for (trigger, subscription), woken, each in zip(some, wakes, found, strict=True):
                if each.final:
                    self._final[subscription] = woken
                if each.events:
                    self._say(trigger, subscription.topic, each)

    def _say(self, trigger: str, topic: str, found: Missed) -> None:
        events = "1 event" if found.events == 1 else f"{found.events:,} events"
        before = f" and before {found.oldest}" if found.oldest else ""
        self._listener.tell(Dropped(trigger, found.events))
        settling.warn(
            self._listener,
            trigger,
            f"{events} of {topic} had been trimmed by somebody before they were delivered: dropped (after"
            f" {found.after}{before})",
        )
