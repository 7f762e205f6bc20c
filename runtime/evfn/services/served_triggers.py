"""Which triggers are served: those of the manifest, as soon as what still runs allows."""

import asyncio
from collections.abc import Callable
from functools import partial

from evfn.listener import Listener, TriggersChanged, Watched
from evfn.services.dispatcher import Dispatcher
from evfn.services.loads import PATIENCE
from evfn.services.roster import Roster
from evfn.trigger import Trigger


class ServedTriggers:
    """`on_added` is told when a trigger begins, `on_leaving` when a dispatcher begins to leave; `on_left` gets the task
    in which it left, or could not."""

    def __init__(
        self,
        roster: Roster,
        listener: Listener,
        on_added: Callable[[], None],
        *,
        on_leaving: Callable[[Dispatcher], None],
        on_left: "Callable[[asyncio.Task[None]], None]",
    ) -> None:
        self._roster = roster
        self._listener = listener
        self._on_added = on_added
        self._on_leaving = on_leaving
        self._on_left = on_left
        self._leaving: dict[Dispatcher, asyncio.Task[None]] = {}
        self._left: list[str] = []

    @property
    def staying(self) -> list[Dispatcher]:
        """Those that serve a trigger of the manifest, and go on to."""
        return [dispatcher for dispatcher in self._roster.dispatchers if dispatcher not in self._leaving]

    @property
    def outdated(self) -> bool:
        """Whether one has left since they were brought in line, which nobody was told of; its name may be wanted."""
        return bool(self._left)

    async def bring_in_line(self) -> None:
        """Have a dispatcher for each trigger of the manifest, and for no other.

        One that still runs something leaves when that has ended, and its name is free only then: no function runs
        twice at a time because its trigger was taken out and put back.
        """
        wanted = {trigger.name: trigger for trigger in self._roster.project.triggers}
        for dispatcher in self.staying:
            if not _goes_on(dispatcher.trigger, wanted.get(dispatcher.trigger.name)):
                self._on_leaving(dispatcher)
                task = self._leaving[dispatcher] = asyncio.create_task(self._roster.remove(dispatcher))
                task.add_done_callback(partial(self._has_left, dispatcher))
        if self._leaving:
            # One that takes its time delays no other.
            await asyncio.wait(self._leaving.values(), timeout=PATIENCE)
        left, self._left = self._left, []
        removed = tuple(name for name in left if name not in wanted)
        added = [trigger for trigger in wanted.values() if self._roster.find(trigger.name) is None]
        if added or removed:
            # Told before they can be ready: what is told of them counts from here on.
            self._listener.tell(TriggersChanged(tuple(map(_watched, added)), removed))
        for trigger in added:
            await self._roster.add(trigger)
        if added:
            self._on_added()

    async def close(self) -> None:
        """Wait for none that leaves."""
        tasks = list(self._leaving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _has_left(self, dispatcher: Dispatcher, done: "asyncio.Task[None]") -> None:
        del self._leaving[dispatcher]
        self._left.append(dispatcher.trigger.name)
        self._on_left(done)


def _goes_on(trigger: Trigger, now: Trigger | None) -> bool:
    """Whether it is still there, and neither was enabled nor disabled: a disabled one has no workers."""
    return now is not None and now.enabled == trigger.enabled


def _watched(t: Trigger) -> Watched:
    return Watched(t.name, t.topics, t.function, t.filter, t.emits, t.enabled)
