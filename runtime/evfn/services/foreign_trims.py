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

SWEEP = timedelta(seconds=5)
AT_ONCE = 50
"""How many groups one round trip looks at."""


class ForeignTrims:
    """Looks at the topics of every trigger; the server counts, and whoever looks first says it."""

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        dispatchers: Callable[[], Iterable[Dispatcher]],
        listener: Listener,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._dispatchers = dispatchers
        self._listener = listener
        self._clock = clock

    async def run(self) -> None:
        """Look until cancelled."""
        # Not at the same moment as the other sweeps of an instance: each holds events up for a little.
        pause = SWEEP * 0.7
        while True:
            await self._clock.sleep(pause)
            pause = SWEEP
            await self.run_once()

    async def run_once(self) -> None:
        """Look at every group once."""
        triggers = {
            (topic, subscription.group.group): dispatcher.trigger.name
            for dispatcher in self._dispatchers()
            for topic, subscription in dispatcher.subscriptions.items()
        }
        pairs = list(triggers)
        for at in range(0, len(pairs), AT_ONCE):
            try:
                for each in await missed(self._connection, self._keys, pairs[at : at + AT_ONCE]):
                    self._say(triggers[each.topic, each.group], each)
            except BrokerError:
                return  # The dispatchers say what is wrong with the server.

    def _say(self, trigger: str, found: Missed) -> None:
        events = "1 event" if found.events == 1 else f"{found.events:,} events"
        before = f" and before {found.oldest}" if found.oldest else ""
        self._listener.tell(Dropped(trigger, found.events))
        settling.warn(
            self._listener,
            trigger,
            f"{events} of {found.topic} had been trimmed by somebody before they were delivered: dropped (after"
            f" {found.after}{before})",
        )
