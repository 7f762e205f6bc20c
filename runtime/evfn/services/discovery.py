"""Which topics each trigger has now, and the making of its groups on them."""

from collections.abc import Collection, Iterable

from evfn.broker.connection import Connection
from evfn.broker.keys import Keys
from evfn.broker.start import Action, Beginning, Started, Starter
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
        self, triggers: Iterable[tuple[Trigger, list[str]]], served: Collection[tuple[str, str]] = frozenset()
    ) -> list[list[Started | BrokerError]]:
        """Make each trigger's groups on these topics; how they stand now.

        Those `served` before, by the trigger's name and the topic, begin at the beginning where the server lost its
        data.
        """
        return await self._starter.start_all(
            [
                Beginning(
                    self._project.group(trigger.name),
                    trigger.topics,
                    topics,
                    trigger.start,
                    [topic for topic in topics if (trigger.name, topic) in served],
                )
                for trigger, topics in triggers
            ]
        )

    async def start_all(self) -> list[str]:
        """Make every group that is missing, and say what a person might not expect of those.

        That a changed start has no effect is for `run` to say, once, and not for every command.
        """
        topics = await self.topics()
        triggers = [(trigger, sorted(topics[trigger.name])) for trigger in self._project.triggers]
        every = zip(triggers, await self.start(triggers), strict=True)
        return [
            text for (trigger, _), groups in every for text in unexpected(trigger, groups, quiet={Action.INEFFECTIVE})
        ]

    def _topics_of(self, trigger: Trigger, found: set[str]) -> set[str]:
        topics = {text for text in trigger.topics if text not in self._patterns}
        for text in trigger.topics:
            if text in self._patterns:
                topics |= {topic for topic in found if self._patterns[text].matches(topic)}
        return topics


def unexpected(
    trigger: Trigger,
    groups: Iterable[Started | BrokerError],
    *,
    quiet: Collection[Action] = frozenset(),
    served: Collection[tuple[str, str]] = frozenset(),
) -> list[str]:
    """What a person might not expect of groups that were started, in a line each."""
    said: list[str] = []
    for started in groups:
        if isinstance(started, BrokerError):
            said.append(f"{trigger.name}: {started}")
        elif started.action in quiet:
            continue
        elif started.action is Action.INEFFECTIVE:
            said.append(
                f"{trigger.name}: `start` was changed after the first delivery from {started.topic} and has no"
                f" effect; past events are delivered again by `evfn replay {trigger.name} --from …`"
            )
        elif started.action is Action.CREATED and (trigger.name, started.topic) in served:
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
