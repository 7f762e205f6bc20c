"""Deliveries that are not begun here after all, handed to whoever takes them next; no attempt is burnt."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from evfn.broker.connection import later
from evfn.broker.group import GroupGone, Source
from evfn.clock import Clock
from evfn.errors import BrokerError
from evfn.services.held import Held
from evfn.services.subscription import Subscription


class Returns:
    """`on_returned` gets how many the server has taken back; `on_gone` makes a group again that vanished, and puts what
    is held back on its list; it does not raise."""

    def __init__(
        self,
        clock: Clock,
        random: Callable[[], float],
        *,
        on_returned: Callable[[int], None],
        on_gone: Callable[[Subscription], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._random = random
        self._on_returned = on_returned
        self._on_gone = on_gone
        self._tasks: set[asyncio.Task[None]] = set()

    def give_back(self, deliveries: Iterable[Held]) -> None:
        """Hand these over, soon and until done."""
        by_place: dict[tuple[Subscription, Source], list[bytes]] = defaultdict(list)
        for held in deliveries:
            by_place[held.subscription, held.source].append(held.entry_id)
        for (subscription, source), entries in by_place.items():
            task = asyncio.create_task(self._release(subscription, source, entries))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """What is not handed over yet is taken over once this instance is gone."""
        for task in list(self._tasks):
            task.cancel()

    async def _release(self, subscription: Subscription, source: Source, entries: list[bytes]) -> None:
        tries = 0
        while True:
            try:
                released = await subscription.group.release(source, entries)
                if tries == 0 and released.released + released.dropped < len(entries):
                    # The group vanished, and another instance has made it again without what is held here. (After a
                    # lost reply they may be off our list for a better reason.)
                    await subscription.settlers[source].restore(entries)
                    await subscription.group.release(source, entries)
                break
            except GroupGone:
                await self._on_gone(subscription)
            except BrokerError:
                await self._clock.sleep(later(tries, self._random()))
                tries += 1
        subscription.in_flight(source).gave(entries)
        self._on_returned(len(entries))
