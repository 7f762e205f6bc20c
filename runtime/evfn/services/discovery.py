"""Which topics each trigger has now, and the making of its groups on them."""

from collections.abc import Collection

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.start import Action, Starter
from evfn.broker.topics import discover
from evfn.errors import BrokerError
from evfn.topic import Pattern, is_pattern
from evfn.trigger import Project, Trigger


class Discovery:
    """Exact topics need only be named; patterns find the streams that exist."""

    def __init__(self, connection: Connection, project: Project) -> None:
        self._connection = connection
        self._project = project
        self._keys = Keys(project.settings.key_prefix)
        self._starter = Starter(connection, self._keys)
        self._patterns = {
            text: Pattern.compile(text) for trigger in project.triggers for text in trigger.topics if is_pattern(text)
        }

    @property
    def has_patterns(self) -> bool:
        """Whether looking again can find anything new."""
        return bool(self._patterns)

    async def topics(self) -> dict[str, set[str]]:
        """Every trigger's topics, by the trigger's name."""
        found = await discover(self._connection, self._keys, list(self._patterns.values())) if self._patterns else set()
        return {trigger.name: self._topics_of(trigger, found) for trigger in self._project.triggers}

    async def start(
        self,
        trigger: Trigger,
        topics: list[str],
        *,
        quiet: Collection[Action] = frozenset(),
        served: Collection[str] = frozenset(),
    ) -> list[str]:
        """Make the trigger's groups on these topics; what a person might not expect, in a line each.

        Those `served` before begin at the beginning where the server lost its data.
        """
        said: list[str] = []
        group = self._project.group(trigger.name)
        for started in await self._starter.start(group, trigger.topics, topics, trigger.start, served=served):
            if isinstance(started, BrokerError):
                said.append(f"{trigger.name}: {started}")
            elif started.action in quiet:
                continue
            elif started.action is Action.INEFFECTIVE:
                said.append(
                    f"{trigger.name}: `start` was changed after the first delivery from {started.topic} and has no"
                    f" effect; past events are delivered again by `evfn replay {trigger.name} --from …`"
                )
            elif started.action is Action.CREATED and started.topic in served:
                said.append(
                    f"{trigger.name}: the server has lost its data, and with it what waited on {started.topic}; all"
                    " that came since then is taken"
                )
            elif started.action is Action.CREATED and started.skipped:
                said.append(
                    f"{trigger.name} begins behind {started.skipped:,} older events of {started.topic};"
                    " write `start: earliest` before its first delivery to have them too"
                )
        return said

    async def start_all(self) -> list[str]:
        """Make every group that is missing, and say what a person might not expect of those.

        That a changed start has no effect is for `run` to say, once, and not for every command.
        """
        said: list[str] = []
        topics = await self.topics()
        for trigger in self._project.triggers:
            said += await self.start(trigger, sorted(topics[trigger.name]), quiet={Action.INEFFECTIVE})
        return said

    def _topics_of(self, trigger: Trigger, found: set[str]) -> set[str]:
        topics = {text for text in trigger.topics if text not in self._patterns}
        for text in trigger.topics:
            if text in self._patterns:
                topics |= {topic for topic in found if self._patterns[text].matches(topic)}
        return topics
