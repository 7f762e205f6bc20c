"""One trigger on one topic: its group, what of it may hold unread entries, what is held, and the settling of that."""

import asyncio

from evfn.broker.group import Group, Source
from evfn.broker.position import numbers
from evfn.broker.start import Action
from evfn.services.in_flight import InFlight
from evfn.services.settler import Settler

AT_ONCE = 1_000


class Subscription:
    """A trigger's place on a topic. `hot` sources may hold entries that were not fetched.

    `served` says in which turn each gave something last, `newest` the last id it gave; `problems` what is wrong now, by
    what found it.
    """

    def __init__(self, topic: str, group: Group, settlers: dict[Source, Settler]) -> None:
        self.topic = topic
        self.group = group
        self.settlers = settlers
        self.hot: set[Source] = set(Source)
        self.served = dict.fromkeys(Source, 0)
        self.newest = dict.fromkeys(Source, b"0-0")
        self.wakes = 0
        self.problems: dict[object, str] = {}
        self._recreating = asyncio.Lock()

    def in_flight(self, source: Source) -> InFlight:
        """What this instance holds of this source."""
        return self.settlers[source].in_flight

    def wake(self, source: Source) -> None:
        """Something may have been added."""
        self.hot.add(source)
        self.wakes += 1

    async def recreate(self) -> str:
        """Make the vanished group again, and put what is held here back on its list; where it stands now.

        What the inbox held is delivered anew: it is deleted only as it is settled. Raises BrokerError.
        """
        settler = self.settlers[Source.TOPIC]
        # One after the other: what one has put back may be settled before the next asks, and must stay settled.
        async with self._recreating:
            held = list(settler.in_flight.ids)
            made = await self.group.recreate(settler.last_delivered.decode(), held[:AT_ONCE])
            if made.action is Action.RECREATED:
                last = numbers(made.position)
                before = {each for each in held[:AT_ONCE] if numbers(each.decode()) <= last}
                settler.in_flight.restored = before & settler.in_flight.ids.keys()
            await settler.restore(held)
            return made.position
