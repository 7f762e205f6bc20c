"""What each trigger has to do, for autoscalers: asked once a second at most, however often somebody wants to know."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from evfn.broker.backlog import Backlog, backlog
from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.clock import Clock
from evfn.errors import UsageError
from evfn.nearest import did_you_mean
from evfn.services.discovery import Discovery
from evfn.topic import is_pattern
from evfn.trigger import Project, StartAt, Trigger

FRESH_SECONDS = 1.0
FRESH_TOPICS_SECONDS = 5.0
"""Which topics match a pattern is looked up less often: it takes a search through all keys."""


@dataclass(slots=True)
class _Asked:
    at: float
    answer: "asyncio.Task[Backlog]"


class Backlogs:
    """`project` is the project as it is served now. `connection` is nobody else's, so that nobody waits for these."""

    def __init__(self, connection: Connection, project: Callable[[], Project], clock: Clock) -> None:
        self._connection = connection
        self._project = project
        self._clock = clock
        self._asked: dict[str, _Asked] = {}
        self._topics: tuple[float, Project, dict[str, set[str]]] | None = None
        self._looking = asyncio.Lock()

    async def of(self, name: str) -> Backlog:
        """Of the trigger of this name. Raises UsageError where there is none, BrokerError."""
        asked = self._asked.get(name)
        if asked is None or (asked.answer.done() and self._clock.monotonic() - asked.at >= FRESH_SECONDS):
            project = self._project()
            trigger = _find(project, name)
            counting = asyncio.create_task(self._count(project, trigger))
            counting.add_done_callback(_looked_at)
            asked = self._asked[name] = _Asked(self._clock.monotonic(), counting)
        # Several may wait for it; one that gives up must not take it from the others.
        return await asyncio.shield(asked.answer)

    async def close(self) -> None:
        """Ask no more."""
        tasks = [each.answer for each in self._asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connection.close()

    async def _count(self, project: Project, trigger: Trigger) -> Backlog:
        if not trigger.enabled:
            return Backlog()  # Its events wait, however many instances there are.
        keys = Keys(project.settings.key_prefix)
        topics = (await self._found(project))[trigger.name]
        whole = Backlog()
        for topic in sorted(topics):
            whole += await backlog(
                self._connection,
                keys,
                topic,
                project.group(trigger.name),
                soon=project.settings.lease,
                from_beginning=_from_beginning(trigger, topic),
            )
        return whole

    async def _found(self, project: Project) -> dict[str, set[str]]:
        async with self._looking:
            now = self._clock.monotonic()
            known = self._topics
            if known is None or known[1] is not project or now - known[0] >= FRESH_TOPICS_SECONDS:
                known = self._topics = (now, project, await Discovery(self._connection, project).topics())
            return known[2]


def _find(project: Project, name: str) -> Trigger:
    found = {trigger.name: trigger for trigger in project.triggers}
    if name not in found:
        raise UsageError(f"there is no such trigger{did_you_mean(name, found)}; triggers: {', '.join(found)}")
    return found[name]


def _looked_at(task: "asyncio.Task[Backlog]") -> None:
    """Whoever asked may have gone before the answer."""
    if not task.cancelled():
        task.exception()


def _from_beginning(trigger: Trigger, topic: str) -> bool:
    """Where the trigger begins on a topic that it has no group on: on one that appeared late it takes all."""
    return trigger.start is not StartAt.NEW or (topic not in trigger.topics and any(map(is_pattern, trigger.topics)))
